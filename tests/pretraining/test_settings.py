"""The settings of a pretraining run: defaults, what is kept of them, refusals."""

from __future__ import annotations

import copy
import json
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest
from helpers.corpora import corpus_refused
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm.config import ORIGINAL_FILTERS
from spacy_elmo.pretraining.config_file import ConfigError
from spacy_elmo.pretraining.settings import (
    CorpusSettings,
    ExportSettings,
    InitializeSettings,
    NoiseSettings,
    OptimizerSettings,
    PretrainSettings,
    ScheduleSettings,
    SoftmaxSettings,
    TrainingSettings,
    VocabularySettings,
    changes,
)

LEAST: dict[str, Any] = {"corpus": {"train": "a.txt"}, "training": {"max_steps": 9}}


def make(**sections: Any) -> PretrainSettings:
    return PretrainSettings.from_dict(values(**sections), source="run.cfg")


def values(**sections: Any) -> dict[str, Any]:
    """The least config, with these sections' keys added."""
    merged = copy.deepcopy(LEAST)
    for name, section in sections.items():
        if isinstance(section, dict):
            merged.setdefault(name, {}).update(section)
        else:
            merged[name] = section
    return merged


def test_defaults() -> None:
    assert make().to_dict() == {
        "corpus": {
            "train": ["a.txt"],
            "dev": None,
            "tokenizer": "whitespace",
            "sentences": "lines",
            "shard_tokens": 16777216,
            "cache": None,
            "n_process": 1,
        },
        "vocabulary": {"min_count": 1, "max_size": None, "path": None},
        "bilm": {
            "char_dim": 16,
            "filters": [list(pair) for pair in ORIGINAL_FILTERS],
            "n_highway": 2,
            "max_characters_per_token": 50,
            "activation": "relu",
            "dim": 4096,
            "projection_dim": 512,
            "n_layers": 2,
            "cell_clip": 3.0,
            "proj_clip": 3.0,
            "use_skip_connections": True,
        },
        "softmax": {
            "type": "sampled",
            "n_samples": 8192,
            "cutoffs": [],
            "div_value": 4.0,
        },
        "training": {
            "seed": 0,
            "max_steps": 9,
            "max_epochs": 0,
            "batch_size": 128,
            "unroll_steps": 20,
            "accumulate_gradient": 1,
            "dropout": 0.1,
            "ema_decay": None,
            "precision": "float32",
            "eval_frequency": 1000,
            "patience": 0,
            "checkpoint_frequency": 1000,
            "keep_checkpoints": 2,
            "log_frequency": 50,
            "cuda_graph": True,
            "n_evaluated": None,
            "logger": None,
            "optimizer": {
                "name": "adagrad",
                "learn_rate": 0.2,
                "grad_clip": 10.0,
                "initial_accumulator": 1.0,
            },
            "schedule": {"name": "constant", "warmup_steps": 0, "final_factor": 0.0},
            "noise": {
                "misspelled": 0.0,
                "lower_case": 0.0,
                "upper_case": 0.0,
                "title_case": 0.0,
            },
        },
        "initialize": {"weights": None, "softmax_steps": 0},
        "export": {"hdf5": False},
    }


def test_made_in_python() -> None:
    made = PretrainSettings(
        CorpusSettings(train=("a.txt",)), TrainingSettings(max_steps=9), BiLMConfig()
    )
    assert made == make()
    with pytest.raises(FrozenInstanceError):
        made.corpus.n_process = 2  # type: ignore[misc]
    with corpus_refused("CorpusSettings.n_process", "0", kind=ConfigError):
        replace(made.corpus, n_process=0)
    with corpus_refused("bilm", "neither", kind=ConfigError):
        replace(made, bilm=None)
    with corpus_refused("bilm", "both", kind=ConfigError):
        replace(made, initialize=InitializeSettings(weights=("w",)))
    with corpus_refused("beta1", "adamw", kind=ConfigError):
        OptimizerSettings(beta1=0.8)


def test_kinds() -> None:
    settings = make(
        corpus={"train": ["a", "b"], "dev": "c"},
        training={"dropout": 0, "optimizer": {"learn_rate": 1}},
        bilm={"preset": "small", "n_layers": 3, "cell_clip": None, "proj_clip": 0},
        softmax={"type": "adaptive", "cutoffs": [10, 20]},
    )
    assert settings.corpus.train == ("a", "b")
    assert settings.corpus.dev == ("c",)
    assert type(settings.training.dropout) is float
    assert type(settings.training.optimizer.learn_rate) is float
    assert settings.bilm == BiLMConfig.preset(
        "small", n_layers=3, cell_clip=None, proj_clip=None
    )
    assert settings.softmax.cutoffs == (10, 20)


def test_weights_bring_the_sizes() -> None:
    for weights, kept in (
        ("weights", ("weights",)),
        (["options.json", "weights.hdf5"], ("options.json", "weights.hdf5")),
    ):
        for bilm in ({}, None, {"preset": None}):
            settings = make(
                initialize={"weights": weights, "softmax_steps": 5}, bilm=bilm
            )
            assert settings.bilm is None
            assert settings.initialize == InitializeSettings(kept, 5)
            assert settings.to_dict()["bilm"] is None


