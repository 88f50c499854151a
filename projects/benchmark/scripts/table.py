"""Write the results into docs/performance.md, and their short form into the README."""

import sys
from pathlib import Path
from typing import Annotated, Dict, Iterator, List, Sequence

import srsly
import typer
from labels import (
    Results,
    count,
    item,
    label,
    machine_of,
    measured_ratios,
    paragraph,
    rounded,
    table,
    text_of,
)
from wasabi import msg

BEGIN, END = "<!-- speed -->", "<!-- /speed -->"

RATIOS = (
    ("batches float32", "allennlp"),
    ("batches float32", "simple_elmo"),
    ("warm float32", "allennlp cached"),
    ("batches bfloat16", "allennlp"),
    ("batches bfloat16", "simple_elmo"),
)
"""Pairs (our pass, a peer's pass) that do the same work."""

SHORT = ("batches float32", "batches bfloat16", "allennlp", "simple_elmo")
"""Rows of the README's table."""


def main(
    results: Annotated[Path, typer.Argument(help="Folder of results")],
    performance: Annotated[
        Path, typer.Argument(help="File for the whole section", exists=True)
    ],
    readme: Annotated[Path, typer.Argument(help="File for the table", exists=True)],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file is stale")
    ] = False,
) -> None:
    """Write PERFORMANCE and README, between two marks each, from the files in RESULTS.

    A subject that was not measured is left out.
    """
    found = {path.stem: srsly.read_json(path) for path in results.glob("*.json")}
    inference = found.get("inference")
    if not inference and not check:
        msg.fail(f"No inference.json in {results}", exits=1)
    texts = {
        performance: section(found),
        readme: f"\n{speeds(inference, SHORT)}\n\n" if inference else "",
    }
    stale: Dict[Path, str] = {}
    for path, text in texts.items():
        old = path.read_text(encoding="utf8")
        try:
            new = put(text, old)
        except ValueError as error:
            msg.fail(f"{path}: {error}")
            raise typer.Exit(1) from error
        if new != old:
            stale[path] = new
    if check and stale:
        msg.fail(
            f"Out of date with the results: {', '.join(map(str, stale))}",
            "Run: python -m spacy project run table",
            exits=1,
        )
    for path, new in stale.items():
        path.write_text(new, encoding="utf8")
    sys.stdout.write(texts[performance])
    msg.good(f"Up to date: {performance}, {readme}")


def put(text: str, document: str, begin: str = BEGIN, end: str = END) -> str:
    """Put a text between the marks of a document.

    RAISES: ValueError unless each mark occurs exactly once, in order.
    """
    if document.count(begin) != 1 or document.count(end) != 1:
        raise ValueError(f"expected {begin} and {end} once each.")
    before, _, rest = document.partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"expected {begin} before {end}.")
    return f"{before}{begin}\n{text}{end}{after}"


