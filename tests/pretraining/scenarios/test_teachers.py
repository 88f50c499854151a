"""Runs that learn from the layers of a trained biLM (`initialize.teacher`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import manylangs_folder, numpy_bilm, runs

from spacy_elmo import BiLM, BiLMConfig, load_bilm, save_bilm
from spacy_elmo.formats import WeightsError
from spacy_elmo.pretraining.config_file import ConfigError
from spacy_elmo.pretraining.step import TrainingError

CONFIG = BiLMConfig(
    char_dim=4,
    filters=((1, 4), (2, 6)),
    n_highway=1,
    max_characters_per_token=14,
    dim=24,
    projection_dim=12,
    n_layers=2,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher wider than the network of `runs.SETTINGS`."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(3)
    save_bilm(BiLM(CONFIG), folder)
    return folder


def distill(texts: Path, output: Path, teacher: Any, **sections: Any) -> Path:
    chosen = {"initialize": {"teacher": teacher}}
    return runs.run(texts, output, **runs.merged(chosen, sections))


def teacher_losses(output: Path) -> list[float]:
    return [line["teacher_loss"] for line in runs.log(output, "train")]


def test_the_network_comes_closer_to_its_teacher(
    texts: Path, tmp_path: Path, teacher: Path
) -> None:
    training = {"max_steps": 60, "eval_frequency": 0, "checkpoint_frequency": 60}
    output = distill(texts, tmp_path, str(teacher), training=training)
    found = teacher_losses(output)
    assert sum(found[-5:]) < 0.6 * sum(found[:5])
    losses = runs.losses(output)
    assert losses[-1] < losses[0]


def test_only_the_network_is_exported(
    texts: Path, tmp_path: Path, teacher: Path, plain: Path
) -> None:
    output = distill(texts, tmp_path, str(teacher))
    names = runs.tensors(output, 12).keys() - runs.tensors(plain, 12).keys()
    prefixes = {".".join(name.split(".")[:2]) for name in names}
    assert prefixes == {"model.match", "optimizer.match", "state.2", "state.3"}
    exported, expected = (load_bilm(path / "model-last") for path in (output, plain))
    assert exported.config == expected.config
    assert runs.weights(output / "model-last") != runs.weights(plain / "model-last")


def test_a_run_without_a_teacher_does_not_mention_it(plain: Path) -> None:
    assert all("teacher_loss" not in line for line in runs.log(plain, "train"))


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"ema_decay": 0.9, "accumulate_gradient": 2, "log_frequency": 5}},
        {"bilm": {"n_layers": 1}, "training": {"noise": {"misspelled": 0.3}}},
        {"bilm": {"n_layers": 3}, "training": {"precision": "bfloat16"}},
    ],
    ids=str,
)
def test_resumes_bit_for_bit(
    texts: Path, tmp_path: Path, teacher: Path, sections: runs.Values
) -> None:
    """An epoch ends after step 10."""
    chosen = runs.merged(
        {
            "initialize": {"teacher": str(teacher)},
            "training": {"max_steps": 14, "dropout": 0.2},
        },
        sections,
    )
    whole = runs.run(texts, tmp_path / "whole", **chosen)
    runs.stop_at(texts, tmp_path / "parts", 11, **chosen)
    runs.run(texts, tmp_path / "parts", **chosen)
    runs.assert_same(tmp_path / "parts", whole)


def test_resumes_only_with_the_same_teacher(
    texts: Path, tmp_path: Path, teacher: Path
) -> None:
    """Which may have moved."""
    chosen: runs.Values = {"initialize": {"teacher": str(teacher)}}
    runs.stop_at(texts, tmp_path / "out", 9, **chosen)
    other = tmp_path / "other"
    torch.manual_seed(4)
    save_bilm(BiLM(CONFIG), other)
    changed = r"initialize\.teacher: different contents"
    for setting in (str(other), None):
        with pytest.raises(TrainingError, match=changed):
            distill(texts, tmp_path / "out", setting)
    with pytest.raises(TrainingError, match=r"training\.teacher_weight: 10\.0 -> 5\.0"):
        distill(texts, tmp_path / "out", str(teacher), training={"teacher_weight": 5.0})
    save_bilm(load_bilm(teacher), other)
    distill(texts, tmp_path / "out", str(other))
    assert len(teacher_losses(tmp_path / "out")) == 12


def test_a_run_does_not_change_its_teacher_or_other_random_numbers(
    texts: Path, tmp_path: Path, teacher: Path, plain: Path
) -> None:
    """A teacher that hardly counts leaves the losses of the first steps as they were:
    the network starts from the same weights and reads the same negatives."""
    before = (teacher / "model.safetensors").read_bytes()
    training = {"teacher_weight": 1e-9}
    output = distill(texts, tmp_path, str(teacher), training=training)
    assert runs.losses(output) == pytest.approx(runs.losses(plain), rel=1e-4)
    assert (teacher / "model.safetensors").read_bytes() == before


def test_teachers_of_other_formats(texts: Path, tmp_path: Path) -> None:
    """The published pair, and one with its own vocabularies of characters and words."""
    weights = numpy_bilm.random_weights(numpy_bilm.OPTIONS, np.random.default_rng(0))
    numpy_bilm.write_published(tmp_path / "published", numpy_bilm.OPTIONS, weights)
    manylangs_folder.write(tmp_path / "many", numpy_bilm.OPTIONS, weights)
    pair = {path.suffix: str(path) for path in (tmp_path / "published").iterdir()}
    for number, teacher in enumerate(
        ([pair[".json"], pair[".hdf5"]], str(tmp_path / "many"))
    ):
        training = {"max_steps": 4}
        output = distill(texts, tmp_path / str(number), teacher, training=training)
        assert all(0 < loss < 3 for loss in teacher_losses(output))


def test_missing_teacher(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found nothing there"):
        distill(texts, tmp_path / "out", str(tmp_path / "none"))
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize("weight", [0, -1.0, "much"])
def test_bad_weights(texts: Path, tmp_path: Path, teacher: Path, weight: Any) -> None:
    with pytest.raises(ConfigError, match=r"training\.teacher_weight = .* should be"):
        distill(texts, tmp_path, str(teacher), training={"teacher_weight": weight})


def test_the_weights_that_ship_as_a_teacher(texts: Path, tmp_path: Path) -> None:
    training = {"max_steps": 2, "eval_frequency": 0}
    output = distill(texts, tmp_path, "bundled", training=training)
    assert len(teacher_losses(output)) == 2


def test_a_missing_teacher_is_refused_before_text_is_tokenized(
    texts: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="nowhere: expected one of"):
        distill(texts, tmp_path / "out", str(tmp_path / "nowhere"))
    assert not (tmp_path / "out" / "corpus").exists()
