"""The settings of a pretraining run: defaults, conversion, validation."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from pydantic import ValidationError

from spacy_elmo import BiLMConfig
from spacy_elmo.pretraining import sections as sections_module
from spacy_elmo.pretraining import settings as settings_module
from spacy_elmo.pretraining.config_file import ConfigError
from spacy_elmo.pretraining.sections import (
    CorpusSettings,
    InitializeSettings,
    OptimizerSettings,
    ScheduleSettings,
    TrainingSettings,
)
from spacy_elmo.pretraining.settings import PretrainSettings, changes

MINIMAL: dict[str, Any] = {"corpus": {"train": "a.txt"}, "training": {"max_steps": 9}}


def make(**sections: Any) -> PretrainSettings:
    """The minimal config with these settings changed."""
    return PretrainSettings.from_dict(runs.merged(MINIMAL, sections), source="run.cfg")


def problems(**sections: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        make(**sections)
    return caught.value.args


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
    optimizer = {"name": "adamw", "learn_rate": 0.01, "beta1": 0.8}
    adamw = make(training={"optimizer": optimizer})
    assert adamw.to_dict()["training"]["optimizer"] == {
        "name": "adamw",
        "learn_rate": 0.01,
        "grad_clip": 10.0,
        "grad_skip": 10.0,
        "beta1": 0.8,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.01,
    }


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
    ({"corpus": {"tokenizer": None}}, ".tokenizer = null should be a string"),
    ({"corpus": {"tokenizer": ""}}, '.tokenizer = "" should not be empty'),
    ({"corpus": {"n_process": True}}, ".n_process = true should be a valid integer"),
    ({"bilm": {"filters": [[1, 2.5]]}}, "= [[1, 2.5]] should be a list of pairs"),
    ({"training": {"max_steps": 1e3}}, "= 1000.0 should be .* without a point or an"),
    ({"training": {"logger": {}}}, ".logger = {} should be .*@loggers"),
    ({"training": {"logger": "x"}}, '.logger = "x" should be a section, or null'),
    ({"export": {"hdf5": "yes"}}, '.hdf5 = "yes" should be true or false'),
    # Ranges
    ({"vocabulary": {"max_size": 3}}, ".max_size = 3 should be greater than 3, or nul"),
    ({"softmax": {"cutoffs": [0]}}, ".cutoffs.0 = 0 should be greater than 0"),
    ({"softmax": {"div_value": 0.5}}, ".div_value = 0.5 should be .* or equal to 1"),
    ({"training": {"dropout": -0.1}}, ".dropout = -0.1 should be .* or equal to 0"),
    ({"training": {"dropout": float("nan")}}, "= NaN should be a finite number"),
    ({"training": {"ema_decay": 1}}, ".ema_decay = 1 should be less than 1, or null"),
    (
        {"training": {"optimizer": {"learn_rate": 10**400}}},
        "optimizer.learn_rate = 1000.*000... should be a valid number",
    ),
    # Choices
    ({"corpus": {"sentences": "splits"}}, "= \"splits\" should be 'lines' or 'split'"),
    ({"bilm": {"preset": "tiny"}}, ".preset = \"tiny\" should be 'small', .* or null"),
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
        {"training": {"optimizer": {"name": "adamw"}}},
        'optimizer.learn_rate = 0.2 should be set with name = "adamw"',
    ),
    (
        {
            "training": {
                "optimizer": {
                    "name": "adamw",
                    "learn_rate": 0.001,
                    "initial_accumulator": 1.0,
                }
            }
        },
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


@pytest.mark.parametrize(
    "sections",
    [
        {"corpus": {"train": ["a", "b"], "dev": "c"}},
        {"bilm": {"preset": "small", "cell_clip": None, "filters": [[1, 4], [7, 9]]}},
        {"initialize": {"weights": ["options.json", "weights.hdf5"]}},
        {"softmax": {"type": "adaptive", "cutoffs": [10, 20]}},
        {"training": {"dropout": 0, "max_epochs": 3, "logger": {"@loggers": "x"}}},
        {"training": {"optimizer": {"learn_rate": 1, "grad_clip": None}}},
        {"training": {"optimizer": {"name": "adamw", "learn_rate": 0.01}}},
    ],
    ids=str,
)
def test_settings_round_trip_through_json(sections: dict[str, Any]) -> None:
    settings = make(**sections)
    stored = json.loads(json.dumps(settings.to_dict()))
    loaded = PretrainSettings.from_dict(stored)
    assert loaded == settings
    assert loaded.to_dict() == stored
    assert changes(stored, settings.to_dict()) == []


def test_every_setting_is_documented() -> None:
    sections = []
    for file in (sections_module.__file__, settings_module.__file__):
        module = ast.parse(Path(file).read_text(encoding="utf8"))
        sections += [node for node in module.body if isinstance(node, ast.ClassDef)]
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
