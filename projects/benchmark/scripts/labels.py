"""How systems, passes and machines are called."""

from typing import Any, Iterator, List, Mapping, Sequence, Tuple

from rendering import count

Results = Mapping[str, Any]

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
    """A row of words per second: a peer and its version, or one of our passes."""
    if name in PEERS:
        system, comma, how = PEERS[name].partition(",")
        package = name.partition(" ")[0]
        return f"{system} {found['versions'][package][package]}{comma}{how}"
    call, _, precision = name.partition(" ")
    return f"**spacy-elmo**, {precision}, {PASSES[call]}"


def ratio_label(mine: str, peer: str) -> str:
    call, _, precision = mine.partition(" ")
    return f"{precision}, {PASSES[call]} : {PEERS[peer]}"


def measured_ratios(
    found: Results, pairs: Sequence[Tuple[str, str]]
) -> Iterator[Tuple[str, List[Results]]]:
    """Of the pairs (ours, a peer's) that were measured, the label and a summary for
    each size."""
    sizes = [one["ratios"] for one in found["sizes"].values()]
    for mine, peer in pairs:
        if all(mine in ratios.get(peer, {}) for ratios in sizes):
            yield ratio_label(mine, peer), [ratios[peer][mine] for ratios in sizes]


def machine_of(found: Results) -> str:
    machine = found["machine"]
    processor = ", ".join([machine["processor"], *machine["features"]])
    return (
        f"a machine with {count(machine['cores'], 'core')} ({processor}) and "
        f"{machine['memory_gb']} GiB"
    )


def text_of(size: str, one: Results) -> str:
    return f"{one['words']:,} words of {count(one['sentences'], 'sentence')} ({size})"
