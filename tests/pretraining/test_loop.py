"""pretrain(): what a run leaves behind, and what cannot be trained."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import runs

from spacy_elmo import load_bilm
from spacy_elmo.pretraining import loop
from spacy_elmo.text.files import CorpusError

WORDS = [["Ann", "sees", "the", "Anns"], ["Eve", "hears", "unknown", "birds"]]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def plain(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with nothing set."""
    return runs.run(texts, tmp_path_factory.mktemp("plain"))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


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
    output = runs.run(
        texts, tmp_path, vocabulary={"min_count": 9}, softmax={"type": "full"}
    )
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


def test_weights_do_not_depend_on_how_the_text_was_loaded(
    texts: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer's pipeline may draw random numbers, where there are no shards."""

    def load(*arguments: object, **settings: object) -> object:
        torch.rand(3)
        return load_corpus(*arguments, **settings)

    load_corpus = loop.load_corpus
    monkeypatch.setattr(loop, "load_corpus", load)
    runs.assert_same(runs.run(texts, tmp_path / "other"), plain)


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


# What cannot be trained


def test_too_little_text(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n", encoding="utf8")
    with pytest.raises(CorpusError, match="expected text, found no words"):
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
    with pytest.raises(ValueError, match="accumulate_gradient = 3 should divide"):
        runs.settings(texts, training={"accumulate_gradient": 3})
