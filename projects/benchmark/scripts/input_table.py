"""Write the comparison of inputs as tables and a plot, and its short form into the
README."""

import statistics
from pathlib import Path
from typing import Annotated, Any, Dict, Iterator, List, Mapping, Optional, Sequence

import srsly
import typer
from input_results import TEST
from inputs import CNN, OURS
from labels import item, machine_of, paragraph, rounded, table
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from plots import DPI
from table import put
from wasabi import msg

BEGIN, END = "<!-- inputs -->", "<!-- /inputs -->"
PARTS = ("upos", "upos_head", "ner_probe", "ner_head", "senses", "wic", "speed")
NAMES = {
    OURS: "**ELMo** (ships), float32",
    "elmo bfloat16": "**ELMo**, bfloat16",
    "elmo int8": "**ELMo**, int8",
    "minilm": "MiniLM-L6",
    "en_core_web_sm": "`en_core_web_sm`, tok2vec",
    "floret": "floret vectors",
    CNN: "spaCy's CNN, trained on the task",
}
SCORES = {
    "tags": "upos",
    "entities": "ner_head",
    "entities by a probe": "ner_probe",
    "kinds of nouns": "senses",
    "definitions": "wic",
}
"""Results by column. CNN has no probe of tags, so its tagger's score is used."""

PEER = "minilm"

SAME = 0.3
"""Percent. Scores that differ by less are about the same."""

OTHER_FORMS = {
    "lower case": "in lower case",
    "capitals": "in capitals",
    "misspelt": "with one word in ten misspelled",
}
"""Forms of the test set, as the short form of the comparison calls them."""

Results = Mapping[str, Any]


def main(
    results: Annotated[Path, typer.Argument(help="Folder of results", exists=True)],
    readme: Annotated[
        Optional[Path], typer.Argument(help="File for the short form", exists=True)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file is stale")
    ] = False,
) -> None:
    """Write RESULTS/README.md and RESULTS/inputs.png, and the short form into README,
    between two marks. A part that was not measured is left out."""
    found = {
        part: srsly.read_json(results / f"{part}.json")
        for part in PARTS
        if (results / f"{part}.json").is_file()
    }
    if "speed" not in found:
        msg.fail(f"No speed.json in {results}", "Run inputs-speed.", exits=1)
    texts = {results / "README.md": report(found)}
    if readme is not None:
        old = readme.read_text(encoding="utf8")
        texts[readme] = put(f"{summary(found)}\n", old, BEGIN, END)
    stale = {
        path: text
        for path, text in texts.items()
        if not path.is_file() or path.read_text(encoding="utf8") != text
    }
    if check:
        if stale:
            msg.fail(
                f"Out of date with the results: {', '.join(map(str, stale))}",
                "Run: python -m spacy project run inputs-table",
                exits=1,
            )
        return
    for path, text in stale.items():
        path.write_text(text, encoding="utf8")
    # Without date and version, so that the same results give the same file.
    draw(found).savefig(results / "inputs.png", dpi=DPI, metadata={"Software": None})
    msg.good(str(results))


def seeds_of(found: Results, part: str, name: str, form: str) -> List[float]:
    """Get an input's scores in percent, one per seed; empty if it has none."""
    if part == "upos" and name == CNN:
        part = "upos_head"
    inputs = found[part]["inputs"] if part in found else {}
    scores = inputs.get(name, {}).get("scores", {})
    return [100 * score for score in scores.get(form, [])]


def measured(found: Results) -> Dict[str, str]:
    return {title: part for title, part in SCORES.items() if part in found}


def scored(found: Results) -> Dict[str, str]:
    """Get the labels of the inputs that have any score."""
    return {
        name: label
        for name, label in NAMES.items()
        if any(
            seeds_of(found, part, name, "as it is") for part in measured(found).values()
        )
    }


def mean(found: Results, part: str, name: str, form: str = "as it is") -> float:
    return statistics.mean(seeds_of(found, part, name, form))


def shown(found: Results, part: str, name: str, form: str = "as it is") -> str:
    """Format the mean and the deviation over the seeds."""
    values = seeds_of(found, part, name, form)
    if not values:
        return ""
    text = f"{statistics.mean(values):.1f}"
    if len(values) > 1 and part != "wic":
        text += f" ± {statistics.stdev(values):.1f}"
    return text


