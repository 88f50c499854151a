"""Markdown tables and paragraphs, and the names of systems, passes and machines."""

import textwrap
from typing import Any, Iterator, List, Mapping, Sequence, Tuple

Results = Mapping[str, Any]

WIDTH = 88

PASSES = {
    "batches": "batches of 32",
    "cold": "one call",
    "warm": "one call, words known",
}
PEERS = {
    "allennlp": "AllenNLP",
    "allennlp from words": "AllenNLP, from words",
    "allennlp cached": "AllenNLP, words known",
    "simple_elmo": "simple_elmo",
}


def label(name: str, found: Results) -> str:
    """Name a row of words per second: one of our passes, or a peer with its version."""
    if name in PEERS:
        system, comma, how = PEERS[name].partition(",")
        package = name.partition(" ")[0]
        return f"{system} {found['versions'][package][package]}{comma}{how}"
    call, _, precision = name.partition(" ")
    return f"**spacy-elmo**, {precision}, {PASSES[call]}"


def measured_ratios(
    found: Results, pairs: Sequence[Tuple[str, str]]
) -> Iterator[Tuple[str, List[Results]]]:
    """For each pair (our pass, a peer's pass) that was measured, yield its label and
    one summary per size."""
    sizes = [one["ratios"] for one in found["sizes"].values()]
    for mine, peer in pairs:
        if all(mine in ratios.get(peer, {}) for ratios in sizes):
            call, _, precision = mine.partition(" ")
            name = f"{precision}, {PASSES[call]} : {PEERS[peer]}"
            yield name, [ratios[peer][mine] for ratios in sizes]


def machine_of(found: Results) -> str:
    machine = found["machine"]
    processor = ", ".join([machine["processor"], *machine["features"]])
    return (
        f"a machine with {count(machine['cores'], 'core')} ({processor}) and "
        f"{machine['memory_gb']} GiB"
    )


def text_of(size: str, one: Results) -> str:
    return f"{one['words']:,} words in {count(one['sentences'], 'sentence')} ({size})"


def count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def rounded(value: float) -> str:
    """Format as a whole number with three significant digits."""
    return f"{float(f'{value:.3g}'):,.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def paragraph(text: str) -> str:
    return _wrap(text, "", "")


def item(text: str) -> str:
    """Format as an item of a list."""
    return _wrap(text, "* ", "  ")


def _wrap(text: str, first_indent: str, indent: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first_indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
