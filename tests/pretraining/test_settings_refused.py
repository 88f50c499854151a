"""Settings of a pretraining run that cannot be, and what is said about them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from helpers.corpora import corpus_refused

from spacy_elmo.pretraining.config_file import ConfigError
from spacy_elmo.pretraining.settings import PretrainSettings

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


def problems(**sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make(**sections)
    return caught.value.problems


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"corpus": {"train": None}}, ["[corpus] train", "path", "null"]),
    ({"corpus": {"train": []}}, ["[corpus] train", "path", "[]"]),
    ({"corpus": {"train": ["a", 2]}}, ["[corpus] train", "path", "double quotes"]),
    ({"corpus": {"dev": ""}}, ["[corpus] dev", "path", '""']),
    ({"corpus": {"tokenizer": None}}, ["[corpus] tokenizer", "text", "null"]),
    ({"corpus": {"sentences": "splits"}}, ["[corpus] sentences", "split", "splits"]),
    ({"corpus": {"sentences": "split"}}, ["[corpus] sentences", "whitespace"]),
    ({"corpus": {"n_process": 0}}, ["[corpus] n_process", "at least 1", "0"]),
    ({"corpus": {"n_process": True}}, ["[corpus] n_process", "whole number", "true"]),
    ({"corpus": {"tokeniser": "en"}}, ["[corpus] tokeniser", "mean tokenizer?"]),
    ({"corpus": 3}, ["[corpus]", "section", "3"]),
    ({"korpus": {"x": 1}}, ["[korpus]", "mean corpus?"]),
    ({"vocabulary": {"max_size": 3}}, ["[vocabulary] max_size", "at least 4", "3"]),
    ({"vocabulary": {"path": "v", "min_count": 2}}, ["[vocabulary] min_count", "2"]),
    ({"vocabulary": {"path": "v", "max_size": 9}}, ["[vocabulary] max_size", "9"]),
    ({"bilm": {"preset": "tiny"}}, ["[bilm] preset", "small", "tiny"]),
    ({"bilm": {"dim": 64}}, ["[bilm] projection_dim", "64", "512"]),
    ({"bilm": {"dim": True}}, ["[bilm] dim", "whole number", "true"]),
    ({"bilm": {"filters": [[1, 2.5]]}}, ["[bilm] filters", "pairs", "2.5"]),
    ({"bilm": {"n_characters": 262}}, ["[bilm] n_characters", "found 'n_characters'"]),
    ({"bilm": {"forget_bias": 1.0}}, ["[bilm] forget_bias"]),
    (
        {"bilm": {"dim": 8}, "initialize": {"weights": "w"}},
        ["[bilm]", "weights", "dim"],
    ),
    ({"softmax": {"type": "half"}}, ["[softmax] type", "adaptive", "half"]),
    ({"softmax": {"type": "adaptive"}}, ["[softmax] cutoffs", "rising", "[]"]),
    (
        {"softmax": {"type": "adaptive", "cutoffs": [2, 2]}},
        ["[softmax] cutoffs", "rising", "[2, 2]"],
    ),
    ({"softmax": {"cutoffs": [2]}}, ["[softmax] cutoffs", "[2]", "adaptive"]),
    ({"softmax": {"cutoffs": [0]}}, ["[softmax] cutoffs", "at least 1", "[0]"]),
    ({"softmax": {"div_value": 0.5}}, ["[softmax] div_value", "at least 1", "0.5"]),
    ({"training": {"max_steps": 0}}, ["[training] max_steps", "max_epochs"]),
    (
        {"training": {"max_steps": 1e3}},
        ["[training] max_steps", "1000.0", "Write 1000"],
    ),
    ({"training": {"max_steps": 0.5}}, ["[training] max_steps", "whole number", "0.5"]),
    ({"training": {"max_steps": "9"}}, ["[training] max_steps", "whole", '"9"']),
    ({"training": {"accumulate_gradient": 3}}, ["accumulate_gradient", "128", "3"]),
    ({"training": {"dropout": 1}}, ["[training] dropout", "below 1", "1"]),
    ({"training": {"dropout": -0.1}}, ["[training] dropout", "at least 0", "-0.1"]),
    ({"training": {"dropout": float("nan")}}, ["[training] dropout", "NaN"]),
    ({"training": {"dropout": False}}, ["[training] dropout", "number", "false"]),
    ({"training": {"precision": "float16"}}, ["[training] precision", "bfloat16"]),
    ({"training": {"cuda_graph": 1}}, ["[training] cuda_graph", "true or false", "1"]),
    ({"training": {"patience": 5}}, ["[training] patience", "[corpus] dev", "5"]),
    (
        {"training": {"patience": 5, "eval_frequency": 0}, "corpus": {"dev": "d"}},
        ["[training] patience", "eval_frequency", "5"],
    ),
    ({"training": {"logger": {}}}, ["[training] logger", "@loggers", "{}"]),
    ({"training": {"logger": "x"}}, ["[training] logger", "@loggers", '"x"']),
    ({"training": {"n_evaluated": 0}}, ["[training] n_evaluated", "at least 1", "0"]),
    ({"training": {"optimiser": {}}}, ["[training] optimiser", "mean optimizer?"]),
    ({"training": {"optimizer": "adamw"}}, ["[training] optimizer", '"adamw"']),
    ({"training": {"optimizer": {"name": "adam"}}}, ["[training.optimizer] name"]),
    (
        {"training": {"optimizer": {"beta1": 0.9}}},
        ["[training.optimizer] beta1", "adamw"],
    ),
    (
        {"training": {"optimizer": {"beta1": 0.8}}},
        ["[training.optimizer] beta1", "adamw", "0.8"],
    ),
    (
        {"training": {"optimizer": {"learn_rate": float("inf")}}},
        ["[training.optimizer] learn_rate", "Infinity"],
    ),
    (
        {"training": {"optimizer": {"name": "adamw", "initial_accumulator": 1.0}}},
        ["[training.optimizer] initial_accumulator", "adagrad"],
    ),
    (
        {"training": {"optimizer": {"learn_rate": 0}}},
        ["[training.optimizer] learn_rate", "above 0", "0"],
    ),
    (
        {"training": {"optimizer": {"grad_clip": 0}}},
        ["[training.optimizer] grad_clip", "above 0, or null", "0"],
    ),
    (
        {"training": {"optimizer": {"learn_rate": 10**400}}},
        ["[training.optimizer] learn_rate", "..."],
    ),
    (
        {"training": {"schedule": {"final_factor": 0.1}}},
        ["[training.schedule] final_factor", "constant", "0.1"],
    ),
    (
        {"training": {"schedule": {"name": "warmup_stable_decay"}}},
        ["[training.schedule] decay_steps", "found 0"],
    ),
    (
        {"training": {"schedule": {"name": "linear", "decay_steps": 5}}},
        ["[training.schedule] decay_steps", "warmup_stable_decay"],
    ),
    (
        {"training": {"schedule": {"name": "linear", "final_factor": 1.1}}},
        ["[training.schedule] final_factor", "from 0 to 1", "1.1"],
    ),
    ({"initialize": {"weights": ["a", "b", "c"]}}, ["[initialize] weights", '"c"']),
    ({"initialize": {"softmax_steps": 5}}, ["[initialize] softmax_steps", "5"]),
    ({"export": {"hdf5": "yes"}}, ["[export] hdf5", "true or false", '"yes"']),
]


@pytest.mark.parametrize(("sections", "parts"), WRONG)
def test_refused(sections: dict[str, Any], parts: list[str]) -> None:
    with corpus_refused("run.cfg, ", *parts, kind=ConfigError):
        make(**sections)
    assert len(problems(**sections)) == 1


def test_all_problems_at_once() -> None:
    found = problems(
        corpus={"train": None, "n_process": 0},
        vocabulary={"min": 2},
        bilm={"dim": 64},
        training={"dropout": 2, "schedule": {"name": "x"}},
        sofmax={},
    )
    assert len(found) == 7, found


def test_missing_sections() -> None:
    with pytest.raises(ConfigError) as caught:
        PretrainSettings.from_dict({})
    text = "\n".join(caught.value.problems)
    assert "[corpus] train" in text
    assert "[training] max_steps" in text
    assert len(caught.value.problems) == 2
