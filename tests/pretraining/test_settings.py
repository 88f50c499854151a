"""The settings of a pretraining run: defaults, conversion, validation."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm.config import ORIGINAL_FILTERS
from spacy_elmo.pretraining import settings as settings_module
from spacy_elmo.pretraining.config import ConfigError
from spacy_elmo.pretraining.settings import (
    CorpusSettings,
    InitializeSettings,
    NoiseSettings,
    OptimizerSettings,
    PretrainSettings,
    ScheduleSettings,
    TrainingSettings,
    changes,
)

MINIMAL: dict[str, Any] = {"corpus": {"train": "a.txt"}, "training": {"max_steps": 9}}


def make(**sections: Any) -> PretrainSettings:
    """The minimal config with these settings changed."""
    return PretrainSettings.from_dict(runs.merged(MINIMAL, sections), source="run.cfg")


def problems(**sections: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        make(**sections)
    return caught.value.args


def test_defaults() -> None:
    assert make().to_dict() == {
        "corpus": {
            "train": ["a.txt"],
            "dev": None,
            "tokenizer": "whitespace",
            "sentences": "lines",
            "text_field": "text",
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


def test_settings_made_in_python() -> None:
    settings = PretrainSettings(
        corpus=CorpusSettings(train="a.txt"),
        training=TrainingSettings(max_steps=9),
        bilm=BiLMConfig(),
    )
    assert settings == make()
    with pytest.raises(ValidationError, match="frozen"):
        settings.corpus.n_process = 2
    with pytest.raises(ValidationError, match="beta1\n  is only valid with name"):
        OptimizerSettings(beta1=0.8)
    with pytest.raises(ValidationError, match=r"conflicts with initialize\.weights"):
        PretrainSettings(
            corpus=settings.corpus,
            training=settings.training,
            initialize=InitializeSettings(weights="w"),
            bilm=BiLMConfig(),
        )


def test_values_are_converted() -> None:
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


@pytest.mark.parametrize("bilm", [{}, None, {"preset": None}])
@pytest.mark.parametrize("weights", ["weights", ["options.json", "weights.hdf5"]])
def test_trained_weights_bring_their_sizes(weights: Any, bilm: Any) -> None:
    settings = make(initialize={"weights": weights, "softmax_steps": 5}, bilm=bilm)
    assert settings.bilm is None
    paths = (weights,) if isinstance(weights, str) else tuple(weights)
    assert settings.initialize == InitializeSettings(weights=paths, softmax_steps=5)
    assert settings.to_dict()["bilm"] is None


def test_only_settings_of_the_chosen_optimizer_are_stored() -> None:
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


def test_noise_is_false_unless_there_is_any() -> None:
    assert not NoiseSettings()
    assert NoiseSettings(misspelled=0.01)


FILE = """
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


def test_file_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.cfg"
    path.write_text(FILE, encoding="utf8")
    overrides = ["--paths.train", "a.txt", "--training.schedule.name=linear"]
    settings = PretrainSettings.from_file(path, overrides)
    assert settings.corpus.train == ("a.txt",)
    assert settings.training.schedule == ScheduleSettings(name="linear")
    logger = {"@loggers": "spacy.ConsoleLogger.v1", "progress_bar": False}
    assert settings.training.logger == logger
    overrides += ["--training.logger", "null"]
    assert PretrainSettings.from_file(path, overrides).training.logger is None
    with pytest.raises(ConfigError, match=r"run\.cfg: corpus\.train = null should be"):
        PretrainSettings.from_file(path)


