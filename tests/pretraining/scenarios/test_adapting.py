"""Runs that start from pretrained weights of any format (`initialize.weights`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import manylangs_folder, numpy_bilm, runs

from spacy_elmo import BiLM, load_bilm, save_bilm
from spacy_elmo.pretraining.step import TrainingError

WORDS = [["Ann", "sees", "the", "Anns"], ["Eve", "hears", "unknown", "birds", "!"]]
FORMATS = ("published", "pair", "ours", "many", "many with words")


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A random model in each format, as values of initialize.weights."""
    folder = tmp_path_factory.mktemp("starts")
    rng = np.random.default_rng(0)
    weights = numpy_bilm.random_weights(numpy_bilm.OPTIONS, rng)
    published = folder / "published"
    numpy_bilm.write_published(published, numpy_bilm.OPTIONS, weights)
    save_bilm(load_bilm(published), folder / "ours")
    for name in ("many", "many with words"):
        manylangs_folder.write(folder / name, numpy_bilm.OPTIONS, weights)
    table, projection = rng.normal(size=(4, 3)), rng.normal(size=(3, 4))
    manylangs_folder.add_words(
        folder / "many with words",
        ["<oov>", "<pad>", "birds", "Ann"],
        table.astype("f"),
        projection.astype("f"),
    )
    starts: dict[str, Any] = {name: str(folder / name) for name in FORMATS}
    files = {path.suffix: str(path) for path in published.iterdir()}
    starts["pair"] = [files[".json"], files[".hdf5"]]
    return starts


def adapt(texts: Path, output: Path, weights: Any, **sections: Any) -> Path:
    start: runs.Values = {
        "bilm": None,
        "initialize": {"weights": weights},
        "training": {"max_steps": 8, "eval_frequency": 4},
    }
    return runs.run(texts, output, **runs.merged(start, sections))


def load(weights: Any) -> BiLM:
    return load_bilm(*([weights] if isinstance(weights, str) else weights))


def bilm_of(output: Path, step: int) -> dict[str, torch.Tensor]:
    prefix = "model.bilm."
    found = runs.tensors(output, step).items()
    return {n[len(prefix) :]: tensor for n, tensor in found if n.startswith(prefix)}