def report(found: Results) -> str:
    speed = found["speed"]
    rows = []
    for name, label in scored(found).items():
        summaries = (speed["words_per_cpu_second"], speed["relative_to_ours"])
        median, ratio = (of[name]["median"] for of in summaries)
        scores = [shown(found, part, name) for part in measured(found).values()]
        rows.append((label, *scores, rounded(median), f"{ratio:.2f}"))
    parts = [
        "# What to put under a head: ELMo and its alternatives",
        paragraph(
            "Percent: accuracies, and F1 of entities; means and deviations of "
            "the seeds. The vectors are frozen, except spaCy's CNN. "
            "Words per CPU second: the vectors alone, in batches of 32 sentences, one "
            f"thread, on {machine_of(speed)}; medians of {speed['n_rounds']} rounds in "
            "which the inputs take turns. The project's README describes the sets."
        ),
        table(
            ("", *measured(found), "words per CPU second", "relative to float32"), rows
        ),
        "![Scores by words per CPU second](inputs.png)",
        "## Other text than the head was trained on",
        paragraph(
            "The same heads and probes on the test sets in lower case, in capitals, "
            "and with one word in ten misspelt."
        ),
        *robustness(found),
        "## Where ELMo loses",
        "\n".join(losses(found)) or "Nowhere.",
    ]
    return "\n\n".join(parts) + "\n"


def robustness(found: Results) -> Iterator[str]:
    for title in ("tags", "entities", "entities by a probe"):
        part = SCORES[title]
        if part not in found:
            continue
        forms = [*TEST, *(["misspelt words"] if part == "upos" else [])]
        rows = [
            (label, *(shown(found, part, name, form) for form in forms))
            for name, label in scored(found).items()
        ]
        yield table((title, *forms), rows)


def losses(found: Results) -> Iterator[str]:
    """List the inputs with higher scores than our float32 vectors."""
    for title, part in measured(found).items():
        for form in TEST:
            better = []
            for name, label in NAMES.items():
                values = seeds_of(found, part, name, form)
                if name.startswith("elmo") or not values:
                    continue
                difference = mean(found, part, name, form) - mean(
                    found, part, OURS, form
                )
                if difference > 0.05:
                    better.append(f"{label} by {difference:.1f}")
            if better:
                text = title if form == "as it is" else f"{title}, {form}"
                yield item(f"{text}: {', '.join(better)}")


def summary(found: Results) -> str:
    """Compare with the transformer of about the same size in one paragraph."""
    ratio = 1 / found["speed"]["relative_to_ours"][PEER]["median"]
    sentences = [
        "Compared with MiniLM-L6, a small transformer, frozen as well and under the "
        f"same heads and probes, ELMo encodes {ratio:.1f} × as many words per CPU "
        "second. Scores of ELMo, and of MiniLM in parentheses:"
    ]
    compared: Dict[str, List[str]] = {"higher": [], "about the same": [], "lower": []}
    for title, part in measured(found).items():
        ours, theirs = (mean(found, part, name) for name in (OURS, PEER))
        how = "higher" if ours > theirs else "lower"
        if abs(ours - theirs) < SAME:
            how = "about the same"
        compared[how].append(f"{title} {ours:.1f} ({theirs:.1f})")
    told = [f"{how} in {', '.join(texts)}" for how, texts in compared.items() if texts]
    sentences.append(f"{'; '.join(told)}.")
    forms = [
        f"{mean(found, 'upos', OURS, form):.1f} "
        f"({mean(found, 'upos', PEER, form):.1f}) {name}"
        for form, name in OTHER_FORMS.items()
    ]
    sentences.append(
        f"Tags of other text: {', '.join(forms)} "
        "([all inputs](projects/benchmark/results/inputs/README.md))."
    )
    return paragraph(" ".join(sentences))


def draw(found: Results) -> Figure:
    """Plot scores by words per CPU second, one panel per score."""
    speeds = found["speed"]["words_per_cpu_second"]
    scores = measured(found)
    figure = Figure(figsize=(3 * len(scores), 3.8), layout="constrained")
    panels: Sequence[Any] = figure.subplots(1, len(scores), squeeze=False)
    handles = {}
    for axes, (title, part) in zip(panels[0], scores.items()):
        for number, (name, label) in enumerate(NAMES.items()):
            if seeds_of(found, part, name, "as it is"):
                point = (speeds[name]["median"], mean(found, part, name))
                marker = "o" if name.startswith("elmo") else "s"
                (handle,) = axes.plot(*point, marker, color=f"C{number}")
                handles[label.replace("*", "").replace("`", "")] = handle
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xlabel("words per CPU second")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.15, y=0.15)
        axes.grid(alpha=0.3)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    typer.run(main)
