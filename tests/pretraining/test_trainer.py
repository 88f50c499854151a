"""The output of a run, and the texts and settings that are refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import runs

from spacy_elmo import BiLM
from spacy_elmo.pretraining.callback import Callback
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.pretrain import pretrain
from spacy_elmo.pretraining.step import StepOutput, StepResult
from spacy_elmo.pretraining.trainer import Trainer
from spacy_elmo.scoring.perplexity import Perplexities


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


# Output


def test_files_of_a_run(
    texts: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(runs.settings(texts), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "checkpoints",
        "corpus",
        "curves.png",
        "log.jsonl",
        "model-best",
        "model-last",
    ]
    assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert runs.checkpoints(tmp_path) == [8, 12]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "held-out perplexity" in printed.err
    assert "12/12" in printed.err
    # The same run as without output on the terminal.
    runs.assert_same(tmp_path, plain)


def test_a_silent_run(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It also leaves the caller's random numbers alone."""
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    pretrain(runs.settings(texts), tmp_path, show=False)
    assert capsys.readouterr() == ("", "")
    assert torch.equal(torch.rand(2), expected)


def test_exported_models_describe_themselves(plain: Path) -> None:
    meta = json.loads(
        (plain / "model-best" / "pretraining.json").read_text(encoding="utf8")
    )
    best = next(line for line in reversed(runs.log(plain, "dev")) if line["best"])
    assert meta["tokenizer"] == "whitespace"
    assert meta["sentences"] == "lines"
    assert meta["step"] == best["step"]
    assert meta["words"] == best["step"] * 4 * 5
    assert meta["held_out"]["mean"] == best["perplexity"]


def test_the_log_has_every_step_and_evaluation(plain: Path) -> None:
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


def test_the_log_has_means_over_the_steps_in_between(
    texts: Path, plain: Path, tmp_path: Path
) -> None:
    output = runs.run(texts, tmp_path, training={"log_frequency": 5})
    lines = runs.log(output, "train")
    assert [line["step"] for line in lines] == [5, 10]
    losses = runs.losses(plain)
    expected = [mean(losses[:5]), mean(losses[5:10])]
    assert runs.losses(output) == pytest.approx(expected, rel=1e-9)


def test_logged_perplexities_are_those_of_the_exported_model(
    texts: Path, plain: Path
) -> None:
    """With the full softmax over the whole text, from the exported weights alone."""
    expected = runs.perplexities(plain / "model-last", texts / "dev.txt")
    logged = runs.log(plain, "dev")[-1]
    assert logged["forward_perplexity"] == pytest.approx(expected.forward, rel=1e-6)
    assert logged["backward_perplexity"] == pytest.approx(expected.backward, rel=1e-6)
    assert logged["perplexity"] == pytest.approx(expected.mean, rel=1e-6)
    dev = (texts / "dev.txt").read_text(encoding="utf8")
    assert logged["n_words"] == len(dev.split())


def test_the_rate_of_unknown_words_is_reported(texts: Path, tmp_path: Path) -> None:
    output = runs.run(
        texts, tmp_path, vocabulary={"min_count": 9}, softmax={"type": "full"}
    )
    counts = Counter((texts / "train.txt").read_text(encoding="utf8").split())
    dev = (texts / "dev.txt").read_text(encoding="utf8").split()
    unknown = sum(counts[word] < 9 for word in dev) / len(dev)
    assert 0 < unknown < 1
    assert runs.log(output, "dev")[-1]["oov_rate"] == pytest.approx(unknown)
    message = next(text for text in runs.messages(output) if text.startswith("dev:"))
    assert f"{unknown:.2%} of the words" in message
    assert f"{len(dev)} words, 20 sentences" in message


def test_runs_are_reproducible(texts: Path, plain: Path, tmp_path: Path) -> None:
    runs.assert_same(runs.run(texts, tmp_path / "again"), plain)
    other = runs.run(texts, tmp_path / "other", training={"seed": 1})
    assert runs.losses(other)[0] != runs.losses(plain)[0]


def test_weights_do_not_depend_on_how_the_text_was_loaded(
    texts: Path, plain: Path, tmp_path: Path
) -> None:
    """Loading a tokenizer, if there are no shards yet, may draw random numbers."""

    class RandomLoading(runs.QuickTrainer):
        def load_corpus(self, bilm: BiLM) -> Corpus:
            torch.rand(3)
            return super().load_corpus(bilm)

    runs.assert_same(runs.run(texts, tmp_path, trainer=RandomLoading), plain)


def test_a_spacy_logger(texts: Path, tmp_path: Path) -> None:
    file = tmp_path / "console.jsonl"
    logger = {
        "@loggers": "spacy.ConsoleLogger.v3",
        "console_output": False,
        "output_file": str(file),
    }
    runs.run(texts, tmp_path / "out", training={"logger": logger})
    assert len(file.read_text(encoding="utf8").splitlines()) == 2


def test_callbacks(texts: Path, plain: Path, tmp_path: Path) -> None:
    """Each hook runs at its place, with its arguments, and changes nothing."""
    events: list[tuple[object, ...]] = []

    class Recorder(Callback):
        def before_step(self, trainer: Trainer) -> None:
            events.append(("before_step", trainer.progress.step))

        def after_backward(self, trainer: Trainer, output: StepOutput) -> None:
            events.append(("after_backward", output.lane_losses.shape))

        def after_step(self, trainer: Trainer, result: StepResult) -> None:
            events.append(("after_step", result.step))

        def after_evaluation(
            self, trainer: Trainer, perplexities: Perplexities
        ) -> None:
            events.append(("after_evaluation", perplexities.n_words))

        def before_checkpoint(self, trainer: Trainer) -> None:
            events.append(("before_checkpoint", trainer.progress.step))

        def after_checkpoint(self, trainer: Trainer, folder: Path) -> None:
            events.append(("after_checkpoint", folder.name))
            assert (folder / "state.json").is_file()

        def before_export(self, trainer: Trainer, name: str) -> None:
            events.append(("before_export", name))

        def after_export(self, trainer: Trainer, folder: Path) -> None:
            events.append(("after_export", folder.name))
            assert (folder / "model.safetensors").is_file()

    training = {"max_steps": 2, "eval_frequency": 2, "checkpoint_frequency": 1}
    runs.run(texts, tmp_path / "out", callbacks=[Recorder()], training=training)
    n_words = len((texts / "dev.txt").read_text(encoding="utf8").split())
    assert events == [
        ("before_step", 0),
        ("after_backward", (2, 4)),
        ("after_step", 0),
        ("before_checkpoint", 1),
        ("after_checkpoint", "step-00000001"),
        ("before_step", 1),
        ("after_backward", (2, 4)),
        ("after_step", 1),
        ("after_evaluation", n_words),
        ("before_export", "model-best"),
        ("after_export", "model-best"),
        ("before_checkpoint", 2),
        ("after_checkpoint", "step-00000002"),
        ("before_export", "model-last"),
        ("after_export", "model-last"),
    ]
    assert runs.losses(tmp_path / "out") == runs.losses(plain)[:2]


# Errors


def test_a_single_word_is_enough(texts: Path, tmp_path: Path) -> None:
    """There are fewer ids than lanes, and than steps of a lane."""
    (tmp_path / "word.txt").write_text("word\n", encoding="utf8")
    output = runs.run(
        texts,
        tmp_path / "out",
        corpus={"train": str(tmp_path / "word.txt")},
        softmax={"n_samples": 2},
    )
    assert runs.log(output, "train")[-1]["step"] == 12