def test_only_the_chosen_optimizers_settings_are_kept() -> None:
    adamw = make(training={"optimizer": {"name": "adamw", "beta1": 0.8}})
    assert adamw.to_dict()["training"]["optimizer"] == {
        "name": "adamw",
        "learn_rate": 0.2,
        "grad_clip": 10.0,
        "beta1": 0.8,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.01,
    }


def write(folder: Path, text: str) -> Path:
    path = folder / "run.cfg"
    path.write_text(text, encoding="utf8")
    return path


TEXT = """
[paths]
train = null
[corpus]
train = ${paths.train}
[training]
max_steps = 9
[training.logger]
@loggers = "spacy.ConsoleLogger.v1"
progress_bar = false
"""


def test_a_file_with_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT)
    overrides = ["--paths.train", "a.txt", "--training.schedule.name=linear"]
    settings = PretrainSettings.from_file(path, overrides)
    assert settings.corpus.train == ("a.txt",)
    assert settings.training.schedule == ScheduleSettings("linear")
    assert settings.training.logger == {
        "@loggers": "spacy.ConsoleLogger.v1",
        "progress_bar": False,
    }
    assert settings.export == ExportSettings()
    assert settings.vocabulary == VocabularySettings()
    assert settings.softmax == SoftmaxSettings()
    overrides += ["--training.logger", "null"]
    assert PretrainSettings.from_file(path, overrides).training.logger is None


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ([], ["run.cfg, [corpus] train = ${paths.train}", "null", "command line"]),
        (["--paths.train=a", "--paths.trian=b"], ["--paths.trian", "mean train?"]),
        (
            ["--paths.train=a", "--training.max_step=3"],
            ["--training.max_step", "steps"],
        ),
        (["--paths.train=a", "--trainin.x=3"], ["--trainin.x", "mean training?"]),
        (["--paths.train=a", "--bilm.dim=3"], ["run.cfg, [bilm] projection_dim", "3"]),
        (["--paths.train=2"], ["run.cfg, [corpus] train = ${paths.train}", "2"]),
        (["--corpus.train=2"], ["--corpus.train", "2", "double quotes"]),
        (["--paths.train=a", "--training.logger=1"], ["--training.logger", "@loggers"]),
    ],
)
def test_refused_with_the_place(
    tmp_path: Path, overrides: list[str], parts: list[str]
) -> None:
    with corpus_refused(*parts, kind=ConfigError):
        PretrainSettings.from_file(write(tmp_path, TEXT), overrides)


OPTIMIZERS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.just("adagrad"),
            "learn_rate": st.floats(1e-6, 10) | st.integers(1, 3),
            "grad_clip": st.none() | st.floats(0.1, 10),
            "initial_accumulator": st.floats(0, 1),
        },
    ),
    st.fixed_dictionaries(
        {"name": st.just("adamw")},
        optional={"beta1": st.floats(0, 0.99), "weight_decay": st.floats(0, 1)},
    ),
)
PATHS = st.text(min_size=1, max_size=5)
CONFIGS = st.builds(
    lambda corpus, training, optimizer, initialize, bilm: values(
        corpus=corpus,
        training={**training, "optimizer": optimizer},
        **({"initialize": initialize} if initialize else {"bilm": bilm}),
    ),
    st.fixed_dictionaries(
        {}, optional={"train": PATHS | st.lists(PATHS, min_size=1), "dev": PATHS}
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "max_epochs": st.integers(0, 10),
            "dropout": st.floats(0, 0.99) | st.just(0),
            "logger": st.none() | st.builds(lambda x: {"@loggers": x}, PATHS),
        },
    ),
    OPTIMIZERS,
    st.none()
    | st.fixed_dictionaries(
        {"weights": PATHS | st.lists(PATHS, min_size=1, max_size=2)}
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "preset": st.sampled_from([None, "small", "medium", "original"]),
            "cell_clip": st.none() | st.floats(0.5, 5),
            "filters": st.lists(
                st.tuples(st.integers(1, 7), st.integers(1, 9)).map(list), min_size=1
            ),
        },
    ),
)


@given(CONFIGS)
def test_to_dict_and_back(config: dict[str, Any]) -> None:
    settings = PretrainSettings.from_dict(config)
    as_json = json.loads(json.dumps(settings.to_dict()))
    again = PretrainSettings.from_dict(as_json)
    assert again == settings
    assert again.to_dict() == as_json
    assert changes(as_json, settings.to_dict()) == []


def test_the_sections_say_what_their_settings_are() -> None:
    for section in (
        CorpusSettings,
        VocabularySettings,
        SoftmaxSettings,
        OptimizerSettings,
        ScheduleSettings,
        TrainingSettings,
        InitializeSettings,
        ExportSettings,
    ):
        text = section.__doc__ or ""
        for field in fields(section):
            if field.name not in ("optimizer", "schedule", "noise"):
                assert f"{field.name}:" in text or f"{field.name}," in text


def test_letter_cases_of_noise_share_the_sentences() -> None:
    with corpus_refused(
        "NoiseSettings.title_case", "at most 1", "1.2", kind=ConfigError
    ):
        NoiseSettings(lower_case=0.5, upper_case=0.3, title_case=0.4)
    assert not NoiseSettings()
    assert NoiseSettings(misspelled=0.01)
