"""Differences between the settings of two runs that alter the course of training."""

from __future__ import annotations

import copy
from typing import Any

from helpers import runs
from helpers.settings import setting_names

from spacy_elmo.pretraining.settings import PretrainSettings, changes

MINIMAL: dict[str, Any] = {"corpus": {"train": "a.txt"}, "training": {"max_steps": 9}}


def stored(**sections: Any) -> dict[str, Any]:
    """The minimal config with these settings changed, as a checkpoint stores it."""
    return PretrainSettings.from_dict(runs.merged(MINIMAL, sections)).to_dict()


def test_changes_are_listed() -> None:
    assert changes(stored(), stored(training={"dropout": 0.2})) == [
        "training.dropout: 0.1 -> 0.2"
    ]
    small = stored(bilm={"preset": "small"}, softmax={"type": "full"})
    medium = stored(bilm={"preset": "medium"}, training={"seed": 3})
    assert changes(small, medium) == [
        "bilm.dim: 1024 -> 2048",
        "bilm.projection_dim: 128 -> 256",
        'softmax.type: "full" -> "sampled"',
        "training.seed: 0 -> 3",
    ]
    adamw = stored(training={"optimizer": {"name": "adamw", "learn_rate": 0.2}})
    assert changes(stored(), adamw) == [
        'training.optimizer.name: "adagrad" -> "adamw"',
        "training.optimizer.initial_accumulator: 1.0 -> unset",
        "training.optimizer.beta1: unset -> 0.9",
        "training.optimizer.beta2: unset -> 0.999",
        "training.optimizer.eps: unset -> 1e-08",
        "training.optimizer.weight_decay: unset -> 0.01",
    ]
    (bilm,) = changes(stored(), stored(initialize={"weights": "w"}))
    assert bilm.startswith('bilm: {"char_dim": 16')
    assert bilm.endswith("-> null")


CHANGEABLE = {
    "corpus": {
        "train": "b",
        "text_field": "body",
        "dev": "c",
        "cache": "d",
        "n_process": 2,
        "shard_tokens": 5,
    },
    "vocabulary": {"path": "v"},
    "training": {
        "ema_decay": 0.9,
        "checkpoint_frequency": 2,
        "keep_checkpoints": 3,
        "log_frequency": 4,
        "cuda_graph": False,
        "logger": {"@loggers": "x"},
        "n_evaluated": 5,
        "eval_frequency": 6,
        "patience": 7,
        "optimizer": {"grad_skip": None},
    },
    "export": {"hdf5": True},
}


def test_settings_that_do_not_alter_training_may_change() -> None:
    assert changes(stored(), stored(**CHANGEABLE)) == []
    assert changes({"paths": {"a": 1}}, {"paths": {"a": 2}}) == []


def test_all_other_settings_are_compared() -> None:
    changeable = set(setting_names(CHANGEABLE)) - {"training.logger.@loggers"}
    # Weights are compared by content.
    changeable |= {"training.logger", "initialize.weights", "initialize.teacher"}
    old = stored(training={"schedule": {"name": "linear"}})
    for path in setting_names(old):
        new = copy.deepcopy(old)
        *sections, key = path.split(".")
        node = new
        for section in sections:
            node = node[section]
        node[key] = "another"
        expected = [] if path in changeable else [path]
        assert [line.split(":")[0] for line in changes(old, new)] == expected


def test_schedule_and_end_may_change_if_past_rates_are_the_same() -> None:
    schedule = {"name": "linear", "warmup_steps": 3}
    new = stored(training={"max_steps": 6, "max_epochs": 2, "schedule": schedule})
    assert changes(stored(), new, same_course=True) == []
    assert changes(stored(), new) == [
        "training.max_steps: 9 -> 6",
        "training.max_epochs: 0 -> 2",
        'training.schedule.name: "constant" -> "linear"',
        "training.schedule.warmup_steps: 0 -> 3",
    ]


def test_settings_stored_by_version_0_1_are_completed() -> None:
    old = stored(training={"seed": 3})
    del old["training"]["noise"], old["training"]["ema_decay"]
    assert PretrainSettings.from_dict(old).to_dict() == stored(training={"seed": 3})
