"""Small pretraining runs for the tests: their text and settings, how they are started,
interrupted and compared."""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spacy_elmo.pretraining.callback import Callback
from spacy_elmo.pretraining.data.corpus import load_text
from spacy_elmo.pretraining.distributed import Group
from spacy_elmo.pretraining.evaluation import evaluate
from spacy_elmo.pretraining.output.log import read_log
from spacy_elmo.pretraining.output.model_folder import read_model
from spacy_elmo.pretraining.sections import CorpusSettings
from spacy_elmo.pretraining.settings import PretrainSettings
from spacy_elmo.pretraining.step import StepOutput
from spacy_elmo.pretraining.trainer import Trainer
from spacy_elmo.scoring.perplexity import Perplexities

Values = dict[str, Any]

TIMES = ("seconds", "words_per_second")
"""Fields of the log that differ from run to run."""

SETTINGS: Values = {
    "bilm": {
        "char_dim": 4,
        "filters": [[1, 4], [2, 4]],
        "n_highway": 1,
        "max_characters_per_token": 12,
        "dim": 16,
        "projection_dim": 8,
    },
    "softmax": {"type": "sampled", "n_samples": 10},
    "training": {
        "max_steps": 12,
        "batch_size": 4,
        "unroll_steps": 5,
        "dropout": 0.0,
        "eval_frequency": 6,
        "checkpoint_frequency": 4,
        "log_frequency": 1,
        "optimizer": {"name": "adamw", "learn_rate": 0.01},
    },
}


def sentences(n_sentences: int, seed: int = 0) -> list[list[str]]:
    """Generate sentences in which the previous word often determines the next."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_sentences):
        name, verb = rng.choice(["Ann", "Bob", "Eve"]), rng.choice(["sees", "hears"])
        end = rng.choice(["cats .", "many birds .", "it rain !"])
        found.append([str(name), str(verb), "the", f"{name}s", *str(end).split()])
    return found


def write_text(path: Path, n_sentences: int, seed: int = 0) -> Path:
    """Write a document of generated sentences, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [" ".join(sentence) + "\n" for sentence in sentences(n_sentences, seed)]
    path.write_text("".join(lines), encoding="utf8")
    return path


def make_texts(folder: Path) -> Path:
    """Write train.txt, whose epochs have 10 steps, and dev.txt."""
    write_text(folder / "train.txt", 24)
    write_text(folder / "dev.txt", 20, seed=1)
    return folder


def merged(values: Values, changes: Values) -> Values:
    result = copy.deepcopy(values)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result


def values(texts: Path, **sections: Any) -> Values:
    """Make a config: SETTINGS, with some settings changed by section."""
    corpus = {
        "train": str(texts / "train.txt"),
        "dev": str(texts / "dev.txt"),
        "cache": str(texts / "cache"),
    }
    return merged({"corpus": corpus, **SETTINGS}, sections)


def settings(texts: Path, **sections: Any) -> PretrainSettings:
    return PretrainSettings.from_dict(values(texts, **sections))


class QuickTrainer(Trainer):
    """Skips the plot, which would take longer than the training."""

    def draw_curves(self) -> None:
        pass


def run(
    texts: Path,
    output: Path,
    *,
    trainer: type[Trainer] = QuickTrainer,
    callbacks: Sequence[Callback] = (),
    **sections: Any,
) -> Path:
    """Train silently in this process.

    RETURNS (Path): The output folder.
    """
    trainer(settings(texts, **sections), output, show=False, callbacks=callbacks).run()
    return output


def scripted(*means: float) -> type[Trainer]:
    """Make a trainer whose evaluations give these perplexities, in order."""
    values = iter(means)

    class ScriptedTrainer(QuickTrainer):
        def measure(self) -> Perplexities:
            mean = next(values)
            return Perplexities(mean, mean, mean, 0.0, 100)

    return ScriptedTrainer


def write_config(path: Path, texts: Path, **sections: Any) -> Path:
    """Write the settings to a config file."""
    lines: list[str] = []

    def write(name: str, section: Values) -> None:
        lines.append(f"[{name}]")
        for key, value in section.items():
            if not isinstance(value, dict):
                lines.append(f"{key} = {json.dumps(value)}")
        for key, value in section.items():
            if isinstance(value, dict):
                write(f"{name}.{key}", value)

    for name, section in values(texts, **sections).items():
        if section is not None:
            write(name, section)
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


# Interruptions


class Stopped(Exception):
    """Simulates a power failure."""


def on(hook: str, act: Any = Stopped, *, call: int | None = None) -> Callback:
    """Make a callback with one hook.

    hook (str): Name of the hook.
    act (Any): Exception to raise, or function to call with the arguments of the hook.
    call (Optional[int]): Act only on this call of the hook, counted from 1.
    """
    callback, calls = Callback(), itertools.count(1)

    def run_hook(*arguments: Any) -> None:
        if call in (None, next(calls)):
            if isinstance(act, (BaseException, type)):
                raise act
            act(*arguments)

    setattr(callback, hook, run_hook)
    return callback


