"""Write the results as Markdown tables."""

from pathlib import Path
from statistics import mean, median
from typing import Annotated, List

import typer
from languages import Language, Task
from results import Results, read_tasks, select, spread
from variants import BASELINE, VARIANTS
from wasabi import msg

from spacy_elmo.files import write_bytes

HEADING = """\
# Results

Test sets with the corpora's own tokens; mean and standard deviation over the seeds, in
percent. All heads of a task are trained on the same sentences for the same number of
steps. "Fewer errors": relative to spaCy's CNN. CPU minutes: one training, with its
start and evaluations. Words/s: the whole pipeline on the test set, median over the
seeds; other work was running, so only large differences count.

The settings of the biLMs were chosen by [short runs](short_runs.md). The heads of
LitBank read the English weights that ship, whose training text includes novels of its
training part, but not of its test part.
"""

CURVES = """
## Learning curves

Points are means over the seeds that were trained. With part of the text or of the
sentences, there may be fewer seeds than in the tables.

![Learning curves](curves.png)
"""


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of results", exists=True)],
    target: Annotated[Path, typer.Argument(help="Markdown file to write")],
) -> None:
    """Tabulate the trainings on all sentences with all text."""
    parts = [HEADING]
    for language, _, task, results in read_tasks(folder):
        parts += [render(language, task, results)]
    if len(parts) == 1:
        msg.fail(f"Expected results in {folder}, found none", "Run the command heads.")
        raise typer.Exit(1)
    if (folder / "curves.png").is_file():
        parts.append(CURVES)
    write_bytes(target, "".join(parts).encode("utf8"))
    msg.good(str(target))


def render(language: Language, task: Task, results: Results) -> str:
    titles = list(task.metrics.values())
    head = ["", "seeds", *titles, *(f"{title}: fewer errors" for title in titles)]
    head += ["CPU minutes", "words/s"]
    rows = []
    for variant, title in VARIANTS.items():
        runs = select(results, variant)
        if runs:
            if passes := runs[0].get("passes"):
                title += f", {passes} {'pass' if passes == 1 else 'passes'}"
            row = [title, str(len(runs)), *(show(runs, name) for name in task.metrics)]
            row += [fewer_errors(results, variant, name) for name in task.metrics]
            row.append(f"{mean(run['cpu_seconds'] for run in runs) / 60:.1f}")
            row.append(f"{median(run['words_per_second'] for run in runs):,.0f}")
            rows.append(row)
    lines = [f"\n## {language.title}: {task.title}\n"]
    if task.published:
        lines.append(f"Published: {task.published}.\n")
    return "\n".join(lines) + "\n" + markdown(head, rows)


def show(results: Results, metric: str) -> str:
    """Format mean and deviation; a single run has no deviation."""
    found = spread(results, metric)
    text = f"{found.mean:.2f}"
    return text if len(results) == 1 else f"{text} ± {found.deviation:.2f}"


def fewer_errors(results: Results, variant: str, metric: str) -> str:
    """Format the error reduction; empty for the baseline, or without one."""
    baseline = select(results, BASELINE)
    if variant == BASELINE or not baseline:
        return ""
    before = 100 - spread(baseline, metric).mean
    after = 100 - spread(select(results, variant), metric).mean
    return f"{100 * (before - after) / before:.1f} %" if before else ""


def markdown(head: List[str], rows: List[List[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))


if __name__ == "__main__":
    typer.run(main)
