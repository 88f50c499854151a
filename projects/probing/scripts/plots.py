"""Plot the results: scores by layer, mixes, occurrences of a word."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Dict, List, Sequence

import numpy as np
import typer
from matplotlib.figure import Figure
from results import read
from wasabi import msg

from spacy_elmo.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = Dict[str, Any]

# Colors that color-blind readers can tell apart.
COLORS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
LINES = ("--", ":", "-.")


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the results", exists=True)],
    output: Annotated[Path, typer.Argument(help="Folder for the plots")],
) -> None:
    """Write layers.png, mixes.png and a plot for each word."""
    tasks, words = read(folder)
    if tasks:
        save(draw_layers(list(tasks.values())), output / "layers.png")
    learned = [result for result in tasks.values() if "mix" in result]
    if learned:
        save(draw_mixes(learned), output / "mixes.png")
    for result in words:
        save(draw_word(result), output / f"word-{result['word']}.png")


def draw_layers(results: Sequence[Result]) -> Figure:
    """Plot one panel per task: scores with intervals by layer, baselines as lines."""
    figure, axes = new_figure(len(results))
    for axis, result in zip(axes, results):
        names = list(result["layers"])
        found = [result["layers"][name] for name in names]
        means = np.asarray([100 * one["mean"] for one in found])
        ends = np.asarray([[100 * end for end in one["interval"]] for one in found])
        errors = np.abs(ends.T - means)
        axis.errorbar(names, means, yerr=errors, fmt="o", capsize=4, color=COLORS[1])
        for line, (name, value) in zip(LINES, result["baselines"].items()):
            axis.axhline(100 * value, linestyle=line, color=COLORS[-1], label=name)
        axis.legend(fontsize=8)
        axis.set_title(result["title"], fontsize=10)
        axis.set_xlabel("layer")
        axis.margins(x=0.15, y=0.15)
    axes[0].set_ylabel("%")
    return figure


def draw_mixes(results: Sequence[Result]) -> Figure:
    """Plot one panel per task: the weight of each layer."""
    figure, axes = new_figure(len(results))
    for axis, result in zip(axes, results):
        layers = [str(layer) for layer in range(len(result["mix"]))]
        axis.bar(layers, result["mix"], color=COLORS[1])
        axis.set_ylim(0, 1)
        axis.set_title(result["title"], fontsize=10)
        axis.set_xlabel("layer")
    axes[0].set_ylabel("weight in the learned mix")
    return figure


def draw_word(result: Result) -> Figure:
    """Plot one panel per layer: the occurrences in two principal components."""
    figure, axes = new_figure(len(result["points"]))
    senses = np.asarray([use["sense"] for use in result["uses"]])
    for layer, (axis, points) in enumerate(zip(axes, result["points"])):
        draw_points(axis, np.asarray(points), senses, list(result["n"]))
        score = result["separation"]["layers"][str(layer)]["mean"]
        axis.set_title(f"layer {layer}: separation {100 * score:.0f} %", fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def draw_points(
    axis: "Axes", points: np.ndarray, senses: np.ndarray, names: List[str]
) -> None:
    for number, name in enumerate(names):
        chosen = points[senses == name]
        color = COLORS[number % len(COLORS)]
        axis.scatter(*chosen.T, color=color, alpha=0.7, label=name)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.margins(0.1)


def new_figure(n_panels: int) -> Any:
    figure = Figure(figsize=(3.4 * n_panels, 3.4), layout="constrained")
    return figure, list(figure.subplots(1, n_panels, squeeze=False)[0])


def save(figure: Figure, path: Path) -> None:
    with replace_file(path) as beside:
        figure.savefig(beside, format="png", dpi=110)
    msg.good(str(path))


if __name__ == "__main__":
    typer.run(main)
