"""Write the accuracies as Markdown tables, next to published ones, and the surprisal of
words by their frequency and length."""

from collections import defaultdict
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, Dict, List, Optional, Sequence

import srsly
import typer
from wasabi import msg

from spacy_elmo.files import write_bytes
from spacy_elmo.scoring.minimal_pairs import DIRECTIONS

MODELS = ("5-gram", "LSTM", "Transformer-XL", "GPT-2")

PUBLISHED = {
    "anaphor_agreement": (47.9, 91.7, 94.1, 99.3),
    "argument_structure": (71.9, 73.2, 72.2, 81.8),
    "binding": (64.4, 73.5, 74.7, 80.9),
    "control_raising": (68.5, 67.0, 71.5, 81.9),
    "determiner_noun_agreement": (70.1, 85.4, 83.0, 95.8),
    "ellipsis": (36.9, 67.6, 77.2, 89.4),
    "filler_gap_dependency": (60.2, 73.9, 66.6, 81.3),
    "irregular_forms": (79.5, 89.1, 78.2, 91.9),
    "island_effects": (57.2, 46.6, 48.3, 72.7),
    "npi_licensing": (45.5, 51.7, 55.2, 76.8),
    "quantifiers": (53.5, 64.5, 69.3, 79.0),
    "subject_verb_agreement": (60.3, 80.1, 76.0, 86.4),
}
"""Percent, from raw_results/summary/models_summary.jsonl of BLiMP's repository."""

RENAMED = {"s-selection": "argument_structure"}
"""Phenomena that the paper counts as others."""

OVERALL = (61.2, 69.8, 69.6, 83.0)

NOTES = """\
Percent of pairs whose acceptable sentence is more probable; the mean over the paradigms
of a phenomenon. Ties count as wrong; 50 is chance. "Both" is the sum of the
log-probabilities of the two LMs. A word outside the vocabulary is scored as `<UNK>`;
"unknown" is the share of pairs with such a word. The published LSTM was trained on 83
million words. People agree with 88.6 % of the pairs.
"""


def main(
    path: Annotated[Path, typer.Argument(help="JSON, from pairs.py", exists=True)],
    output: Annotated[Path, typer.Argument(help="Markdown file to write")],
    frequency: Annotated[
        Optional[Path], typer.Option(help="JSON of frequency.py, left out if missing")
    ] = None,
) -> None:
    """Tabulate the accuracies by phenomenon and by paradigm, and surprisal by the
    frequency and length of words."""
    result = srsly.read_json(path)
    model, paradigms = result["model"], result["paradigms"]
    phenomena: Dict[str, List[Dict[str, Any]]] = defaultdict(list)
    for paradigm in paradigms.values():
        name = paradigm["linguistics_term"]
        phenomena[RENAMED.get(name, name)].append(paradigm)
    rows = [
        [name.replace("_", " "), *figures(group), *PUBLISHED.get(name, ("",) * 4)]
        for name, group in sorted(phenomena.items())
    ]
    rows.append(["**all**", *figures(list(paradigms.values())), *OVERALL])
    details = [
        [f"`{name}`", *figures([paradigm]), paradigm["n_pairs"]]
        for name, paradigm in sorted(paradigms.items())
    ]
    text = "\n".join(
        [
            "# BLiMP\n",
            f"A biLM of {model['parameters']:,} weights, with {model['vocabulary']:,} "
            f"words in its output layer, at step {model['step']:,} of its training "
            f"({model['words']:,} words; held-out perplexity "
            f"{model['held_out']['mean']:.1f}). Hash of the weights: {model['hash']}. "
            f"{result['overall']['n_pairs']:,} pairs.\n",
            NOTES,
            table(["", *DIRECTIONS, "unknown", *MODELS], rows),
            "## By paradigm\n",
            table(["", *DIRECTIONS, "unknown", "pairs"], details),
        ]
    )
    if frequency is not None and frequency.is_file():
        text += "\n" + surprisal(srsly.read_json(frequency))
    write_bytes(output, text.encode("utf8"))
    print(text)
    msg.good(str(output))


def surprisal(found: Dict[str, Any]) -> str:
    """Tabulate the mean surprisal by frequency and length."""
    header = ["words", "forward", "backward"]
    correlations = [
        f"{values[0]:.2f} with {name}" for name, values in found["correlation"].items()
    ]
    parts = [
        "# Surprisal by frequency and length\n",
        fill(
            f"Mean surprisal in nats of the {found['n_words']:,} words of a held-out "
            "text that contain a letter and are in the vocabulary. Correlation of the "
            f"forward surprisal: {', '.join(correlations)}.",
            88,
        )
        + "\n",
    ]
    for title, name in (
        ("Occurrences per million words of the training text", "frequency"),
        ("Characters", "length"),
    ):
        rows = [
            [one["bin"], f"{one['n']:,}", *(f"{mean:.1f}" for mean in one["mean"])]
            for one in found[name]
            if one["n"]
        ]
        parts.append(table([title, *header], rows))
    return "\n".join(parts)


def figures(paradigms: Sequence[Dict[str, Any]]) -> List[str]:
    """Mean accuracy by direction, and share of pairs with unknown words, in percent."""
    shares = [
        [*(paradigm["accuracy"][d] for d in DIRECTIONS), paradigm["unknown_rate"]]
        for paradigm in paradigms
    ]
    return [f"{100 * sum(column) / len(column):.1f}" for column in zip(*shares)]


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