WRONG: list[tuple[dict[str, Any], str]] = [
    # Unknown names
    ({"corpus": {"tokeniser": "en"}}, '.tokeniser = "en" is not .*mean tokenizer?'),
    ({"korpus": {"x": 1}}, '= {"x": 1} is not a setting; did you mean corpus?'),
    ({"bilm": {"n_characters": 262}}, ".n_characters = 262 is not a setting"),
    ({"bilm": {"forget_bias": 1.0}}, "is not a setting; expected one of preset, char"),
    ({"training": {"optimiser": {}}}, ".optimiser = {} is not .*mean optimizer?"),
    # Types
    ({"corpus": 3}, "corpus = 3 should be a section"),
    ({"training": {"optimizer": "adamw"}}, '.optimizer = "adamw" should be a section'),
    ({"corpus": {"train": None}}, ".train = null should be a path or a list of paths"),
    ({"corpus": {"train": []}}, ".train = [] should be a path or a list of paths"),
    ({"corpus": {"train": ["a", 2]}}, '.train = ["a", 2] should be a path or a list'),
    ({"corpus": {"dev": ""}}, '.dev = "" should be a path or a list of paths'),
    ({"corpus": {"tokenizer": None}}, ".tokenizer = null should be a string"),
    ({"corpus": {"tokenizer": 2}}, ".tokenizer = 2 should be a string, in double quo"),
    ({"corpus": {"tokenizer": ""}}, '.tokenizer = "" should not be empty'),
    ({"corpus": {"n_process": True}}, ".n_process = true should be a valid integer"),
    ({"bilm": {"filters": [[1, 2.5]]}}, "= [[1, 2.5]] should be a list of pairs"),
    ({"bilm": {"filters": 3}}, ".filters = 3 should be a list of pairs"),
    ({"training": {"max_steps": 1e3}}, "= 1000.0 should be .* without a point or an"),
    ({"training": {"max_steps": "9"}}, '.max_steps = "9" should be a valid integer'),
    ({"training": {"dropout": False}}, ".dropout = false should be a valid number"),
    ({"training": {"cuda_graph": 1}}, ".cuda_graph = 1 should be true or false"),
    ({"training": {"logger": {}}}, ".logger = {} should be .*@loggers"),
    ({"training": {"logger": "x"}}, '.logger = "x" should be a section, or null'),
    ({"export": {"hdf5": "yes"}}, '.hdf5 = "yes" should be true or false'),
    # Ranges
    ({"corpus": {"n_process": 0}}, ".n_process = 0 should be greater than 0"),
    ({"vocabulary": {"max_size": 3}}, ".max_size = 3 should be greater than 3, or nul"),
    ({"softmax": {"cutoffs": [0]}}, ".cutoffs.0 = 0 should be greater than 0"),
    ({"softmax": {"div_value": 0.5}}, ".div_value = 0.5 should be .* or equal to 1"),
    ({"training": {"dropout": 1}}, ".dropout = 1 should be less than 1"),
    ({"training": {"dropout": -0.1}}, ".dropout = -0.1 should be .* or equal to 0"),
    ({"training": {"dropout": float("nan")}}, "= NaN should be a finite number"),
    ({"training": {"ema_decay": 1}}, ".ema_decay = 1 should be less than 1, or null"),
    ({"training": {"n_evaluated": 0}}, ".n_evaluated = 0 should be greater than 0, or"),
    (
        {"training": {"optimizer": {"learn_rate": float("inf")}}},
        "optimizer.learn_rate = Infinity should be a finite number",
    ),
    (
        {"training": {"optimizer": {"learn_rate": 10**400}}},
        "optimizer.learn_rate = 1000.*000... should be a valid number",
    ),
    (
        {"training": {"optimizer": {"learn_rate": 0}}},
        "optimizer.learn_rate = 0 should be greater than 0",
    ),
    (
        {"training": {"optimizer": {"grad_clip": 0}}},
        "optimizer.grad_clip = 0 should be greater than 0, or null",
    ),
    (
        {"training": {"schedule": {"name": "linear", "final_factor": 1.1}}},
        "schedule.final_factor = 1.1 should be less than or equal to 1",
    ),
    # Choices
    ({"corpus": {"sentences": "splits"}}, "= \"splits\" should be 'lines' or 'split'"),
    ({"bilm": {"preset": "tiny"}}, ".preset = \"tiny\" should be 'small', .* or null"),
    ({"softmax": {"type": "half"}}, ".type = \"half\" should be .*or 'adaptive'"),
    ({"training": {"precision": "float16"}}, "= \"float16\" should be .*or 'auto'"),
    ({"training": {"optimizer": {"name": "adam"}}}, "optimizer.name = .*or 'adamw'"),
    # Conflicts
    ({"corpus": {"sentences": "split"}}, 'corpus.sentences = "split" needs a language'),
    ({"vocabulary": {"path": "v", "min_count": 2}}, ".min_count = 2 does not apply"),
    ({"vocabulary": {"path": "v", "max_size": 9}}, ".max_size = 9 does not apply"),
    ({"bilm": {"dim": 64}}, ".projection_dim = 512 should be at most dim (64)"),
    (
        {"bilm": {"dim": 8, "projection_dim": 8}, "initialize": {"weights": "w"}},
        'bilm = {"dim": 8, .* conflicts with initialize.weights',
    ),
    ({"softmax": {"type": "adaptive"}}, ".cutoffs = [] should be ascending ranks"),
    (
        {"softmax": {"type": "adaptive", "cutoffs": [2, 2]}},
        ".cutoffs = [2, 2] should be ascending ranks",
    ),
    ({"softmax": {"cutoffs": [2]}}, '.cutoffs = [2] is only valid with type = "adapt'),
    ({"training": {"max_steps": 0}}, "= 0 means no limit; set it or max_epochs"),
    ({"training": {"accumulate_gradient": 3}}, "= 3 should divide batch_size = 128"),
    ({"training": {"patience": 5}}, ".patience = 5 needs held-out text; set corpus.de"),
    (
        {"training": {"patience": 5, "eval_frequency": 0}, "corpus": {"dev": "d"}},
        ".patience = 5 needs evaluations during training; set eval_frequency",
    ),
    (
        {"training": {"noise": {"lower_case": 0.8, "title_case": 0.4}}},
        "noise.title_case = 0.4 should add up to at most 1 .* not 1.2",
    ),
    (
        {"training": {"optimizer": {"beta1": 0.9}}},
        'optimizer.beta1 = 0.9 is only valid with name = "adamw"; remove it',
    ),
    (
        {"training": {"optimizer": {"name": "adamw", "initial_accumulator": 1.0}}},
        '.initial_accumulator = 1.0 is only valid with name = "adagrad"',
    ),
    (
        {"training": {"schedule": {"final_factor": 0.1}}},
        'schedule.final_factor = 0.1 is not valid with name = "constant"',
    ),
    (
        {"training": {"schedule": {"name": "warmup_stable_decay"}}},
        "schedule.decay_steps = 0 should be the number of steps",
    ),
    (
        {"training": {"schedule": {"name": "linear", "decay_steps": 5}}},
        '.decay_steps = 5 is only valid with name = "warmup_stable_decay"',
    ),
    ({"initialize": {"weights": ["a", "b", "c"]}}, '"c"] should have at most 2 items'),
    ({"initialize": {"softmax_steps": 5}}, "softmax_steps = 5 is only valid with weig"),
]


