"""Plot the learning curves: scores by words of raw text, and by training sentences."""

from pathlib import Path
from typing import Annotated, Any, Callable, Dict, List, Tuple

import typer
from languages import ALL, Language, Task
from matplotlib.figure import Figure
from results import Results, read_tasks, select, spread
from variants import READ_TEXT, VARIANTS
from wasabi import msg

from spacy_elmo.files import replace_file

# Okabe and Ito: safe for color-blind readers.
COLORS = ("#999999", "#E69F00", "#CC79A7", "#56B4E9", "#0072B2")
STYLE: Dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.5, "capsize": 2}

Point = Tuple[Any, Results]


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of results", exists=True)],
    target: Annotated[Path, typer.Argument(help="PNG to write")],
) -> None:
    """Plot a row for each task that has learning curves."""
    shown = [
        (language, task, results)
        for language, _, task, results in read_tasks(folder)
        if any(result["text"] != ALL or result["sentences"] for result in results)
    ]
    if not shown:
        msg.info("No learning curves yet", "Run the workflow curves.")
        return
    figure = Figure(figsize=(9, 3 * len(shown)), layout="constrained")
    rows = figure.subplots(len(shown), 2, squeeze=False, sharey="row")
    for axes, (language, task, results) in zip(rows, shown):
        draw_row(axes, language, task, results)
    handles, labels = rows[0][1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    with replace_file(target) as path:
        figure.savefig(path, format="png", dpi=110)
    msg.good(str(target))


def draw_row(axes: Any, language: Language, task: Task, results: Results) -> None:
    metric, title = next(iter(task.metrics.items()))
    first = axes[0]
    if any(result["text"] != ALL for result in results):
        draw(first, READ_TEXT, lambda variant: by_text(results, variant), metric)
        first.set_xlabel("million words of raw text")
    else:
        first.set_axis_off()
        first = axes[1]
        first.tick_params(labelleft=True)
    draw(axes[1], VARIANTS, lambda variant: by_sentences(results, variant), metric)
    axes[1].set_xlabel("training sentences")
    first.set_title(f"{language.title}: {task.title}")
    first.set_ylabel(f"{title}, test set (%)")


def draw(
    axis: Any, variants: Any, points: Callable[[str], List[Point]], metric: str
) -> None:
    for variant, color in zip(VARIANTS, COLORS):
        found = points(variant) if variant in variants else []
        if not found:
            continue
        spreads = [spread(runs, metric) for _, runs in found]
        axis.errorbar(
            [str(size) for size, _ in found],
            [each.mean for each in spreads],
            yerr=[each.deviation for each in spreads],
            label=VARIANTS[variant],
            color=color,
            **STYLE,
        )
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#EEEEEE")


def by_text(results: Results, variant: str) -> List[Point]:
    """Get the results for each size of raw text, the whole text last."""
    sizes = {result["text"] for result in results if not result["sentences"]}
    order = [*sorted(sizes - {ALL}, key=float), ALL]
    found = [(size, select(results, variant, text=size)) for size in order]
    return [point for point in found if point[1]]


def by_sentences(results: Results, variant: str) -> List[Point]:
    """Get the results for each number of training sentences, all of them last."""
    numbers = {result["sentences"] for result in results if result["text"] == ALL}
    order = [*sorted(numbers - {0}), 0]
    found = [(n or ALL, select(results, variant, sentences=n)) for n in order]
    return [point for point in found if point[1]]


if __name__ == "__main__":
    typer.run(main)