def section(results: Results) -> str:
    """Write the section on speed; empty unless inference was measured."""
    found = results.get("inference")
    if not found:
        return ""
    texts = ", ".join(text_of(size, one) for size, one in found["sizes"].items())
    parts = [
        "## Speed",
        paragraph(
            f"Words per second at the published sizes, with random weights, in batches "
            f"of {found['batch_size']} sentences of UD English EWT (dev): {texts}. "
            f"Measured with {count(found['threads'], 'thread')} on "
            f"{machine_of(found)}; medians of {count(found['n_rounds'], 'round')}, in "
            "which the systems alternate."
        ),
        speeds(found),
        table(
            ("Ratio", *found["sizes"]),
            [
                (name, *(f"{summary['median']:.1f} ×" for summary in summaries))
                for name, summaries in measured_ratios(found, RATIOS)
            ],
        ),
        int8_speeds(results["int8"]) if "int8" in results else "",
        findings(results),
        paragraph(
            "All figures with their spreads, plots, and how to repeat the measurement: "
            "[projects/benchmark](../projects/benchmark)."
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def speeds(found: Results, names: Sequence[str] = ()) -> str:
    """Tabulate words per second.

    names (Sequence[str]): The rows; by default all but AllenNLP from words.
    """
    columns = [one["words_per_second"] for one in found["sizes"].values()]
    rows = [
        (label(name, found), *(rounded(column[name]["median"]) for column in columns))
        for name in columns[0]
        if (name in names if names else name != "allennlp from words")
    ]
    return table(("Words per second", *found["sizes"]), rows)


def int8_speeds(found: Results) -> str:
    """Tabulate the speed of int8 by instruction set."""
    sizes = list(found["sizes"].values())
    rows = []
    for name in sizes[0]["instructions"]:
        for other in ("float32", "bfloat16"):
            ratios = [
                one["instructions"][name]["int8_relative_to"][other] for one in sizes
            ]
            shown = [f"{ratio['median']:.2f} ×" for ratio in ratios]
            rows.append((f"{name}, new text, int8 : {other}", *shown))
        calls = [one["instructions"][name]["call_ms"] for one in sizes]
        shown = [
            " : ".join(f"{call[p]['1']['median']:.1f}" for p in ("int8", "float32"))
            for call in calls
        ]
        words = found["call_words"]
        rows.append(
            (f"{name}, one sentence of {words} words, ms, int8 : float32", *shown)
        )
    head = f"int8, {count(found['threads'], 'thread')}"
    return table((head, *found["sizes"]), rows)


def findings(results: Results) -> str:
    """List the findings on all subjects."""
    lines: List[str] = []
    for name, tell in FINDINGS.items():
        if name in results:
            lines += tell(results[name])
    return "\n".join(item(line) for line in lines)


def agreement(found: Results) -> Iterator[str]:
    pairs = [
        layers for one in found["sizes"].values() for layers in one["vectors"].values()
    ]
    worst = max(max(layers) for layers in pairs)
    yield (
        "All systems compute the same vectors: the largest difference of a value is "
        f"{worst:.0e}."
    )


def lstms(found: Results) -> Iterator[str]:
    share = "float32 share of packed peak"
    told = [
        f"{one['lstms'][share]['median']:.0%} ({size})"
        for size, one in found["sizes"].items()
        if share in one["lstms"]
    ]
    if told:
        yield (
            f"In float32, the LSTMs alone reach {', '.join(told)} of the speed of "
            "packed matrix products measured at the same time."
        )


def precision(found: Results) -> Iterator[str]:
    told = []
    for size, one in found["sizes"].items():
        top = one["cosines"][-1]
        told.append(f"{top['mean']:.4f} ({size}; worst word {top['min']:.3f})")
    yield (
        "bfloat16: the mean cosine between a word's top-layer vectors in bfloat16 and "
        f"float32 is {', '.join(told)}."
    )


def int8(found: Results) -> Iterator[str]:
    cosines = [
        f"{one['cosines']['int8']['mean']:.4f} ({size}; worst word "
        f"{one['cosines']['int8']['min']:.3f})"
        for size, one in found["sizes"].items()
    ]
    yield f"int8: the same cosine with float32 is {', '.join(cosines)}."
    steps = max(
        step
        for one in found["sizes"].values()
        for at in one["instructions"].values()
        for step in at["largest_step"].values()
    )
    widths = max(max(ratios.values()) for ratios in found["widths"].values())
    yield (
        f"A call of 1 to 16 sentences takes at most {steps:.2f} × what the times of "
        "the next smaller and larger call predict. A multiplication takes at most "
        f"{widths:.2f} × as long in LSTMs whose widths are no multiples of a vector's."
    )


def training(found: Results) -> Iterator[str]:
    told = []
    for size, one in found["sizes"].items():
        speed = one["words_per_second"]["float32"]["median"]
        ratio = one["ratios"]["allennlp"]["float32"]["median"]
        told.append(f"{rounded(speed)} words/s ({size}), {ratio:.1f} × AllenNLP")
    yield (
        "Forward and backward pass through a biLM that is not frozen, in float32: "
        f"{'; '.join(told)}."
    )


def compiled(found: Results) -> Iterator[str]:
    told = []
    for size, one in found["sizes"].items():
        encode, train = (
            one["gains"][f"{kind} float32"]["median"] for kind in ("encode", "train")
        )
        told.append(f"{encode:.1f} × and {train:.1f} × ({size})")
    yield (
        "Compiled LSTM kernels relative to PyTorch's operations, in float32, without "
        f"and with gradients: {', '.join(told)}; {found['n_sequences']} sequences of "
        f"{found['n_steps']} words."
    )


def scoring(found: Results) -> Iterator[str]:
    told = []
    for size, one in found["sizes"].items():
        ratios = [
            f"{kinds[kind]['ratio']['median']:.2f}"
            for kinds in (one["float32"], one["bfloat16"])
            for kind in ("new text", "known words")
        ]
        told.append(
            f"{ratios[0]} and {ratios[1]} ({ratios[2]} and {ratios[3]}), {size}"
        )
    yield (
        f"Speed of scoring words by a softmax of {found['n_words']:,} words, as a "
        "share of the speed of encoding alone, on new text and with all words cached, "
        "in float32 (in bfloat16): "
        f"{'; '.join(told)}; {count(found['threads'], 'thread')}."
    )


def embedding(found: Results) -> Iterator[str]:
    shares = found["clocks"]["encoding thread"]["share"]
    told = [f"{share['median']:.0%} ({name})" for name, share in shares.items()]
    yield (
        "`elmo embed`, which reads and writes in other threads, relative to "
        f"encoding alone, by the CPU time of its thread: {', '.join(told)}."
    )


def explore(found: Results) -> Iterator[str]:
    mean, most = (
        1000 * found[name]["median"] for name in ("mean_seconds", "max_seconds")
    )
    n_words = found["words"] / found["sentences"]
    yield (
        f"`elmo explore` answers with the surprisal of a sentence of {n_words:.0f} "
        f"words in {mean:.0f} ms on average, and in {most:.0f} ms at most."
    )


def through_spacy(found: Results) -> Iterator[str]:
    piped, short, loaded, imported = [], [], [], []
    for size, one in found["sizes"].items():
        through, start = one["through_spacy"], one["start_up"]["safetensors"]
        piped.append(f"{through['pipe share of encode']['median']:.0%} ({size})")
        short.append(f"{through['short doc ratio']['median']:.2f} ({size})")
        loaded.append(f"{start['add_and_load']['median']:.1f} s ({size})")
        imported.append(start["import_spacy_elmo"]["median"])
    yield (
        f"`nlp.pipe` reaches {', '.join(piped)} of the speed of the network alone. "
        f"`nlp(text)` of a short doc takes {', '.join(short)} × the network's time."
    )
    yield (
        f"`add_pipe` and `load_bilm` take {', '.join(loaded)} if the files are in the "
        f"disk cache. Importing spacy_elmo adds {1000 * max(imported):.0f} ms to spaCy "
        "and PyTorch."
    )


def pipelines(found: Results) -> Iterator[str]:
    told = [
        f"{one['pipe words_per_second']['median']:,.0f} words/s, "
        f"{one['pipe share of encode']['median']:.0%} of its biLM's ({name})"
        for name, one in found["pipelines"].items()
    ]
    yield f"Trained pipelines on new text, 1 thread: {'; '.join(told)}."


def scaling(found: Results) -> Iterator[str]:
    gains, longest = [], []
    for size, one in found["sizes"].items():
        rates = [at["words_per_second"]["median"] for at in one["threads"].values()]
        gains.append(f"{rates[-1] / rates[0]:.1f} × ({size})")
        length, at = list(one["doc_length"].items())[-1]
        speed, peak, layers = (
            rounded(at[key]["median"])
            for key in ("words_per_second", "peak_mb", "result_mb")
        )
        longest.append(
            f"{int(length):,} words at {speed} words/s in {peak} MiB, of which "
            f"{layers} are the layers ({size})"
        )
    if found["threads"] > 1:
        yield (
            f"{count(found['threads'], 'thread')} relative to one: {', '.join(gains)}."
        )
    lengths = "; ".join(longest)
    yield f"A single doc without sentence boundaries: {lengths}."


def frozen_heads(found: Results) -> Iterator[str]:
    for name, ratios in found["ratios"].items():
        seconds = found["seconds"][name]
        first, later = (
            seconds[key]["median"] for key in ("first epoch", "later epochs")
        )
        yield (
            f"Training a tagger (`{name}`, {found['words']:,} words) on a frozen "
            f"`{found['weights'].partition('-')[0]}` biLM with random weights: "
            f"{first:.1f} s for the first epoch and {later:.1f} s for each later one, "
            f"{ratios['later epochs']['median']:.2f} × the time of one on spaCy's CNN "
            f"(`{found['baseline']}`)."
        )
        new, other = (
            found["new_words"] / found["seconds"][kind]["new text"]["median"]
            for kind in (name, found["baseline"])
        )
        yield (
            f"These two taggers on new text: {rounded(new)} words/s with ELMo, "
            f"{rounded(other)} without ({ratios['new text']['median']:.1f} × the time)."
        )
        scores = [f"{score:.2%} in {p}" for p, score in found["scores"][name].items()]
        yield (f"Tags that the one with ELMo gets right: {', '.join(scores)}.")


FINDINGS = {
    "agreement": agreement,
    "inference": lstms,
    "precision": precision,
    "int8": int8,
    "training": training,
    "kernels": compiled,
    "scoring": scoring,
    "embedding": embedding,
    "explore": explore,
    "through_spacy": through_spacy,
    "pipelines": pipelines,
    "scaling": scaling,
    "frozen_heads": frozen_heads,
}
"""What writes the sentences of a subject, by the name of its results file."""


if __name__ == "__main__":
    typer.run(main)