@pytest.mark.parametrize(("sections", "expected"), WRONG)
def test_invalid_settings(sections: dict[str, Any], expected: str) -> None:
    """The message contains `expected`, in which ".*" matches any text."""
    (problem,) = problems(**sections)
    section = next(
        name for name in sections if name != "initialize" or len(sections) == 1
    )
    assert problem.startswith(f"run.cfg: {section}")
    position = 0
    for part in expected.split(".*"):
        assert part in problem[position:], problem
        position = problem.index(part, position) + len(part)


def test_all_problems_are_reported_at_once() -> None:
    messages = problems(
        corpus={"train": None, "n_process": 0},
        vocabulary={"min": 2},
        bilm={"dim": 64},
        training={"dropout": 2, "schedule": {"name": "x"}},
        sofmax={},
    )
    assert len(messages) == 7, messages
    messages = problems(training={"max_steps": 0, "accumulate_gradient": 3})
    assert len(messages) == 2, messages


def test_missing_sections() -> None:
    with pytest.raises(ConfigError) as caught:
        PretrainSettings.from_dict({})
    assert [problem.split(" ")[0] for problem in caught.value.args] == [
        "corpus.train",
        "training.max_steps",
    ]


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
    lambda corpus, training, optimizer, initialize, bilm: runs.merged(
        MINIMAL,
        {
            "corpus": corpus,
            "training": {**training, "optimizer": optimizer},
            **({"initialize": initialize} if initialize else {"bilm": bilm}),
        },
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
def test_settings_round_trip_through_json(config: dict[str, Any]) -> None:
    settings = PretrainSettings.from_dict(config)
    stored = json.loads(json.dumps(settings.to_dict()))
    loaded = PretrainSettings.from_dict(stored)
    assert loaded == settings
    assert loaded.to_dict() == stored
    assert changes(stored, settings.to_dict()) == []


def test_every_setting_is_documented() -> None:
    module = ast.parse(Path(settings_module.__file__).read_text(encoding="utf8"))
    sections = [node for node in module.body if isinstance(node, ast.ClassDef)]
    assert len(sections) >= 11
    for section in sections:
        assert ast.get_docstring(section), section.name
        for field, following in zip(section.body, [*section.body[1:], None]):
            if not isinstance(field, ast.AnnAssign):
                continue
            setting = ast.unparse(field)
            if "Settings" not in setting and "ClassVar" not in setting:
                is_text = isinstance(following, ast.Expr)
                assert is_text, f"{section.name}: {setting}"
