"""pretrain(): what a run learns and leaves behind."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.pretraining import loop
from spacy_elmo.pretraining.evaluation import Perplexities
from spacy_elmo.pretraining.text import CorpusError

WORDS = [["Ann", "sees", "the", "Anns"], ["Eve", "hears", "unknown", "birds"]]
FULL = {"type": "full"}
ADAPTIVE = {"type": "adaptive", "cutoffs": [6, 12], "div_value": 2.0}
CONSTANT = {"dev": None}
"""No held-out text."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def plain(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with nothing set."""
    return runs.run(texts, tmp_path_factory.mktemp("plain"))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def perplexity_of(name: str, output: Path) -> float:
    """What the folder says of itself."""
    meta = json.loads((output / name / "pretraining.json").read_text(encoding="utf8"))
    return float(meta["held_out"]["mean"])


# What it leaves behind


def test_a_run_leaves_its_files(plain: Path) -> None:
    names = sorted(path.name for path in plain.iterdir())
    assert names == [
        ".lock",
        "checkpoints",
        "corpus",
        "curves.png",
        "log.jsonl",
        "model-best",
        "model-last",
    ]
    assert (plain / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert runs.checkpoints(plain) == [8, 12]


def test_models_are_ordinary_weights(plain: Path) -> None:
    last = load_bilm(plain / "model-last")
    assert (last.config.dim, last.config.projection_dim) == (16, 8)
    state = runs.tensors(plain, 12)
    for name, tensor in last.state_dict().items():
        assert torch.equal(tensor, state[f"model.bilm.{name}"]), name
    layers = load_bilm(plain / "model-best").encode(WORDS)
    assert [layer.shape for layer in layers] == [(3, 4, 16), (3, 4, 16)]
    assert all(np.isfinite(layer).all() for layer in layers)


def test_models_say_what_they_are(plain: Path) -> None:
    found = json.loads(
        (plain / "model-best" / "pretraining.json").read_text(encoding="utf8")
    )
    dev = next(line for line in reversed(runs.log(plain, "dev")) if line["best"])
    assert found["tokenizer"] == "whitespace"
    assert found["sentences"] == "lines"
    assert found["step"] == dev["step"]
    assert found["words"] == dev["step"] * 4 * 5
    assert found["held_out"]["mean"] == dev["perplexity"]


def test_the_log_has_each_step_and_each_evaluation(plain: Path, texts: Path) -> None:
    lines = runs.log(plain, "train")
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert [line["words"] for line in lines] == list(range(20, 260, 20))
    assert [line["epoch"] for line in lines] == [n / 10 for n in range(1, 13)]
    assert all(line["sampled"] for line in lines)
    for line in lines:
        both = (line["forward_loss"] + line["backward_loss"]) / 2
        assert line["loss"] == pytest.approx(both, rel=1e-6)
        assert line["words_per_second"] > 0
        assert line["grad_norm"] > 0
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    assert [line["step"] for line in runs.log(plain, "dev")] == [6, 12]


def test_the_log_tells_means_over_the_steps_between(
    texts: Path, plain: Path, tmp_path: Path
) -> None:
    output = runs.run(texts, tmp_path, training={"log_frequency": 5})
    lines = runs.log(output, "train")
    assert [line["step"] for line in lines] == [5, 10]
    losses = runs.losses(plain)
    expected = [mean(losses[:5]), mean(losses[5:10])]
    assert runs.losses(output) == pytest.approx(expected, rel=1e-9)


def test_held_out_figures_are_those_of_the_exported_model(
    texts: Path, plain: Path
) -> None:
    """Full softmax, all of the text, by the weights in the folder alone."""
    found = runs.perplexities(plain / "model-last", texts / "dev.txt")
    dev = runs.log(plain, "dev")[-1]
    assert dev["forward_perplexity"] == pytest.approx(found.forward, rel=1e-6)
    assert dev["backward_perplexity"] == pytest.approx(found.backward, rel=1e-6)
    assert dev["perplexity"] == pytest.approx(found.mean, rel=1e-6)
    assert dev["n_words"] == len((texts / "dev.txt").read_text(encoding="utf8").split())


def test_unknown_words_are_told(texts: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, vocabulary={"min_count": 9}, softmax=FULL)
    counts = Counter((texts / "train.txt").read_text(encoding="utf8").split())
    dev = (texts / "dev.txt").read_text(encoding="utf8").split()
    unknown = sum(counts[word] < 9 for word in dev) / len(dev)
    assert 0 < unknown < 1
    assert runs.log(output, "dev")[-1]["oov_rate"] == pytest.approx(unknown)
    said = next(text for text in runs.messages(output) if text.startswith("dev:"))
    assert f"{unknown:.2%} of the words" in said
    assert f"{len(dev)} words, 20 sentences" in said


def test_a_run_can_be_done_again(texts: Path, plain: Path, tmp_path: Path) -> None:
    runs.assert_same(runs.run(texts, tmp_path / "again"), plain)
    other = runs.run(texts, tmp_path / "other", training={"seed": 1})
    assert runs.losses(other)[0] != runs.losses(plain)[0]


def test_export_of_the_published_pair(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, export={"hdf5": True})
    for name in ("model-best", "model-last"):
        pair = output / name / "hdf5"
        published = load_bilm(pair / "options.json", pair / "weights.hdf5")
        ours = load_bilm(output / name)
        np.testing.assert_allclose(published.encode(WORDS), ours.encode(WORDS), 1e-6)
    assert not (plain / "model-last" / "hdf5").exists()


def test_progress_is_shown_only_if_wanted(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.run(texts, tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    loop.pretrain(runs.settings(texts), tmp_path / "shown")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "held-out perplexity" in shown.err
    assert "12/12" in shown.err


def test_a_logger_of_spacys(texts: Path, tmp_path: Path) -> None:
    file = tmp_path / "console.jsonl"
    logger = {
        "@loggers": "spacy.ConsoleLogger.v3",
        "console_output": False,
        "output_file": str(file),
    }
    runs.run(texts, tmp_path / "out", training={"logger": logger})
    assert len(file.read_text(encoding="utf8").splitlines()) == 2


# What it learns


@pytest.mark.parametrize("softmax", [{}, FULL, ADAPTIVE], ids=str)
@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 0.02), ("adagrad", 0.5)])
def test_training_learns(
    texts: Path, tmp_path: Path, softmax: runs.Values, optimizer: str, rate: float
) -> None:
    def perplexity(name: str, rate: float, max_steps: int) -> float:
        chosen = {"name": optimizer, "learn_rate": rate}
        training = {
            "max_steps": max_steps,
            "eval_frequency": 0,
            "optimizer": chosen,
        }
        runs.run(texts, tmp_path / name, softmax=softmax, training=training)
        return float(runs.log(tmp_path / name, "dev")[-1]["perplexity"])

    untrained = perplexity("untrained", 1e-20, 1)
    trained = perplexity("trained", rate, 60)
    losses = runs.losses(tmp_path / "trained")
    assert mean(losses[-10:]) < mean(losses[:10]) - 0.2
    assert trained < 0.6 * untrained
    # No better than who knows how the text is made.
    choices = math.log(3) + math.log(2) + math.log(3)
    assert trained > math.exp(choices / 8)


