"""Plot the results: scores of all variants, and the learned mixes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Dict, List, Sequence

import typer
from matplotlib.figure import Figure
from results import heads, read_results, scores
from variants import ENTITIES, TASKS
from wasabi import msg

from spacy_elmo.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colors that color-blind readers can tell apart.
ELMO, OTHERS = "#0072B2", "#999999"
LAYERS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442")

Variants = Dict[str, List[Dict[str, Any]]]


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of results", exists=True)],
    output: Annotated[Path, typer.Argument(help="Folder for the plots")],
) -> None:
    """Write scores.png and, if a head has mixed layers, mixes.png."""
    runs = read_results(folder)
    save(draw_scores(runs), output / "scores.png")
    if any(heads(group) for variants in runs.values() for group in variants.values()):
        save(draw_mixes(runs), output / "mixes.png")


def draw_scores(runs: Dict[str, Variants]) -> Figure:
    """Plot one panel per task and metric, one bar per variant with its deviation."""
    panels = [(task, metric) for task in runs for metric in shown(task)]
    figure, axes = new_figure(len(panels))
    for axis, (task, metric) in zip(axes, panels):
        variants = runs[task]
        found = [scores(group, "test", metric) for group in variants.values()]
        means = [score.mean for score in found]
        axis.bar(
            list(variants),
            means,
            yerr=[score.deviation for score in found],
            color=[OTHERS if variant in "ab" else ELMO for variant in variants],
            capsize=3,
        )
        room = max(max(means) - min(means), 1.0)
        axis.set_ylim(max(0.0, min(means) - 0.3 * room), max(means) + 0.2 * room)
        axis.set_title(f"{TASKS[task].title}: {TASKS[task].metrics[metric]}")
        axis.set_ylabel("test set, %")
    return figure


def draw_mixes(runs: Dict[str, Variants]) -> Figure:
    """Plot one panel per head, one bar per variant and mix: layer weights, and gamma
    above."""
    names = {
        (task, head): None
        for task, variants in runs.items()
        for group in variants.values()
        for head in heads(group)
    }
    figure, axes = new_figure(len(names))
    for axis, (task, name) in zip(axes, names):
        draw_head(axis, runs[task], name)
        axis.set_title(f"{TASKS[task].title}: {name}")
    axes[0].set_ylabel("weight of the layer; above: gamma")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def draw_head(axis: "Axes", variants: Variants, name: str) -> None:
    for variant, group in variants.items():
        mixes = heads(group).get(name, [])
        for place, mix in zip(("", " out"), mixes):
            bottom = 0.0
            for layer, weight in enumerate(mix["weights"]):
                color = LAYERS[layer % len(LAYERS)]
                axis.bar(variant + place, weight, bottom=bottom, color=color)
                bottom += weight
            axis.text(
                variant + place, 1.02, f"{mix['gamma']:.2f}", ha="center", fontsize=8
            )
    for layer in range(n_layers(variants)):
        axis.bar([], [], color=LAYERS[layer % len(LAYERS)], label=f"layer {layer}")
    axis.set_ylim(0, 1.12)


def n_layers(variants: Variants) -> int:
    return max(
        len(mix["weights"])
        for group in variants.values()
        for mixes in heads(group).values()
        for mix in mixes
    )


def shown(task: str) -> Sequence[str]:
    metrics = TASKS[task].metrics
    return ["ents_f"] if metrics is ENTITIES else list(metrics)


def new_figure(n_panels: int) -> Any:
    figure = Figure(figsize=(3.4 * n_panels, 3.8), layout="constrained")
    return figure, list(figure.subplots(1, n_panels, squeeze=False)[0])


def save(figure: Figure, path: Path) -> None:
    with replace_file(path) as beside:
        figure.savefig(beside, format="png", dpi=150)
    msg.good(str(path))


if __name__ == "__main__":
    typer.run(main)
