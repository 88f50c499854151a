"""Colors of style.css, in both modes: contrast, and color vision deficiencies."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest

from spacy_elmo.visual.clustering import MAX_CLUSTERS
from spacy_elmo.visual.html import STATIC

VISIONS = {
    "normal": np.eye(3),
    # Machado, Oliveira and Fernandes 2009, severity 1.
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
CLUSTERS = [f"cluster-{number}" for number in range(MAX_CLUSTERS)]

modes = pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])


def linear_rgb(name: str, mode: int) -> np.ndarray:
    """A color of the style sheet in linear sRGB."""
    css = (STATIC / "style.css").read_text(encoding="utf8")
    match = re.search(rf"--{name}: light-dark\(#(\w+), #(\w+)\);", css)
    assert match, name
    digits = match[1 + mode]
    pairs = re.findall("..", digits) if len(digits) == 6 else [c * 2 for c in digits]
    rgb = np.array([int(pair, 16) / 255 for pair in pairs])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(linear: np.ndarray) -> np.ndarray:
    return TO_OKLAB @ np.cbrt(TO_CONES @ np.clip(linear, 0, 1))


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Contrast ratio, as WCAG defines it."""
    low, high = sorted(float(each @ [0.2126, 0.7152, 0.0722]) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


@modes
def test_contrast_with_the_background(mode: int) -> None:
    paper = linear_rgb("paper", mode)
    for name in ("ink", "faint", "forward", "backward"):
        assert contrast(linear_rgb(name, mode), paper) >= 4.5, name
    for name in CLUSTERS:
        assert contrast(linear_rgb(name, mode), paper) >= 3, name


@modes
@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("names", [CLUSTERS, ["forward", "backward"]])
def test_colors_differ(mode: int, vision: str, names: list[str]) -> None:
    """Differences of 0.02 are just noticeable in OKLab."""
    seen = {name: oklab(VISIONS[vision] @ linear_rgb(name, mode)) for name in names}
    for one, other in combinations(names, 2):
        assert np.linalg.norm(seen[one] - seen[other]) >= 0.12, (one, other)
