"""Plots of the log, tested by their pixels and by matplotlib's artists."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from helpers.records import dev_record, train_record
from matplotlib.image import imread

from spacy_elmo.pretraining.output.curves import BACKWARD, FORWARD, MEAN, plot_curves
from spacy_elmo.pretraining.output.log import DEV, MESSAGE, TRAIN, Log


def write_log(
    folder: Path,
    *,
    train: int = 200,
    dev: int = 10,
    sampled: bool = True,
    **changes: Any,
) -> Path:
    """Steps of 500 words each; the backward LM is worse than the forward LM."""
    steps = max(train, dev)
    log = Log(folder / "log.jsonl", 0)
    log.write(MESSAGE, {"step": 0, "message": "a message"})
    for step in range(1, steps + 1):
        loss = 4.0 + 30.0 / (step + 10)
        noise = 0.5 * (-1) ** step
        if step <= train:
            record = train_record(
                step,
                loss=loss,
                forward_loss=loss - 0.2 + noise,
                backward_loss=loss + 0.2 + noise,
                learn_rate=1e-3 * min(1.0, step / 20),
                words_per_second=20000.0,
                words=step * 500,
            )
            fields = {**record._asdict(), **changes}
            log.write(TRAIN, {**fields, "sampled": sampled})
        if dev and step % (steps // dev) == 0:
            perplexity = 300.0 - step  # The best is the last one.
            evaluation = dev_record(
                step,
                forward_perplexity=perplexity - 5.0,
                backward_perplexity=perplexity + 5.0,
                perplexity=perplexity,
            )
            log.write(DEV, evaluation._asdict())
    log.close()
    return log.path


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    saved: list[Any] = []
    save = matplotlib.figure.Figure.savefig

    def keep(self: Any, *args: Any, **kwargs: Any) -> None:
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return saved


def lines_of(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines()}


def n_pixels(picture: np.ndarray, color: str) -> int:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    return int((np.abs(picture[..., :3] - rgb).max(axis=-1) < 0.02).sum())


def is_drawn(picture: np.ndarray, axes: Any, line: Any) -> bool:
    """Whether the last point of a line is visible, even if it is the only one."""
    point = (line.get_xdata()[-1], line.get_ydata()[-1])
    share = axes.figure.transFigure.inverted().transform(
        axes.transData.transform(point)
    )
    height, width = picture.shape[:2]
    row, column = int((1.0 - share[1]) * height), int(share[0] * width)
    return (
        n_pixels(picture[row - 1 : row + 2, column - 1 : column + 2], line.get_color())
        > 0
    )


def test_the_plot_has_all_curves(tmp_path: Path, figures: list[Any]) -> None:
    log = write_log(tmp_path)
    target = tmp_path / "pictures" / "curves.png"
    plot_curves(log, target)
    assert target.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = imread(target)
    assert picture.shape == (975, 1650, 4)
    for color in (FORWARD, BACKWARD, MEAN):
        # Left of the legends, which are in the upper right corners.
        assert n_pixels(picture[:, :500], color) > 100, color
        assert n_pixels(picture[:, 850:1200], color) > 100, color
    assert [path.name for path in target.parent.iterdir()] == ["curves.png"]


def test_curves_over_words(tmp_path: Path, figures: list[Any]) -> None:
    plot_curves(write_log(tmp_path), tmp_path / "curves.png")
    loss, perplexity, rate, speed = figures[0].axes
    # 200 steps of 500 words.
    assert rate.get_xlabel() == speed.get_xlabel() == "training words seen"
    assert "100 k" in [label.get_text() for label in speed.get_xticklabels()]
    forward = lines_of(loss)["forward"]
    np.testing.assert_allclose(forward.get_xdata(), np.arange(1, 201) * 500.0)
    # An evaluation every 20 steps, i.e. after 10, 20, ... thousand words.
    for name, offset in (("forward", -5.0), ("backward", 5.0), ("both", 0.0)):
        line = lines_of(perplexity)[name]
        np.testing.assert_allclose(line.get_xdata(), np.arange(1, 11) * 10_000.0)
        np.testing.assert_allclose(
            line.get_ydata(), 300.0 - np.arange(20, 201, 20) + offset
        )
    best = lines_of(perplexity)["best: 100.0"]
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (100_000.0, 100.0)
    (line,) = rate.get_lines()
    assert line.get_ydata()[-1] == 1e-3
    (line,) = speed.get_lines()
    assert set(line.get_ydata()) == {20000.0}
    for axes in figures[0].axes:
        # The end of each curve is inside the panel.
        for line in axes.get_lines():
            assert axes.get_xlim()[0] <= line.get_xdata()[-1] <= axes.get_xlim()[1]
            assert axes.get_ylim()[0] <= line.get_ydata()[-1] <= axes.get_ylim()[1]


def test_smoothed_curves(tmp_path: Path, figures: list[Any]) -> None:
    plot_curves(write_log(tmp_path), tmp_path / "curves.png")
    loss = figures[0].axes[0]
    steps = np.arange(1, 201)
    true = 4.0 + 30.0 / (steps + 10)
    for name, offset in (("forward", -0.2), ("backward", 0.2)):
        smooth = lines_of(loss)[name].get_ydata()
        late = steps > 40
        # Little is left of noise of 0.5, and the fall is not blurred.
        assert np.abs(smooth - true - offset)[late].max() < 0.06
        np.testing.assert_allclose(
            smooth[:2], (true + offset + 0.5 * (-1.0) ** steps)[:2]
        )
        (raw,) = (
            line
            for line in loss.get_lines()
            if line.get_label() != name
            and line.get_color() == lines_of(loss)[name].get_color()
        )
        np.testing.assert_allclose(
            raw.get_ydata(), true + offset + 0.5 * (-1.0) ** steps
        )
        assert raw.get_alpha() < 0.5


@pytest.mark.parametrize("sampled", [False, True])
def test_axis_labels(tmp_path: Path, figures: list[Any], sampled: bool) -> None:
    plot_curves(write_log(tmp_path, sampled=sampled), tmp_path / "curves.png")
    labels = [axes.get_ylabel() for axes in figures[0].axes]
    assert labels == [
        f"{'sampled ' if sampled else ''}training loss (nats per word)",
        "held-out perplexity (full softmax)",
        "learning rate",
        "speed (words per second)",
    ]


@pytest.mark.parametrize(
    ("train", "dev", "texts"),
    [
        (200, 0, [0, 1, 0, 0]),
        (1, 0, [0, 1, 0, 0]),
        (0, 1, [1, 0, 1, 1]),
        (1, 1, [0, 0, 0, 0]),
        (0, 5, [1, 0, 1, 1]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_short_logs(
    tmp_path: Path, figures: list[Any], train: int, dev: int, texts: list[int]
) -> None:
    plot_curves(write_log(tmp_path, train=train, dev=dev), tmp_path / "curves.png")
    assert [len(axes.texts) for axes in figures[0].axes] == texts
    picture = imread(tmp_path / "curves.png")
    loss, perplexity = figures[0].axes[:2]
    if train:
        assert is_drawn(picture, loss, lines_of(loss)["forward"])
    if dev:
        assert is_drawn(picture, perplexity, lines_of(perplexity)["backward"])
    unit = " seen" if train else "training steps"
    assert unit in figures[0].axes[2].get_xlabel()


@pytest.mark.filterwarnings("error")
def test_losses_that_are_not_finite_are_gaps(
    tmp_path: Path, figures: list[Any]
) -> None:
    write_log(tmp_path, forward_loss=math.nan, backward_loss=math.inf)
    plot_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["nothing finite"]
    assert not figures[0].axes[1].texts


@pytest.mark.parametrize(
    "log", [b"", b'{"type": "message", "step": 0, "message": "hello"}\n', b'{"typ']
)
def test_a_log_without_records(tmp_path: Path, log: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(log)
    (tmp_path / "curves.png").write_bytes(b"an earlier plot")
    with pytest.raises(ValueError, match=r"expected a record .*, found none"):
        plot_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes() == b"an earlier plot"


def test_missing_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_log(tmp_path)
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"expected .*, found none.*elmo\[plots\]"):
        plot_curves(log, tmp_path / "curves.png")
