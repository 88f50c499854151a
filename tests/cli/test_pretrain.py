"""python -m spacy elmo pretrain."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Callable

import pytest
from click.testing import Result
from helpers import runs
from helpers.commands import assert_refused, complete, invoke

from spacy_elmo import load_bilm
from spacy_elmo.pretraining import trainer
from spacy_elmo.pretraining.output.model_folder import read_model


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes longer than the training."""
    monkeypatch.setattr(trainer, "plot_curves", lambda log, target: None)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def config(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    return runs.write_config(folder / "run.cfg", texts)


def pretrain(*arguments: object) -> Result:
    return invoke("pretrain", *arguments)


def test_training(config: Path, texts: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = pretrain(config, output)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "dev: 135 words, 20 sentences" in result.stderr
    assert "held-out perplexity" in result.stderr
    assert result.stderr.endswith(f"\u2714 Trained: {output}\n")
    runs.assert_same(output, runs.run(texts, tmp_path / "same"))


def test_quiet(config: Path, tmp_path: Path) -> None:
    result = pretrain(config, tmp_path / "out", "-q")
    assert result.exit_code == 0, result.output
    assert result.output == f"\u2714 Trained: {tmp_path / 'out'}\n"


def test_overrides(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = pretrain(
        config,
        output,
        *("--training.max_steps", 3),
        *("--training.optimizer.learn_rate", "0.05"),
        "--softmax.type=full",
        *("--corpus.dev", "null"),
        *("--bilm.filters", "[[1, 3], [2, 5]]"),
        *("--training.logger", "null"),
        *("--export.hdf5", "true"),
        "--quiet",
    )
    assert result.exit_code == 0, result.output
    lines = runs.log(output, "train")
    assert [line["learn_rate"] for line in lines] == [0.05] * 3
    assert not any(line["sampled"] for line in lines)
    assert not (output / "model-best").exists()
    bilm = load_bilm(output / "model-last")
    assert bilm.config.filters == ((1, 3), (2, 5))
    assert (output / "model-last" / "hdf5" / "weights.hdf5").is_file()


def test_resume(config: Path, texts: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    runs.stop_at(texts, output, 9)
    result = pretrain(config, output)
    assert result.exit_code == 0, result.output
    runs.assert_same(output, runs.run(texts, tmp_path / "whole"))
    result = pretrain(config, output)
    assert result.exit_code == 0
    assert "Training already ended at step 12." in result.stderr


def test_help() -> None:
    shown = " ".join(complete("pretrain", "--help"))
    for part in (
        "CONFIG",
        "OUTPUT",
        "--gpu-id",
        "--quiet",
        "To resume training, run the same command again.",
        "--section.key value",
        "torchrun",
        "130 after Ctrl-C, or 143 after SIGTERM",
    ):
        assert part in shown, part
    commands = invoke("--help").output
    for name in ("pretrain", "evaluate", "convert", "info", "embed", "neighbors"):
        assert name in commands


def test_missing_arguments() -> None:
    result = pretrain()
    assert result.exit_code == 2
    assert "Missing argument 'CONFIG'" in result.output
    assert pretrain("run.cfg").exit_code == 2


def test_invalid_configs(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert_refused(pretrain(tmp_path / "none.cfg", output), "none.cfg")
    (tmp_path / "broken.cfg").write_text("max_steps = 3\n[training\n", encoding="utf8")
    assert_refused(pretrain(tmp_path / "broken.cfg", output), "broken.cfg")
    result = pretrain(config, output, "--training.max_stops", 3)
    assert_refused(result, "max_stops", "max_steps")
    result = pretrain(config, output, "--training.dropout", 2, "--bilm.dim", 0)
    assert_refused(result, "training.dropout = 2 should", "bilm.dim = 0 should")
    assert_refused(pretrain(config, output, "surplus"), "surplus")
    result = pretrain(config, output, "--export.hdf5")
    assert_refused(result, "--export.hdf5 has no value")
    assert not output.exists()


def test_errors_of_a_training(config: Path, texts: Path, tmp_path: Path) -> None:
    def check(*options: object, output: Path = tmp_path / "out") -> Callable[..., None]:
        return partial(assert_refused, pretrain(config, output, "-q", *options))

    none, latin = tmp_path / "none.txt", tmp_path / "latin.txt"
    latin.write_bytes("caf\xe9\n".encode("latin1"))
    check("--corpus.train", none)(none)
    check("--corpus.dev", latin)(latin, "UTF-8")
    check("--gpu-id", 99)("gpu_id: expected one of", "Use --gpu-id -1 for the CPU")
    assert not (tmp_path / "out" / "checkpoints").exists()
    diverges = check("--training.optimizer.learn_rate", "1e30")
    diverges("expected finite losses", "batch", "of shard 0")
    runs.stop_at(texts, tmp_path / "stopped", 9)
    changed = check("--training.dropout", "0.3", output=tmp_path / "stopped")
    changed("training.dropout: 0.0 -> 0.3", "name another output folder")


def test_as_a_spacy_command(config: Path, texts: Path, tmp_path: Path) -> None:
    options = ("--training.max_steps", 5, "--gpu-id", "-1")
    shown = runs.complete(*runs.COMMAND, config, tmp_path / "out", *options)
    assert "Trained:" in shown
    expected = runs.run(texts, tmp_path / "same", training={"max_steps": 5})
    runs.assert_same(tmp_path / "out", expected)
    assert read_model(tmp_path / "out" / "model-last").meta["step"] == 5
