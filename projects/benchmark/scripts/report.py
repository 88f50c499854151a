"""All results as tables, with their spreads. Pure functions."""

from typing import Any, Dict, Iterator, Mapping

from labels import Results, label, machine_of, measured_ratios, text_of
from rendering import count, paragraph, rounded, significant, spread, spreads, table


def report(results: Results) -> str:
    """A subject that was not measured is left out."""
    parts = ["# Speed", "Medians, and least to largest of the rounds."]
    for name, (title, render) in SUBJECTS.items():
        if name in results:
            found = results[name]
            parts += [f"## {title}", *render(found), paragraph(conditions(found))]
            parts.append(f"```\n{found['command']}\n```")
    return "\n\n".join(parts) + "\n"


def known_subjects(files: Mapping[str, Any]) -> Dict[str, Any]:
    """A folder may hold other files."""
    return {name: files[name] for name in SUBJECTS if name in files}


def conditions(found: Results) -> str:
    """How the figures came about, as far as the file says."""
    told = [count(found["threads"], "thread"), machine_of(found)]
    if "n_rounds" in found:
        told.insert(0, count(found["n_rounds"], "round"))
    for size, one in found.get("sizes", {}).items():
        if "words" in one:
            told.append(text_of(size, one))
    for system, versions in found["versions"].items():
        packages = " ".join(f"{name} {version}" for name, version in versions.items())
        told.append(f"{system}: {packages}")
    return "; ".join(told) + "."


def agreement(found: Results) -> Iterator[str]:
    yield "The largest difference of a value, layer by layer:"
    rows = [
        (size, pair, *(f"{value:.1e}" for value in layers))
        for size, one in found["sizes"].items()
        for pair, layers in one["vectors"].items()
    ]
    n_layers = len(rows[0]) - 2
    yield table(("", "systems", *(f"layer {n}" for n in range(n_layers))), rows)
    yield "Of the gradient of the characters' vectors, in parts of the largest value:"
    yield table(
        ("", "AllenNLP"),
        [
            (s, f"{one['gradient']['relative']:.1e}")
            for s, one in found["sizes"].items()
        ],
    )


def inference(found: Results) -> Iterator[str]:
    sizes = found["sizes"]
    names = {
        name: label(name, found)
        for name in next(iter(sizes.values()))["words_per_second"]
    }
    yield "Words per second:"
    yield spreads(
        {
            size: {names[name]: one["words_per_second"][name] for name in names}
            for size, one in sizes.items()
        },
        rounded,
    )
    yield "Ratios, formed within each round:"
    first = next(iter(sizes.values()))["ratios"]
    pairs = [(mine, peer) for peer in first for mine in first[peer]]
    rows = [
        (name, *(spread(summary, significant) for summary in summaries))
        for name, summaries in measured_ratios(found, pairs)
    ]
    yield table(("", *sizes), rows)
    if all("bfloat16_to_float32" in one for one in sizes.values()):
        yield "bfloat16 : float32, of ours:"
        yield spreads(of_each(sizes, "bfloat16_to_float32"), significant)
    yield "The LSTMs alone, in the batches of one call:"
    yield spreads(of_each(sizes, "lstms"), significant)
    yield "GFLOP/s of matrix products beside them:"
    yield spreads(of_each(sizes, "peak_gflops"), rounded)
    yield "The same of float32, right before each of the passes:"
    yield spreads(of_each(sizes, "float32_peak_gflops_beside"), rounded)


def precision(found: Results) -> Iterator[str]:
    yield "Cosines of words' vectors in bfloat16 to those in float32:"
    rows = [
        (size, str(number), f"{layer['mean']:.6f}", f"{layer['min']:.6f}")
        for size, one in found["sizes"].items()
        for number, layer in enumerate(one["cosines"])
    ]
    yield table(("", "layer", "mean", "least"), rows)


def training(found: Results) -> Iterator[str]:
    sizes = found["sizes"]
    yield "Words per second, forward and back:"
    yield spreads(of_each(sizes, "words_per_second"), rounded)
    yield "Ratios to AllenNLP:"
    ratios = {size: one["ratios"]["allennlp"] for size, one in sizes.items()}
    yield spreads(ratios, significant)
    yield "GFLOP/s of matrix products, before each round:"
    yield spreads(of_each(sizes, "peak_gflops"), rounded)


def compiled(found: Results) -> Iterator[str]:
    yield (
        f"One layer in both directions, {found['n_sequences']} sequences of "
        f"{found['n_steps']} words, vectors of {found['lanes']} floats; seconds:"
    )
    yield spreads(of_each(found["sizes"], "seconds"), significant)
    yield "Operations : kernels, formed within each round:"
    yield spreads(of_each(found["sizes"], "gains"), significant)


def through_spacy(found: Results) -> Iterator[str]:
    sizes = found["sizes"]
    yield "nlp.pipe, and one short doc, beside the network alone:"
    yield spreads(of_each(sizes, "through_spacy"), significant)
    for name in next(iter(sizes.values()))["start_up"]:
        yield f"Seconds of a start from {name}:"
        starts = {size: one["start_up"][name] for size, one in sizes.items()}
        yield spreads(starts, significant)


def scaling(found: Results) -> Iterator[str]:
    for curve in next(iter(found["sizes"].values())):
        name = curve.replace("_", " ")
        yield f"Against {name}: words per second, MiB at most, and those of the result:"
        rows = [
            (
                size,
                f"{int(at):,}",
                spread(point["words_per_second"], rounded),
                spread(point["peak_mb"], rounded),
                rounded(point["result_mb"]["median"]),
            )
            for size, one in found["sizes"].items()
            for at, point in one[curve].items()
        ]
        yield table(("", name, "words/s", "MiB", "result"), rows)


def frozen_heads(found: Results) -> Iterator[str]:
    yield (
        f"Seconds on {found['words']:,} words, {found['n_epochs']} epochs, weights "
        f"{found['weights']}; new text: of the trained pipeline on "
        f"{found['new_words']:,} words:"
    )
    yield spreads(found["seconds"], significant)
    yield f"Ratios to {found['baseline']}:"
    yield spreads(found["ratios"], significant)
    yield "Scores by the biLM's precision:"
    rows = [
        (name, precision, f"{score:.4f}")
        for name, scores in found["scores"].items()
        for precision, score in scores.items()
    ]
    yield table(("", "precision", "score"), rows)


def of_each(parts: Mapping[str, Any], key: str) -> Dict[str, Any]:
    return {name: part[key] for name, part in parts.items()}


SUBJECTS = {
    "agreement": ("Agreement", agreement),
    "inference": ("Inference", inference),
    "precision": ("Precision", precision),
    "training": ("Training", training),
    "kernels": ("Compiled kernels", compiled),
    "through_spacy": ("Through spaCy", through_spacy),
    "scaling": ("Scaling", scaling),
    "frozen_heads": ("Frozen heads", frozen_heads),
}
"""By the name of its file: a title, and what writes its tables."""
