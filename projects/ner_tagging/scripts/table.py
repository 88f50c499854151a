"""Write the results as Markdown tables."""

from pathlib import Path
from statistics import median
from typing import Annotated, Any, Dict, List, Sequence

import srsly
import typer
from results import heads, read_results, scores, spread
from variants import ENTITIES, TASKS, VARIANTS
from wasabi import msg

from spacy_elmo.files import write_bytes

BASELINE = "a"
NOTES = """\
Test sets with the corpora's own tokens; mean and standard deviation over the seeds, in
percent. "fewer errors": relative reduction of (a)'s error (100 - score). Dev: the score
by which the step was chosen. Words/s: the whole pipeline on the test set, median over
the seeds; other work was running, so only large differences count. CPU minutes: one
training including its start and evaluations, summed over all cores.
"""


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of results", exists=True)],
    output: Annotated[Path, typer.Argument(help="Markdown file to write")],
    note: Annotated[str, typer.Option(help="Note on how they were made")] = "",
) -> None:
    """Tabulate the results of compare.py in FOLDER."""
    runs = read_results(folder)
    parts = ["# Results\n", NOTES]
    for task, variants in runs.items():
        parts += [f"## {TASKS[task].title}\n", render_scores(task, variants)]
    mixes = {TASKS[task].title: render_mixes(runs[task]) for task in runs}
    if any(mixes.values()):
        parts.append("## Mixes of the layers (means over the seeds)\n")
    for title, mix in mixes.items():
        parts += [f"{title}:\n", mix] if mix else []
    parts += ["## How\n", render_origin(runs, folder, note)]
    text = "\n".join(parts)
    write_bytes(output, text.encode("utf8"))
    print(text)
    msg.good(f"Saved to {output}")


def render_scores(task: str, variants: Dict[str, List[Dict[str, Any]]]) -> str:
    metrics = TASKS[task].metrics
    reduced = ["ents_f"] if metrics is ENTITIES else list(metrics)
    head = ["", "", "seeds", *metrics.values()]
    head += [f"{metrics[metric]}: fewer errors" for metric in reduced]
    head += [f"dev {metrics[metric]}" for metric in reduced]
    head += ["words/s", "CPU minutes"]
    rows = []
    for variant, runs in variants.items():
        row = [f"({variant})", VARIANTS[variant], str(len(runs))]
        row += [show(runs, metric) for metric in metrics]
        row += [fewer_errors(variants, variant, metric) for metric in reduced]
        row += [f"{scores(runs, 'dev', metric).mean:.2f}" for metric in reduced]
        row.append(f"{median(run['words_per_second'] for run in runs):,.0f}")
        seconds = spread([run["cpu_seconds"] for run in runs]).mean
        row.append(f"{seconds / 60:.1f}")
        rows.append(row)
    return markdown(head, rows, n_texts=2)


def show(runs: Sequence[Dict[str, Any]], metric: str) -> str:
    """Format mean and deviation; a single run has no deviation."""
    found = scores(runs, "test", metric)
    text = f"{found.mean:.2f}"
    return text if len(runs) == 1 else f"{text} ± {found.deviation:.2f}"


def fewer_errors(
    variants: Dict[str, List[Dict[str, Any]]], variant: str, metric: str
) -> str:
    """Format the error reduction relative to the baseline; empty without a baseline."""
    if variant == BASELINE or BASELINE not in variants:
        return ""
    before = 100 - scores(variants[BASELINE], "test", metric).mean
    after = 100 - scores(variants[variant], "test", metric).mean
    return f"{100 * (before - after) / before:.1f} %" if before else ""


def render_mixes(variants: Dict[str, List[Dict[str, Any]]]) -> str:
    rows = []
    for variant, runs in variants.items():
        for head, mixes in heads(runs).items():
            for place, mix in zip(("input", "output"), mixes):
                weights = "  ".join(f"{weight:.3f}" for weight in mix["weights"])
                gamma = f"{mix['gamma']:.3f}"
                rows.append([f"({variant})", head, place, weights, gamma])
    head = ["", "head", "at the encoder's", "s of layer 0, 1, ...", "gamma"]
    return markdown(head, rows, n_texts=4) if rows else ""


def render_origin(runs: Any, folder: Path, note: str) -> str:
    """List versions, times, and the pretraining of (b), (i) and (j)."""
    groups = [group for variants in runs.values() for group in variants.values()]
    every = [run for group in groups for run in group]
    lines = []
    kinds = {srsly.json_dumps(run["versions"], sort_keys=True) for run in every}
    for kind in sorted(kinds):
        versions = srsly.json_loads(kind)
        lines.append(", ".join(f"{name} {number}" for name, number in versions.items()))
    hours = sum(run["cpu_seconds"] for run in every) / 3600
    lines.append(f"{len(every)} trainings, {hours:.1f} CPU hours in total.")
    for file, variants, command in (
        ("pretrain-cnn.json", "(b)", "spacy pretrain"),
        ("pretrain-elmo.json", "(i), (j)", "spacy elmo pretrain"),
    ):
        if (folder / file).is_file():
            known = srsly.read_json(folder / file)
            lines.append(
                f"{variants}: {known['minutes']:.0f} minutes of {command}, "
                f"{known['words'] / 1e6:.1f} million words."
            )
    lines += [note] if note else []
    return "\n".join(f"* {line}" for line in lines) + "\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], n_texts: int) -> str:
    """Format a Markdown table.

    n_texts (int): Number of columns on the left that are not numbers.
    """
    rule = ["---" if index < n_texts else "---:" for index in range(len(head))]
    lines = [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
