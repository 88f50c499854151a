"""Plots the log of a pretraining run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Literal, NamedTuple, Sequence

import numpy as np

from ...files import replace_file
from .log import DEV, TRAIN, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinguishable by color-blind readers.
FORWARD, BACKWARD, MEAN, SPEED = "#0072B2", "#D55E00", "#222222", "#009E73"
_LABELS = "#444444"

_SPREAD = 1.2
"""A smoothed loss is the mean over the losses from words / 1.2 to words * 1.2: over few
while the loss falls fast, over many once noise hides how slowly it falls."""

_SETTLED = 0.05
"""Fraction of the words after which the whole curve is visible. If the axis included
the steep fall at the start, from the logarithm of the vocabulary size, the rest would
be a flat line."""

_WIDE = 3.0
"""The axis of perplexities is logarithmic if they differ by more than this factor."""


class _Runs(NamedTuple):
    """Columns of the log, by name, and their x coordinates."""

    train: Dict[str, np.ndarray]
    dev: Dict[str, np.ndarray]
    train_x: np.ndarray
    dev_x: np.ndarray
    x_label: str
    sampled: bool


def plot_curves(log: Path, target: Path) -> None:
    """Plot training loss, held-out perplexity, learning rate and speed against the
    number of words seen.

    log (Path): log.jsonl of a run; it may still be growing.
    target (Path): The PNG to write.
    RAISES: ImportError without matplotlib; ValueError if the log has no records.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
        from matplotlib.ticker import EngFormatter
    except ImportError as error:
        raise ImportError(
            f"{target}: expected the package matplotlib for plotting, found none. "
            "Install it: pip install 'spacy-elmo[plots]'."
        ) from error

    runs = _read(Path(log))
    # Without pyplot, which holds the figures and settings of the whole process.
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(11.0, 6.5), layout=layout)
    (loss, perplexity), (rate, speed) = figure.subplots(
        2, 2, sharex=True, height_ratios=(1.6, 1.0)
    )
    _draw_loss(loss, runs)
    _draw_perplexity(perplexity, runs)
    _draw_pace(rate, runs, "learn_rate", "learning rate")
    _draw_pace(speed, runs, "words_per_second", "speed (words per second)")
    for axes in (rate, speed):
        axes.set_xlabel(runs.x_label, color=_LABELS)
        axes.xaxis.set_major_formatter(EngFormatter())
    loss.set_xlim(left=0.0)
    figure.align_ylabels()
    with replace_file(target) as beside:
        figure.savefig(beside, format="png", dpi=150)


def _read(log: Path) -> _Runs:
    entries = read_log(log)
    of_type = {t: [e for e in entries if e["type"] == t] for t in (TRAIN, DEV)}
    if not of_type[TRAIN] and not of_type[DEV]:
        raise ValueError(
            f"{log}: expected a record of training or of an evaluation, found none. "
            "Wait for the first steps of the run."
        )
    train, dev = _columns(of_type[TRAIN]), _columns(of_type[DEV])
    sampled = any(entry.get("sampled", False) for entry in of_type[TRAIN])
    if not train:
        return _Runs(train, dev, np.zeros(0), dev["step"], "training steps", sampled)
    # Evaluations have no word count: interpolate between the training records.
    steps, words = ([0.0, *train[name]] for name in ("step", "words"))
    dev_x = np.interp(dev.get("step", np.zeros(0)), steps, words)
    return _Runs(train, dev, train["words"], dev_x, "training words seen", sampled)


def _columns(entries: Sequence[Dict[str, Any]]) -> Dict[str, np.ndarray]:
    if not entries:
        return {}
    names = [key for key, value in entries[0].items() if not isinstance(value, str)]
    return {
        name: np.asarray([entry[name] for entry in entries], dtype=np.float64)
        for name in names
    }


def _smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    finite = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, y, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    first = np.searchsorted(x, x / _SPREAD, side="left")
    last = np.searchsorted(x, x * _SPREAD, side="right")
    n = counts[last] - counts[first]
    mean = (sums[last] - sums[first]) / np.maximum(n, 1)
    return np.where(finite, mean, np.nan)