def test_both_optimizers_do_different_things(texts: Path, tmp_path: Path) -> None:
    training = {"optimizer": {"name": "adagrad", "learn_rate": 0.01}}
    runs.run(texts, tmp_path / "adagrad", training=training)
    runs.run(texts, tmp_path / "adamw")
    losses = [runs.losses(tmp_path / name) for name in ("adagrad", "adamw")]
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_a_clip_holds_the_weights(texts: Path, tmp_path: Path) -> None:
    """Of Adagrad, whose steps are as long as the gradient."""
    kept = {}
    for clip in (None, 1e-6):
        optimizer = {"name": "adagrad", "learn_rate": 0.1, "grad_clip": clip}
        output = tmp_path / str(clip)
        training = {"max_steps": 4, "seed": 3, "optimizer": optimizer}
        runs.run(texts, output, training=training, corpus=CONSTANT)
        state = runs.tensors(output, 4)
        kept[clip] = state["model.bilm.forward_layers.0.bias"]
        # It is told as it was before.
        assert all(line["grad_norm"] > 0.1 for line in runs.log(output, "train"))
    start = torch.zeros_like(kept[None])
    start[kept[None] > 0.5] = 1.0
    assert (kept[None] - start).abs().max() > 1e-3
    assert (kept[1e-6] - start).abs().max() < 1e-5


