"""What differs between two runs and alters the course of training."""

from __future__ import annotations

import copy
from typing import Any

from spacy_elmo.pretraining.settings import PretrainSettings, changes

MINIMAL: dict[str, Any] = {"corpus": {"train": "a.txt"}, "training": {"max_steps": 9}}


def complete(sections: dict[str, Any]) -> dict[str, Any]:
    """The least config with these sections' keys added, and all defaults."""
    merged = {
        name: {**MINIMAL.get(name, {}), **sections.get(name, {})}
        for name in {**MINIMAL, **sections}
    }
    return PretrainSettings.from_dict(merged).to_dict()


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return changes(complete(before), complete(after))


def test_changes() -> None:
    assert differences({}, {"training": {"dropout": 0.2}}) == [
        "training.dropout: 0.1 -> 0.2"
    ]
    assert differences(
        {"bilm": {"preset": "small"}, "softmax": {"type": "full"}},
        {"bilm": {"preset": "medium"}, "training": {"seed": 3}},
    ) == [
        "bilm.dim: 1024 -> 2048",
        "bilm.projection_dim: 128 -> 256",
        'softmax.type: "full" -> "sampled"',
        "training.seed: 0 -> 3",
    ]
    assert differences({}, {"training": {"optimizer": {"name": "adamw"}}}) == [
        'training.optimizer.name: "adagrad" -> "adamw"',
        "training.optimizer.initial_accumulator: 1.0 -> unset",
        "training.optimizer.beta1: unset -> 0.9",
        "training.optimizer.beta2: unset -> 0.999",
        "training.optimizer.eps: unset -> 1e-08",
        "training.optimizer.weight_decay: unset -> 0.01",
    ]
    (bilm,) = differences({}, {"initialize": {"weights": "w"}})
    assert bilm.startswith('bilm: {"char_dim": 16')
    assert bilm.endswith("-> null")


ASIDE = {
    "corpus": {
        "train": "b",
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
    },
    "export": {"hdf5": True},
}


def test_what_does_not_alter_the_course() -> None:
    assert differences({}, ASIDE) == []
    assert changes({"paths": {"a": 1}}, {"paths": {"a": 2}}) == []


def test_all_else_does() -> None:
    """Each setting, named by its path, is either set aside or reported."""
    aside = {f"{section}.{key}" for section, keys in ASIDE.items() for key in keys}
    # Compared by what they are, not by where they lie.
    aside.add("initialize.weights")
    old = complete({"training": {"schedule": {"name": "linear"}}})
    for path in leaves(old):
        new = copy.deepcopy(old)
        *sections, key = path.split(".")
        node = new
        for section in sections:
            node = node[section]
        node[key] = "another"
        expected = [] if path in aside else [path]
        assert [line.split(":")[0] for line in changes(old, new)] == expected


def test_schedule_and_end_count_by_the_rates_of_the_steps_so_far() -> None:
    schedule = {"name": "linear", "warmup_steps": 3}
    old = complete({})
    new = complete(
        {"training": {"max_steps": 6, "max_epochs": 2, "schedule": schedule}}
    )
    assert changes(old, new, same_course=True) == []
    assert changes(old, new) == [
        "training.max_steps: 9 -> 6",
        "training.max_epochs: 0 -> 2",
        'training.schedule.name: "constant" -> "linear"',
        "training.schedule.warmup_steps: 0 -> 3",
    ]


def leaves(section: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in section.items():
        path = f"{prefix}{key}"
        found += leaves(value, f"{path}.") if isinstance(value, dict) else [path]
    return found
