"""Plot the results."""

from pathlib import Path
from typing import Annotated, Any, Dict, Mapping

import srsly
import typer
from labels import count, label
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from wasabi import msg

Points = Mapping[str, Mapping[str, Any]]

LEFT_OUT = ("allennlp from words", "cold float32", "cold bfloat16")
OURS, THEIRS = "tab:blue", "tab:gray"
QUANTITIES = {"words_per_second": "words/s", "peak_mb": "peak MiB"}
DPI = 80


def main(
    results: Annotated[Path, typer.Argument(help="Folder of results", exists=True)],
) -> None:
    """Plot the results next to them, as inference.png, scaling.png and int8.png."""
    drawings = {
        "inference": draw_inference,
        "scaling": draw_scaling,
        "int8": draw_int8,
    }
    for name, draw in drawings.items():
        source, target = results / f"{name}.json", results / f"{name}.png"
        if not source.is_file():
            msg.info(f"No {source}: not drawn")
            continue
        figure = draw(srsly.read_json(source))
        # Without date and version, so that the same results give the same file.
        figure.savefig(target, dpi=DPI, metadata={"Software": None})
        msg.good(str(target))


def draw_inference(found: Dict[str, Any]) -> Figure:
    """Plot words per second of all systems, one panel per size, with the spread of the
    rounds."""
    sizes = found["sizes"]
    figure = Figure(figsize=(5.5 * len(sizes), 3.6), layout="tight")
    panels = figure.subplots(1, len(sizes), squeeze=False)
    for axes, (size, one) in zip(panels[0], sizes.items()):
        speeds = {
            label(name, found).replace("*", ""): speed
            for name, speed in one["words_per_second"].items()
            if name not in LEFT_OUT
        }
        medians = [speed["median"] for speed in speeds.values()]
        below = [speed["median"] - speed["min"] for speed in speeds.values()]
        above = [speed["max"] - speed["median"] for speed in speeds.values()]
        axes.barh(
            list(speeds),
            medians,
            xerr=[below, above],
            color=[OURS if name.startswith("spacy") else THEIRS for name in speeds],
        )
        axes.invert_yaxis()
        axes.set_xlabel("words/s")
        axes.set_title(size)
    return figure


def draw_scaling(found: Dict[str, Any]) -> Figure:
    """Plot words per second (above) and memory (below) by batch, length and size."""
    figure = Figure(figsize=(15, 8), layout="tight")
    panels = figure.subplots(2, 3)
    for row, (key, name) in zip(panels, QUANTITIES.items()):
        by_batch, by_length, by_size = row
        for number, (size, one) in enumerate(found["sizes"].items()):
            color = f"C{number}"
            line(by_batch, one["batch_tokens"], key, size, color)
            line(by_length, one["sentence_length"], key, f"{size}, sentence", color)
            line(by_length, one["doc_length"], key, f"{size}, doc", color, "o:")
        by_batch.set_xlabel("batch_tokens")
        by_length.set_xlabel("length in words")
        draw_sizes(by_size, found["sizes"], key)
        for axes in row:
            axes.set_ylabel(name)
            axes.set_xscale("log")
            axes.set_yscale("log", nonpositive="clip")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
    return figure


def draw_sizes(axes: Axes, sizes: Mapping[str, Any], key: str) -> None:
    """Plot by number of parameters, one line per number of threads."""
    for number, threads in enumerate(next(iter(sizes.values()))["threads"]):
        at_threads = [one["threads"][threads] for one in sizes.values()]
        points = {str(int(at["parameters"]["median"])): at for at in at_threads}
        line(axes, points, key, count(int(threads), "thread"), f"C{number}")
    axes.set_xlabel(f"parameters ({', '.join(sizes)})")


def draw_int8(found: Dict[str, Any]) -> Figure:
    """Plot the time of calls by number of sentences, one panel per size and instruction
    set."""
    sizes = found["sizes"]
    names = list(next(iter(sizes.values()))["instructions"])
    figure = Figure(figsize=(4 * len(sizes), 3 * len(names)), layout="tight")
    panels = figure.subplots(len(names), len(sizes), squeeze=False)
    for row, name in zip(panels, names):
        for axes, (size, one) in zip(row, sizes.items()):
            calls = one["instructions"][name]["call_ms"]
            for number, (precision, times) in enumerate(calls.items()):
                points = {key: {"ms": time} for key, time in times.items()}
                line(axes, points, "ms", precision, f"C{number}")
            axes.set_title(f"{size}, {name}")
            axes.set_xlabel(f"sentences of {found['call_words']} words")
            axes.set_ylabel("ms a call")
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
    return figure


def line(
    axes: Axes, points: Points, key: str, label: str, color: str, style: str = "o-"
) -> None:
    """Plot medians, with the spread of the rounds around them."""
    x = [int(point) for point in points]
    median, least, most = (
        [at[key][part] for at in points.values()] for part in ("median", "min", "max")
    )
    axes.plot(x, median, style, color=color, label=label)
    axes.fill_between(x, least, most, color=color, alpha=0.2)


if __name__ == "__main__":
    typer.run(main)