@pytest.mark.parametrize("softmax", [{}, FULL], ids=str)
@pytest.mark.parametrize("n_parts", [2, 4])
def test_accumulated_gradients_are_those_of_one_batch(
    texts: Path, tmp_path: Path, softmax: runs.Values, n_parts: int
) -> None:
    for name, parts in (("whole", 1), ("parts", n_parts)):
        training = {"accumulate_gradient": parts}
        runs.run(texts, tmp_path / name, softmax=softmax, training=training)
    runs.assert_close(tmp_path / "parts", tmp_path / "whole", rel=1e-4)


def test_bfloat16(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, training={"precision": "bfloat16"})
    assert runs.losses(output) == pytest.approx(runs.losses(plain), rel=2e-2)
    assert runs.losses(output) != runs.losses(plain)
    state = runs.tensors(output, 12)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_dropout_is_of_training_alone(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, training={"dropout": 0.5})
    assert runs.losses(output)[0] != runs.losses(plain)[0]
    dev = runs.log(output, "dev")[-1]
    found = runs.perplexities(output / "model-last", texts / "dev.txt")
    assert dev["perplexity"] == pytest.approx(found.mean, rel=1e-6)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_schedules(texts: Path, tmp_path: Path, name: str) -> None:
    final = 0.0 if name == "constant" else 0.1
    schedule = {"name": name, "warmup_steps": 4, "final_factor": final}
    training = {"schedule": schedule, "optimizer": {"learn_rate": 0.02}}
    output = runs.run(texts, tmp_path, training=training)
    rates = [line["learn_rate"] for line in runs.log(output, "train")]
    assert rates[:5] == pytest.approx([0.005, 0.01, 0.015, 0.02, 0.02])
    done = [n / 8 for n in range(1, 8)]
    shares = {
        "constant": [1.0] * 7,
        "linear": [1 - part for part in done],
        "cosine": [(1 + math.cos(math.pi * part)) / 2 for part in done],
    }
    expected = [0.02 * (final + (1 - final) * share) for share in shares[name]]
    assert rates[5:] == pytest.approx(expected)


# When it ends


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "expected"), [(0, 2, 20), (15, 2, 15), (15, 1, 10)]
)
def test_ends(
    texts: Path, tmp_path: Path, max_steps: int, max_epochs: int, expected: int
) -> None:
    training = {"max_steps": max_steps, "max_epochs": max_epochs}
    output = runs.run(texts, tmp_path, training=training)
    assert runs.log(output, "train")[-1]["step"] == expected
    assert runs.log(output, "dev")[-1]["step"] == expected
    assert runs.checkpoints(output)[-1] == expected


def test_patience(texts: Path, tmp_path: Path) -> None:
    """Nothing is learned: the first evaluation stays the best."""
    training: runs.Values = {
        "max_steps": 30,
        "eval_frequency": 2,
        "checkpoint_frequency": 30,
        "patience": 5,
        "optimizer": {"learn_rate": 1e-20},
    }
    output = runs.run(texts, tmp_path, training=training)
    assert [line["step"] for line in runs.log(output, "dev")] == [2, 4, 6, 8]
    assert [line["best"] for line in runs.log(output, "dev")] == [True, *[False] * 3]
    assert runs.log(output, "train")[-1]["step"] == 8
    assert runs.checkpoints(output) == [2, 8]
    runs.run(texts, tmp_path, training=training)
    assert "Training ended at step 8 already." in runs.messages(output)
    assert runs.log(output, "train")[-1]["step"] == 8