def same(state: dict[str, torch.Tensor], bilm: BiLM) -> dict[str, bool]:
    """By name of the weight, whether it is identical."""
    expected = bilm.state_dict()
    assert state.keys() == expected.keys()
    return {name: torch.equal(state[name], tensor) for name, tensor in expected.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_starts_from_the_weights(
    texts: Path, tmp_path: Path, starts: dict[str, Any], name: str
) -> None:
    """Without learning, the exported model gives the same vectors."""
    optimizer = {"name": "adagrad", "learn_rate": 1e-30}
    training = {"optimizer": optimizer}
    output = adapt(texts, tmp_path, starts[name], training=training)
    start = load(starts[name])
    assert all(same(bilm_of(output, 8), start).values())
    adapted = load_bilm(output / "model-last")
    assert adapted.config == start.config
    for ours, theirs in zip(adapted.encode(WORDS), start.encode(WORDS)):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_trained(
    texts: Path, tmp_path: Path, starts: dict[str, Any], name: str
) -> None:
    training = {"max_steps": 40, "eval_frequency": 8, "checkpoint_frequency": 40}
    output = adapt(texts, tmp_path, starts[name], training=training)
    found = [line["perplexity"] for line in runs.log(output, "dev")]
    assert found[-1] < 0.9 * found[0]
    unmoved = [
        n for n, equal in same(bilm_of(output, 40), load(starts[name])).items() if equal
    ]
    assert unmoved == []
    vectors = load_bilm(output / "model-best").encode(WORDS)
    assert all(np.isfinite(layers).all() for layers in vectors)


@pytest.mark.parametrize("name", ["bilm_tf", "manylangs"])
def test_published_weights(
    texts: Path, tmp_path: Path, shared: Path, name: str
) -> None:
    """Published files, unmodified."""
    folder = shared / "fixtures" / name
    weights: Any = str(folder)
    if name == "bilm_tf":
        weights = [str(folder / "options.json"), str(folder / "lm_weights.hdf5")]
    start = load(weights)
    initialize = {"softmax_steps": 4}
    output = adapt(texts, tmp_path, weights, initialize=initialize)
    assert all(same(bilm_of(output, 4), start).values())
    assert not all(same(bilm_of(output, 8), start).values())
    for found, expected in zip(
        load_bilm(output / "model-last").encode(WORDS), start.encode(WORDS)
    ):
        assert found.shape == expected.shape
        assert not np.array_equal(found, expected)


@pytest.mark.parametrize("optimizer", ["adagrad", "adamw"])
@pytest.mark.parametrize(
    "softmax",
    [{"type": "sampled"}, {"type": "full"}, {"type": "adaptive", "cutoffs": [6]}],
    ids=str,
)
def test_the_output_layer_is_trained_alone_at_first(
    texts: Path,
    tmp_path: Path,
    starts: dict[str, Any],
    softmax: runs.Values,
    optimizer: str,
) -> None:
    """The biLM stays identical: no weight decay, no delayed update."""
    training: runs.Values = {
        "max_steps": 10,
        "checkpoint_frequency": 1,
        "keep_checkpoints": 10,
        "dropout": 0.1,
        "optimizer": {"name": optimizer, "learn_rate": 0.05},
    }
    output = adapt(
        texts,
        tmp_path,
        starts["published"],
        softmax=softmax,
        training=training,
        initialize={"softmax_steps": 6},
    )
    start = load(starts["published"])
    for step in range(1, 7):
        assert all(same(bilm_of(output, step), start).values()), step
    for step in (7, 10):
        moved = same(bilm_of(output, step), start)
        assert not any(moved.values()), (step, moved)
    for step in range(1, 10):
        now, then = runs.tensors(output, step), runs.tensors(output, step + 1)
        names = [name for name in now if name.startswith("model.softmax.")]
        assert names
        assert not all(torch.equal(now[name], then[name]) for name in names), step


@pytest.mark.parametrize(
    ("step", "optimizer"), [(2, "adagrad"), (5, "adamw"), (6, "adagrad"), (7, "adamw")]
)
def test_resumes_before_and_after_the_softmax_steps(
    texts: Path, tmp_path: Path, starts: dict[str, Any], step: int, optimizer: str
) -> None:
    chosen: runs.Values = {
        "bilm": None,
        "initialize": {"weights": starts["many with words"], "softmax_steps": 5},
        "training": {
            "max_steps": 9,
            "eval_frequency": 4,
            "checkpoint_frequency": 1,
            "dropout": 0.2,
            "optimizer": {"name": optimizer, "learn_rate": 0.05},
        },
    }
    runs.run(texts, tmp_path / "whole", **chosen)
    runs.stop_at(texts, tmp_path / "parts", step, **chosen)
    runs.run(texts, tmp_path / "parts", **chosen)
    runs.assert_same(tmp_path / "parts", tmp_path / "whole")


def test_export_as_published(
    texts: Path, tmp_path: Path, starts: dict[str, Any]
) -> None:
    """Weights that use a vocabulary of characters cannot be exported, and that is
    reported before the first step."""
    with pytest.raises(TrainingError, match=r"export\.hdf5: expected weights that"):
        adapt(texts, tmp_path / "many", starts["many"], export={"hdf5": True})
    assert not (tmp_path / "many" / "checkpoints").exists()
    output = adapt(texts, tmp_path / "ours", starts["ours"], export={"hdf5": True})
    published = load_bilm(output / "model-last" / "hdf5").encode(WORDS)
    for ours, theirs in zip(load_bilm(output / "model-last").encode(WORDS), published):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_warmup_follows_the_softmax_steps(
    texts: Path, tmp_path: Path, starts: dict[str, Any]
) -> None:
    training = {"schedule": {"name": "constant", "warmup_steps": 4}}
    output = adapt(
        texts,
        tmp_path,
        starts["ours"],
        training=training,
        initialize={"softmax_steps": 3},
    )
    rates = [line["learn_rate"] for line in runs.log(output, "train")]
    expected = [0.01, 0.01, 0.01, 0.0025, 0.005, 0.0075, 0.01, 0.01]
    assert rates == pytest.approx(expected)


def test_missing_weights(texts: Path, tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError), match="found nothing there"):
        adapt(texts, tmp_path / "out", str(tmp_path / "none"))