def _draw_loss(axes: "Axes", runs: _Runs) -> None:
    name = "sampled training loss" if runs.sampled else "training loss"
    _style(axes, f"{name} (nats per word)")
    for direction, color in (("forward", FORWARD), ("backward", BACKWARD)):
        raw = _finite(runs.train, f"{direction}_loss")
        axes.plot(runs.train_x, raw, color=color, alpha=0.3, linewidth=0.8)
        smooth = _smooth(runs.train_x, raw)
        axes.plot(runs.train_x, smooth, label=direction, **_line(color, smooth))
    losses = [_finite(runs.train, f"{d}_loss") for d in ("forward", "backward")]
    _frame(axes, runs.train_x, losses, "no training yet")


def _draw_perplexity(axes: "Axes", runs: _Runs) -> None:
    _style(axes, "held-out perplexity (full softmax)")
    curves = (
        ("forward", "forward_perplexity", FORWARD),
        ("backward", "backward_perplexity", BACKWARD),
        ("both", "perplexity", MEAN),
    )
    for label, name, color in curves:
        values = _finite(runs.dev, name)
        axes.plot(runs.dev_x, values, label=label, **_line(color, values, marked=True))
    both = _finite(runs.dev, "perplexity")
    if np.isfinite(both).any():
        best = int(np.nanargmin(both))
        digits = 0 if both[best] >= 1000 else 1
        axes.plot(
            runs.dev_x[[best]],
            both[[best]],
            "o",
            color=MEAN,
            markersize=10,
            markerfacecolor="none",
            label=f"best: {both[best]:,.{digits}f}",
        )
    perplexities = [_finite(runs.dev, name) for _, name, _ in curves]
    _frame(axes, runs.dev_x, perplexities, "no evaluation yet", log=True)


def _draw_pace(axes: "Axes", runs: _Runs, name: str, label: str) -> None:
    _style(axes, label)
    values = _finite(runs.train, name)
    axes.plot(runs.train_x, values, **_line(MEAN, values, width=1.2))
    _frame(axes, runs.train_x, [values], "no training yet")
    if np.isfinite(values).any() and np.nanmax(values) > 0.0:
        axes.set_ylim(0.0, 1.1 * np.nanmax(values))


def _finite(columns: Dict[str, np.ndarray], name: str) -> np.ndarray:
    """A column, with NaN for values that are not finite; empty without records."""
    values = columns.get(name, np.zeros(0))
    return np.where(np.isfinite(values), values, np.nan)


def _line(
    color: str, values: np.ndarray, *, width: float = 1.8, marked: bool = False
) -> Dict[str, Any]:
    # A single point has no line, and would be invisible without a marker.
    few = np.isfinite(values).sum() <= (60 if marked else 1)
    marker = "o" if few else ""
    return {"color": color, "linewidth": width, "marker": marker, "markersize": 3.5}


def _style(axes: "Axes", label: str) -> None:
    axes.set_ylabel(label, color=_LABELS)
    axes.tick_params(colors=_LABELS, length=3)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color("#bbbbbb")
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _frame(
    axes: "Axes",
    x: np.ndarray,
    columns: Sequence[np.ndarray],
    if_empty: str,
    *,
    log: bool = False,
) -> None:
    """Set limits, ticks and legend of a panel."""
    y = np.concatenate(columns)
    x = np.tile(x, len(columns))[np.isfinite(y)]
    finite = y[np.isfinite(y)]
    if not len(finite):
        axes.text(
            0.5,
            0.5,
            "nothing finite" if len(y) else if_empty,
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=_LABELS,
        )
        axes.set_yticks([])
        return
    if len(columns) > 1:
        # "best" tries every point, which is slow. Falling curves leave a corner free.
        corner: Literal["best", "upper right"] = (
            "best" if len(finite) < 50 else "upper right"
        )
        axes.legend(frameon=False, labelcolor=_LABELS, loc=corner)
    low, top = finite.min(), finite[x >= _SETTLED * x.max()].max()
    if log and top > _WIDE * low:
        _log_ticks(axes, top / low)
        margin = (top / low) ** 0.06
        limits = low / margin, top * margin
    else:
        axes.yaxis.set_major_formatter("{x:,.6g}")
        margin = 0.06 * (top - low)
        limits = low - margin, top + margin
    if top > low:
        axes.set_ylim(*limits)


def _log_ticks(axes: "Axes", ratio: float) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    few, many = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axes.yaxis.set_major_locator(LogLocator(subs=few if ratio > 30 else many))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,.6g}")
