"""The configs that ship for `elmo pretrain`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.settings import setting_names
from spacy.util import load_config

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm.config import ORIGINAL_FILTERS
from spacy_elmo.pretraining.config_file import ConfigError, read_config
from spacy_elmo.pretraining.sections import (
    OptimizerSettings,
    ScheduleSettings,
    SoftmaxSettings,
)
from spacy_elmo.pretraining.settings import PretrainSettings

CONFIGS = Path(__file__).parent.parent.parent / "configs"
PRESETS = ["distill", "medium", "original", "own", "small", "tiny"]
FILES = ["adapt.cfg", *(f"pretrain_{name}.cfg" for name in PRESETS)]
OVERRIDES = {"adapt.cfg": ["--paths.train", "a", "--paths.weights", "w"]}
UNCOMMENTED = ("train", "dev", "proj_clip", "beta2", "eps")
"""Variables, and settings that share the comment of the one above."""


def read(name: str, *overrides: str) -> PretrainSettings:
    first = OVERRIDES.get(name, ["--paths.train", "a"])
    return PretrainSettings.from_file(CONFIGS / name, [*first, *overrides])


def test_all_presets_are_tested() -> None:
    found = [path.stem for path in sorted(CONFIGS.glob("pretrain_*.cfg"))]
    assert found == [f"pretrain_{name}" for name in PRESETS]


@pytest.mark.parametrize("name", FILES)
def test_configs_are_valid_and_complete(name: str) -> None:
    config = read_config(CONFIGS / name)
    assert config == load_config(CONFIGS / name, interpolate=True)
    settings = read(name)
    expected = set(setting_names(settings.to_dict())) - {"bilm"}
    listed = {key for key in setting_names(config) if not key.startswith("paths.")}
    if config.get("bilm", {}).get("preset"):
        listed |= {"bilm.dim", "bilm.projection_dim", "bilm.n_highway"}
    assert listed - {"bilm.preset"} == expected
    # Held-out text is optional.
    assert settings.corpus.dev is None


@pytest.mark.parametrize("name", FILES)
def test_every_setting_has_a_comment(name: str) -> None:
    lines = (CONFIGS / name).read_text(encoding="utf8").splitlines()
    assert all(len(line) <= 90 for line in lines)
    for before, line in pairwise(lines):
        if line and line[0] not in "#[" and line.split()[0] not in UNCOMMENTED:
            assert before.startswith("#"), line


@pytest.mark.parametrize("name", FILES)
def test_every_setting_can_be_overridden(name: str) -> None:
    for key in setting_names(read(name).to_dict()):
        if key != "bilm":
            with pytest.raises(ConfigError, match=rf"{key}.* = "):
                read(name, f'--{key}={{"not": "valid"}}')


@pytest.mark.parametrize(
    ("name", "dim", "projection_dim", "n_highway", "filters"),
    [
        ("tiny", 256, 64, 1, ORIGINAL_FILTERS[:4]),
        ("small", 1024, 128, 1, ORIGINAL_FILTERS),
        ("medium", 2048, 256, 1, ORIGINAL_FILTERS),
        ("original", 4096, 512, 2, ORIGINAL_FILTERS),
    ],
)
def test_sizes_of_presets(
    name: str, dim: int, projection_dim: int, n_highway: int, filters: Any
) -> None:
    settings = read(f"pretrain_{name}.cfg")
    assert settings.bilm == BiLMConfig(
        dim=dim, projection_dim=projection_dim, n_highway=n_highway, filters=filters
    )
    assert settings.corpus.tokenizer == "en"
    text = (CONFIGS / f"pretrain_{name}.cfg").read_text(encoding="utf8")
    assert f"{2 * projection_dim} wide" in text


def test_original_preset_has_the_published_settings() -> None:
    settings = read("pretrain_original.cfg")
    training = settings.training
    assert training.optimizer == OptimizerSettings(
        name="adagrad",
        learn_rate=0.2,
        grad_clip=10.0,
        grad_skip=None,
        initial_accumulator=1.0,
    )
    assert training.schedule == ScheduleSettings()
    assert (training.batch_size, training.unroll_steps) == (384, 20)
    assert (training.dropout, training.max_epochs) == (0.1, 10)
    assert settings.softmax == SoftmaxSettings(type="sampled", n_samples=8192)
    assert settings.vocabulary.max_size == 793471


def test_the_small_english_model_fits_into_6_mb() -> None:
    settings = read("pretrain_distill.cfg")
    assert settings.initialize.teacher == ("bundled",)
    assert settings.bilm is not None
    assert 2 * BiLM(settings.bilm).n_parameters <= 6e6


def test_a_language_of_your_own_fits_into_15_mb() -> None:
    config = read("pretrain_own.cfg").bilm
    assert config is not None
    n_parameters = sum(weight.numel() for weight in BiLM(config).parameters())
    assert 2 * n_parameters <= 15e6
