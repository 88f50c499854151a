"""The ready configs of `elmo pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from spacy.util import load_config

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm.config import ORIGINAL_FILTERS
from spacy_elmo.pretraining.config import ConfigError, read_config
from spacy_elmo.pretraining.settings import (
    OptimizerSettings,
    PretrainSettings,
    ScheduleSettings,
    SoftmaxSettings,
)

ROOT = Path(__file__).parent.parent.parent
PRESETS = sorted((ROOT / "configs").glob("pretrain_*.cfg"))
UNREMARKED = ("train", "dev", "proj_clip", "beta2", "eps")
"""Keys that share the remark of the key above, or are references."""


def leaves(section: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in section.items():
        path = f"{prefix}{key}"
        found += leaves(value, f"{path}.") if isinstance(value, dict) else [path]
    return found


def test_there_are_four() -> None:
    names = ["medium", "original", "small", "tiny"]
    assert [path.stem for path in PRESETS] == [f"pretrain_{name}" for name in names]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_whole(path: Path) -> None:
    """spaCy reads them alike, and all settings are there, each under a remark."""
    config = read_config(path)
    assert config == load_config(path, interpolate=True)
    settings = PretrainSettings.from_file(path, ["--paths.train", "a"])
    expected = set(leaves(settings.to_dict()))
    named = set(leaves(config)) - {"bilm.preset"}
    if config["bilm"]["preset"]:
        named |= {"bilm.dim", "bilm.projection_dim", "bilm.n_highway"}
    assert {name for name in named if not name.startswith("paths.")} == expected
    # A preset without held-out text must work too.
    assert settings.corpus.dev is None
    lines = path.read_text(encoding="utf8").splitlines()
    assert all(len(line) <= 90 for line in lines)
    for before, line in zip(lines, lines[1:]):
        if line and line[0] not in "#[" and line.split()[0] not in UNREMARKED:
            assert before.startswith("#"), line


@pytest.mark.parametrize(
    ("name", "dim", "projection_dim", "n_highway", "filters"),
    [
        ("tiny", 256, 64, 1, ORIGINAL_FILTERS[:4]),
        ("small", 1024, 128, 1, ORIGINAL_FILTERS),
        ("medium", 2048, 256, 1, ORIGINAL_FILTERS),
        ("original", 4096, 512, 2, ORIGINAL_FILTERS),
    ],
)
def test_presets_have_their_sizes(
    name: str, dim: int, projection_dim: int, n_highway: int, filters: Any
) -> None:
    path = ROOT / "configs" / f"pretrain_{name}.cfg"
    settings = PretrainSettings.from_file(path, ["--paths.train", "a"])
    assert settings.bilm == BiLMConfig(
        dim=dim, projection_dim=projection_dim, n_highway=n_highway, filters=filters
    )
    assert settings.corpus.tokenizer == "en"
    assert f"{2 * projection_dim} wide" in path.read_text(encoding="utf8")


def test_the_original_is_the_published_one() -> None:
    path = ROOT / "configs" / "pretrain_original.cfg"
    settings = PretrainSettings.from_file(path, ["--paths.train", "a"])
    training = settings.training
    assert training.optimizer == OptimizerSettings(
        name="adagrad", learn_rate=0.2, grad_clip=10.0, initial_accumulator=1.0
    )
    assert training.schedule == ScheduleSettings()
    assert (training.batch_size, training.unroll_steps) == (384, 20)
    assert (training.dropout, training.max_epochs) == (0.1, 10)
    assert settings.softmax == SoftmaxSettings(type="sampled", n_samples=8192)
    assert settings.vocabulary.max_size == 793471


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_any_setting_can_be_overridden(path: Path) -> None:
    settings = PretrainSettings.from_file(path, ["--paths.train", "a"])
    for name in leaves(settings.to_dict()):
        with pytest.raises(ConfigError, match=rf"{name}.* = "):
            PretrainSettings.from_file(
                path, ["--paths.train", "a", f'--{name}={{"no": "kind"}}']
            )
