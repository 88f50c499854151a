"""Averaged weights: definition, evaluation and export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import runs
from helpers.language_models import make_model
from safetensors.torch import load_file
from torch import Tensor

from spacy_elmo.bilm.softmax import SampledSoftmax
from spacy_elmo.pretraining.data.batches import Sample
from spacy_elmo.pretraining.language_model import LanguageModel, SampledRows
from spacy_elmo.pretraining.output import checkpoints
from spacy_elmo.pretraining.weight_average import WeightAverage

N_WORDS, DECAY = 30, 0.6


def take_step(model: LanguageModel, average: WeightAverage, step: int) -> None:
    """Change the weights as an optimizer does: of a sampled softmax, a few rows."""
    torch.manual_seed(step)
    rows = None
    sampled = isinstance(model.softmax, SampledSoftmax)
    if isinstance(model.softmax, SampledSoftmax):
        ids = torch.randperm(N_WORDS)[:5].sort().values
        rows = SampledRows(model.softmax, Sample(ids, *[torch.zeros(0)] * 4))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not sampled or not name.startswith("softmax"):
                weight += torch.randn_like(weight)
            else:
                weight[ids] += torch.randn_like(weight[ids])
    average.update(rows)


def copy_weights(model: LanguageModel) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


@pytest.mark.parametrize("softmax", ["sampled", "full", "adaptive"])
def test_equals_an_average_of_all_weights_in_each_step(softmax: str) -> None:
    model = make_model(N_WORDS, softmax)
    average = WeightAverage(model, DECAY)
    expected = {n: w.double() for n, w in copy_weights(model).items()}
    for step in range(40):
        take_step(model, average, step)
        decay = min(DECAY, (1 + step) / (10 + step))
        for name, weight in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * weight.double()
    before = copy_weights(model)
    with average.applied():
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(weight.double(), expected[name])
    assert_equal(copy_weights(model), before)


def test_weights_come_back_after_an_error() -> None:
    model = make_model(N_WORDS, "sampled")
    average = WeightAverage(model, DECAY)
    take_step(model, average, 0)
    before = copy_weights(model)
    with pytest.raises(OSError, match="disk"), average.applied():
        raise OSError("disk full")
    assert_equal(copy_weights(model), before)


@pytest.mark.parametrize("decay", [None, 0.0])
def test_switched_off(decay: float | None) -> None:
    model = make_model(N_WORDS, "sampled")
    average = WeightAverage(model, decay)
    take_step(model, average, 0)
    before = copy_weights(model)
    with average.applied():
        assert_equal(copy_weights(model), before)
    assert average.state_dict() == {}
    assert average.load_state_dict({}) is None


def test_a_run_exports_and_evaluates_the_average(
    texts: Path, plain: Path, tmp_path: Path
) -> None:
    averaged = runs.run(texts, tmp_path / "averaged", training={"ema_decay": 0.9})
    assert runs.losses(averaged) == runs.losses(plain)
    prefix = "average.bilm."
    stored = {
        name.removeprefix(prefix): weight
        for name, weight in runs.tensors(averaged, 12).items()
        if name.startswith(prefix)
    }
    assert stored
    assert_equal(load_file(averaged / "model-last" / "model.safetensors"), stored)
    # The output layer is averaged too: the exported folder has the logged perplexity.
    (*_, last) = runs.log(averaged, "dev")
    found = runs.perplexities(averaged / "model-last", texts / "dev.txt")
    assert found.mean == pytest.approx(last["perplexity"], rel=1e-6)
    (*_, raw) = runs.log(plain, "dev")
    assert last["perplexity"] != raw["perplexity"]


def test_switched_on_and_off_in_resumed_runs(texts: Path, tmp_path: Path) -> None:
    """The first checkpoint is one of version 0.1, which has neither setting."""
    output = tmp_path / "out"
    runs.stop_at(texts, output, 5)
    stored = checkpoints.load_step(output / "checkpoints", 4)
    for setting in ("ema_decay", "noise"):
        del stored.meta["settings"]["training"][setting]
    checkpoints.save(output / "checkpoints", 4, stored.tensors, stored.meta)
    runs.stop_at(texts, output, 9, training={"ema_decay": 0.9})
    assert any("starts from the current" in note for note in runs.messages(output))
    assert "average.log_decay" in runs.tensors(output, 8)
    runs.run(texts, output)
    assert any("is dropped" in note for note in runs.messages(output))
    assert "average.log_decay" not in runs.tensors(output, 12)
