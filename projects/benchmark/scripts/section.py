"""The README's section on speed, out of the results. Pure functions; a subject that was
not measured is left out."""

from typing import Iterator, List

from labels import Results, label, machine_of, measured_ratios, text_of
from rendering import count, item, paragraph, rounded, table

RATIOS = (
    ("batches float32", "allennlp"),
    ("batches float32", "simple_elmo"),
    ("warm float32", "allennlp cached"),
    ("batches bfloat16", "allennlp"),
    ("batches bfloat16", "simple_elmo"),
)
"""Ours and the peer's: those that do the same work."""


def section(results: Results) -> str:
    """An empty text where inference was not measured."""
    found = results.get("inference")
    if not found:
        return ""
    texts = ", ".join(text_of(size, one) for size, one in found["sizes"].items())
    parts = [
        "## Speed",
        paragraph(
            f"Words per second at the published sizes, with random weights, in batches "
            f"of {found['batch_size']} sentences of UD English EWT (dev), {texts}; "
            f"{count(found['threads'], 'thread')} of {machine_of(found)}. "
            f"Medians of {count(found['n_rounds'], 'round')}, in which the systems "
            "alternate."
        ),
        speeds(found),
        findings(results),
        paragraph(
            "All figures, their spreads and plots, and how to measure them again: "
            "[projects/benchmark](projects/benchmark)."
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def speeds(found: Results) -> str:
    """Words per second of all systems, and our ratios to theirs."""
    sizes = found["sizes"]
    columns = [one["words_per_second"] for one in sizes.values()]
    rows = [
        (label(name, found), *(rounded(column[name]["median"]) for column in columns))
        for name in columns[0]
        if name != "allennlp from words"
    ]
    rows += [
        (f"*{name}*", *(f"{summary['median']:.1f} ×" for summary in summaries))
        for name, summaries in measured_ratios(found, RATIOS)
    ]
    return table(("", *sizes), rows)


def findings(results: Results) -> str:
    """The other subjects, a line each, as one list."""
    lines: List[str] = []
    for name, tell in FINDINGS:
        if name in results:
            lines += tell(results[name])
    return "\n".join(item(line) for line in lines)


def agreement(found: Results) -> Iterator[str]:
    pairs = [
        layers for one in found["sizes"].values() for layers in one["vectors"].values()
    ]
    worst = max(max(layers) for layers in pairs)
    yield f"All systems give the same vectors: they differ by {worst:.0e} at most."


def lstms(found: Results) -> Iterator[str]:
    share = "float32 share of packed peak"
    told = [
        f"{one['lstms'][share]['median']:.0%} ({size})"
        for size, one in found["sizes"].items()
        if share in one["lstms"]
    ]
    if told:
        yield (
            f"The LSTMs alone, in float32, run at {', '.join(told)} of the speed of "
            "packed matrix products that were measured beside them."
        )


def precision(found: Results) -> Iterator[str]:
    told = []
    for size, one in found["sizes"].items():
        top = one["cosines"][-1]
        told.append(f"{top['mean']:.4f} ({size}; of the worst word {top['min']:.3f})")
    yield f"bfloat16: mean cosine of the top layer to float32's {', '.join(told)}."


def training(found: Results) -> Iterator[str]:
    told = []
    for size, one in found["sizes"].items():
        speed = one["words_per_second"]["float32"]["median"]
        ratio = one["ratios"]["allennlp"]["float32"]["median"]
        told.append(f"{rounded(speed)} words/s ({size}), {ratio:.1f} × AllenNLP's")
    yield (
        "Forward and back through a biLM that is not frozen, in float32: "
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
        "LSTMs by the compiled kernels beside PyTorch's operations, in float32, "
        f"without gradients, and forward and back: {', '.join(told)}; "
        f"{found['n_sequences']} sequences of {found['n_steps']} words."
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
        f"Through `nlp.pipe`: {', '.join(piped)} of the network's own speed. "
        f"`nlp(text)` of one short doc: {', '.join(short)} × the network's time."
    )
    yield (
        f"`add_pipe` and `load_bilm` from a warm disk: {', '.join(loaded)}. Importing "
        f"spacy_elmo adds {1000 * max(imported):.0f} ms to spaCy and PyTorch."
    )


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
            f"{int(length):,} words at {speed} words/s in {peak} MiB, {layers} of them "
            f"the layers ({size})"
        )
    if found["threads"] > 1:
        yield f"{count(found['threads'], 'thread')} beside one: {', '.join(gains)}."
    lengths = "; ".join(longest)
    yield f"One doc without sentence boundaries, its text repeated: {lengths}."


def frozen_heads(found: Results) -> Iterator[str]:
    for name, ratios in found["ratios"].items():
        seconds = found["seconds"][name]
        first, later = (
            seconds[key]["median"] for key in ("first epoch", "later epochs")
        )
        yield (
            f"A head on a frozen biLM ({name}, {found['weights']}, {found['words']:,} "
            f"words): the first epoch takes {first:.1f} s, the later ones "
            f"{later:.1f} s, {ratios['later epochs']['median']:.2f} × those of "
            f"{found['baseline']}."
        )
        new, other = (
            found["new_words"] / found["seconds"][kind]["new text"]["median"]
            for kind in (name, found["baseline"])
        )
        yield (
            f"The trained pipelines on new text: {rounded(new)} words/s, and "
            f"{rounded(other)} of {found['baseline']}'s "
            f"({ratios['new text']['median']:.1f} × its time)."
        )
        scores = [f"{score:.2%} in {p}" for p, score in found["scores"][name].items()]
        yield (
            f"Its score on these random weights, to compare precisions: "
            f"{', '.join(scores)}."
        )


FINDINGS = (
    ("agreement", agreement),
    ("inference", lstms),
    ("precision", precision),
    ("training", training),
    ("kernels", compiled),
    ("through_spacy", through_spacy),
    ("scaling", scaling),
    ("frozen_heads", frozen_heads),
)