def test_patience_waits_from_the_best_one(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations(monkeypatch, [9.0, 8.0, 8.5, 7.0, 7.5, 7.5, 3.0])
    training = {"max_steps": 30, "eval_frequency": 2, "patience": 4}
    output = runs.run(texts, tmp_path, training=training)
    assert [line["step"] for line in runs.log(output, "dev")] == [2, 4, 6, 8, 10, 12]
    assert runs.log(output, "train")[-1]["step"] == 12


def test_no_held_out_text(texts: Path, plain: Path, tmp_path: Path) -> None:
    output = runs.run(texts, tmp_path, corpus={"dev": None})
    assert runs.losses(output) == runs.losses(plain)
    assert runs.log(output, "dev") == []
    assert not (output / "model-best").exists()
    assert runs.weights(output / "model-last") == runs.weights(plain / "model-last")
    assert (output / "curves.png").exists()
    meta = json.loads(
        (output / "model-last" / "pretraining.json").read_text(encoding="utf8")
    )
    assert meta["held_out"] is None


def test_only_some_of_the_held_out_text(
    texts: Path, plain: Path, tmp_path: Path
) -> None:
    output = runs.run(texts, tmp_path, training={"n_evaluated": 60})
    dev = runs.log(output, "dev")
    assert all(40 < line["n_words"] <= 60 for line in dev)
    assert runs.losses(output) == runs.losses(plain)
    lines = (texts / "dev.txt").read_text(encoding="utf8").splitlines(keepends=True)
    words = np.cumsum([len(line.split()) for line in lines]).tolist()
    first = texts / "first.txt"
    first.write_text(
        "".join(lines[: words.index(dev[-1]["n_words"]) + 1]), encoding="utf8"
    )
    found = runs.perplexities(output / "model-last", first)
    assert dev[-1]["perplexity"] == pytest.approx(found.mean, rel=1e-5)


# The best one


def evaluations(monkeypatch: pytest.MonkeyPatch, found: list[float]) -> None:
    """Have evaluations find these perplexities, one after another."""
    left = iter(found)

    def patched(*arguments: Any, **named: Any) -> Perplexities:
        perplexity = next(left)
        return Perplexities(perplexity, perplexity, perplexity, 0.0, 100)

    monkeypatch.setattr(loop, "evaluate", patched)


@pytest.mark.parametrize(("keep", "expected"), [(1, [4, 12]), (2, [4, 10, 12])])
def test_the_best_is_exported_and_its_checkpoint_kept(
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: int,
    expected: list[int],
) -> None:
    evaluations(monkeypatch, [9.0, 6.0, 8.0, math.nan, 6.0, 7.0])
    training = {
        "eval_frequency": 2,
        "checkpoint_frequency": 2,
        "keep_checkpoints": keep,
    }
    output = runs.run(texts, tmp_path, training=training)
    assert runs.checkpoints(output) == expected
    best = [line["step"] for line in runs.log(output, "dev") if line["best"]]
    assert best == [2, 4]
    assert perplexity_of("model-best", output) == 6.0
    assert perplexity_of("model-last", output) == 7.0
    assert_weights_of(output, "model-best", 4)
    assert_weights_of(output, "model-last", 12)


def assert_weights_of(output: Path, name: str, step: int) -> None:
    bilm: BiLM = load_bilm(output / name)
    state = runs.tensors(output, step)
    for key, tensor in bilm.state_dict().items():
        assert torch.equal(tensor, state[f"model.bilm.{key}"]), key


# What cannot be trained


def test_too_little_text(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n", encoding="utf8")
    with pytest.raises(CorpusError, match="expected text, found not a single word"):
        runs.run(texts, tmp_path / "out", corpus={"train": str(tmp_path / "empty.txt")})
    with pytest.raises(CorpusError, match=r"none\.txt"):
        runs.run(texts, tmp_path / "out", corpus={"train": str(tmp_path / "none.txt")})


def test_a_word_is_enough(texts: Path, tmp_path: Path) -> None:
    """Fewer ids than lanes, and than steps of a lane."""
    (tmp_path / "word.txt").write_text("word\n", encoding="utf8")
    output = runs.run(
        texts,
        tmp_path / "out",
        corpus={"train": str(tmp_path / "word.txt")},
        softmax={"n_samples": 2},
    )
    assert runs.log(output, "train")[-1]["step"] == 12


def test_more_samples_than_words(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_samples: expected at least 1 and at most"):
        runs.run(texts, tmp_path, softmax={"n_samples": 1000})


def test_lanes_that_cannot_be_dealt(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="accumulate_gradient: expected a divisor"):
        runs.settings(texts, training={"accumulate_gradient": 3})