def explode(steps: range, factor: float) -> Callback:
    """Multiply the gradients of these steps. A factor of zero also resets the state."""

    def act(trainer: Trainer, output: StepOutput) -> None:
        if trainer.progress.step in steps:
            for leaf in trainer.optimizer.gradients(output.rows):
                assert leaf.grad is not None
                leaf.grad *= factor
            for tensor in itertools.chain(*output.state) if not factor else ():
                tensor.zero_()

    return on("after_backward", act)


def before_step(step: int, act: Any = Stopped) -> Callback:
    """Make a callback that acts or raises an exception when `step` steps are done."""

    def run_hook(trainer: Trainer) -> None:
        if trainer.progress.step == step:
            if isinstance(act, type):
                raise act
            act()

    return on("before_step", run_hook)


def stop_at(texts: Path, output: Path, step: int, **sections: Any) -> None:
    """Start a run that breaks off when `step` steps are done."""
    with pytest.raises(Stopped):
        run(texts, output, callbacks=[before_step(step)], **sections)


# Output of a run


def log(output: Path, *kinds: str) -> list[Values]:
    """Read the log lines of these types."""
    return [line for line in read_log(output / "log.jsonl") if line["type"] in kinds]


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in log(output, "train")]


def messages(output: Path) -> list[str]:
    return [line["message"] for line in log(output, "message")]


def records(output: Path) -> list[Values]:
    """Read the figures of the log, without the times."""
    return [
        {key: value for key, value in line.items() if key not in TIMES}
        for line in log(output, "train", "dev")
    ]


def checkpoints(output: Path) -> list[int]:
    """List the steps of the checkpoints."""
    folders = sorted((output / "checkpoints").iterdir())
    assert all(path.name.startswith("step-") for path in folders), folders
    return [int(path.name[len("step-") :]) for path in folders]


def tensors(output: Path, step: int) -> dict[str, torch.Tensor]:
    """Load the tensors of a checkpoint."""
    return load_file(output / "checkpoints" / f"step-{step:08}" / "state.safetensors")


def weights(folder: Path) -> dict[str, bytes]:
    """Read the weight files of a model."""
    files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    assert sorted(files) == ["model.safetensors", "softmax.safetensors"]
    return files


def assert_same(found: Path, expected: Path) -> None:
    """Check that the output of two runs is bitwise equal, except for times and earlier
    checkpoints."""
    assert records(found) == records(expected)
    step = checkpoints(expected)[-1]
    assert checkpoints(found)[-1] == step
    ours, theirs = tensors(found, step), tensors(expected, step)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    for name in ("model-best", "model-last"):
        assert (found / name).exists() == (expected / name).exists(), name
        if (expected / name).exists():
            assert weights(found / name) == weights(expected / name), name


def assert_close(found: Path, expected: Path, rel: float) -> None:
    """Check that the losses, norms and perplexities of two runs are close."""
    ours, theirs = records(found), records(expected)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, other in zip(ours, theirs):
        figures = {key: x for key, x in other.items() if isinstance(x, float)}
        assert {key: line[key] for key in figures} == pytest.approx(figures, rel=rel)


def vocabulary(output: Path) -> list[str]:
    """List the words of the output layer."""
    return read_model(output / "model-last").vocabulary.words


def perplexities(model: Path, text: Path) -> Perplexities:
    """Compute the perplexities of a whole text with an exported model."""
    loaded = read_model(model)
    held_out = load_text(
        [str(text)],
        CorpusSettings(train=(str(text),)),
        model.parent / "evaluated",
        loaded.model.bilm.characters,
        name="text",
    )
    group = Group(0, 1, torch.device("cpu"))
    return evaluate(
        loaded.model, held_out.shards, held_out.table, loaded.vocabulary, group=group
    )


# Subprocesses

PROGRAM = ("-m", "spacy_elmo.pretraining")
COMMAND = ("-m", "spacy", "elmo", "pretrain")


def environment(**variables: str) -> dict[str, str]:
    """Make the environment of a single-threaded process."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **variables}


def start(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start Python with these arguments."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**variables),
        text=True,
        encoding="utf8",
    )


def finish(process: subprocess.Popen[str], timeout: float = 120.0) -> tuple[int, str]:
    """Wait for a process to end.

    RETURNS (Tuple[int, str]): Exit status and output.
    """
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    return process.returncode, output + errors


def wait_for_step(
    process: subprocess.Popen[str], output: Path, step: int, timeout: float = 120.0
) -> None:
    """Wait until the log has this step."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if (output / "log.jsonl").is_file():
            lines = log(output, "train")
            if lines and lines[-1]["step"] >= step:
                return
        time.sleep(0.01)
    raise AssertionError(f"not at step {step}: {finish(process, 5.0)}")


def complete(*arguments: object, **variables: str) -> str:
    """Run Python with these arguments. It must succeed; its output is returned."""
    status, output = finish(start(*arguments, **variables))
    assert status == 0, output
    return output
