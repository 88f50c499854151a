"""The optimizer equals PyTorch's on dense copies of the weights."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from helpers.language_models import SOFTMAXES, make_model
from torch import nn

from spacy_elmo.bilm.softmax import SampledSoftmax
from spacy_elmo.pretraining.data.batches import Sample
from spacy_elmo.pretraining.language_model import LanguageModel, SampledRows
from spacy_elmo.pretraining.optimizers import Optimizer
from spacy_elmo.pretraining.output import checkpoints
from spacy_elmo.pretraining.sections import OptimizerSettings

N_WORDS = 30
RATES = [0.3, 0.1, 0.25, 0.0, 0.2, 0.05]
"""Learning rates of the steps. None equals the configured learning rate."""

SETTINGS = {
    "adagrad": OptimizerSettings(name="adagrad", initial_accumulator=0.5),
    "adamw": OptimizerSettings(
        name="adamw",
        learn_rate=0.2,
        beta1=0.8,
        beta2=0.95,
        eps=1e-3,
        weight_decay=0.1,
    ),
}
NAMES = pytest.mark.parametrize("name", SETTINGS)


def touch(model: LanguageModel, ids: list[int]) -> SampledRows | None:
    """The sampled rows of a step, if the softmax is sampled."""
    if not isinstance(model.softmax, SampledSoftmax):
        return None
    nothing = torch.zeros(0)
    rows = torch.tensor(sorted(ids))
    return SampledRows(model.softmax, Sample(rows, nothing, nothing, nothing, nothing))


def ids_of(step: int) -> list[int]:
    """Rows that a step touches, always including 3 and 4."""
    torch.manual_seed(100 + step)
    return [3, 4, *(torch.randperm(N_WORDS - 5)[:6] + 5).tolist()]


def put_gradients(model: LanguageModel, rows: SampledRows | None, step: int) -> None:
    torch.manual_seed(step)
    if rows is not None:
        rows.weight.grad = torch.randn_like(rows.weight)
        rows.bias.grad = torch.randn_like(rows.bias)
    for name, parameter in model.named_parameters():
        if rows is None or not name.startswith("softmax"):
            parameter.grad = torch.randn_like(parameter)


def take_steps(
    model: LanguageModel, optimizer: Optimizer, first: int, end: int
) -> None:
    for step in range(first, end):
        rows = touch(model, ids_of(step))
        put_gradients(model, rows, step)
        optimizer.step(RATES[step], step, rows)


def dense_optimizer(
    parameters: dict[str, nn.Parameter], settings: OptimizerSettings
) -> torch.optim.Optimizer:
    """PyTorch's own, in its simplest form."""
    values = list(parameters.values())
    if settings.name == "adagrad":
        return torch.optim.Adagrad(
            values,
            initial_accumulator_value=settings.initial_accumulator,
            foreach=False,
        )
    biases = [p for name, p in parameters.items() if name.endswith("bias")]
    weights = [p for name, p in parameters.items() if not name.endswith("bias")]
    return torch.optim.AdamW(
        [{"params": biases, "weight_decay": 0.0}, {"params": weights}],
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        foreach=False,
    )


def test_gradients_include_those_of_the_rows() -> None:
    model = make_model(N_WORDS, "sampled")
    rows = touch(model, ids_of(0))
    put_gradients(model, rows, 0)
    assert rows is not None
    leaves = Optimizer(model, SETTINGS["adagrad"]).gradients(rows)
    assert len(leaves) == len(list(model.parameters()))
    assert leaves[-2] is rows.weight
    assert leaves[-1] is rows.bias


@NAMES
@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_dense_weights(name: str, softmax: str) -> None:
    model = make_model(N_WORDS, softmax)
    other = copy.deepcopy(model)
    optimizer = Optimizer(model, SETTINGS[name])
    dense = dict(other.named_parameters())
    if softmax == "sampled":
        dense = {key: p for key, p in dense.items() if not key.startswith("softmax")}
    theirs = dense_optimizer(dense, SETTINGS[name])
    for step, rate in enumerate(RATES):
        rows = touch(model, ids_of(step))
        put_gradients(model, rows, step)
        for key, parameter in dense.items():
            own = model.get_parameter(key).grad
            assert own is not None
            parameter.grad = own.clone()
        for group in theirs.param_groups:
            group["lr"] = rate
        optimizer.step(rate, step, rows)
        theirs.step()
        for key, parameter in dense.items():
            torch.testing.assert_close(model.get_parameter(key), parameter)
            assert model.get_parameter(key).grad is None


@pytest.mark.parametrize("name", ["adagrad", "adamw"])
def test_rows_equal_dense_optimizers(name: str) -> None:
    """Adagrad equals that on a dense gradient with zeros, Adam equals SparseAdam."""
    settings = OptimizerSettings(name="adagrad", initial_accumulator=0.5)
    if name == "adamw":
        # SparseAdam adds eps in another place.
        settings = OptimizerSettings(
            name="adamw", learn_rate=0.2, beta1=0.8, beta2=0.95, eps=1e-20
        )
    model = make_model(N_WORDS, "sampled")
    assert isinstance(model.softmax, SampledSoftmax)
    optimizer = Optimizer(model, settings)
    copies = [nn.Parameter(p.detach().clone()) for p in model.softmax.parameters()]
    theirs: torch.optim.Optimizer
    if name == "adagrad":
        theirs = torch.optim.Adagrad(copies, initial_accumulator_value=0.5)
    else:
        theirs = torch.optim.SparseAdam(copies, betas=(0.8, 0.95), eps=1e-20)
    for step, rate in enumerate(RATES):
        rows = touch(model, ids_of(step))
        assert rows is not None
        put_gradients(model, rows, step)
        for parameter, leaf in zip(copies, (rows.weight, rows.bias)):
            assert leaf.grad is not None
            gradient = torch.sparse_coo_tensor(
                rows.ids[None], leaf.grad, parameter.shape, check_invariants=True
            )
            parameter.grad = gradient.to_dense() if name == "adagrad" else gradient
        theirs.param_groups[0]["lr"] = rate
        optimizer.step(rate, step, rows)
        theirs.step()
        for found, expected in zip(model.softmax.parameters(), copies):
            torch.testing.assert_close(found, expected)


def test_rows_of_every_step_equal_adam() -> None:
    """Including eps, and without weight decay."""
    model = make_model(N_WORDS, "sampled")
    assert isinstance(model.softmax, SampledSoftmax)
    optimizer = Optimizer(model, SETTINGS["adamw"])
    copied = nn.Parameter(model.softmax.weight.detach()[3:5].clone())
    theirs = torch.optim.Adam([copied], betas=(0.8, 0.95), eps=1e-3)
    for step, rate in enumerate(RATES):
        rows = touch(model, ids_of(step))
        assert rows is not None
        put_gradients(model, rows, step)
        assert rows.weight.grad is not None
        assert rows.ids[:2].tolist() == [3, 4]
        copied.grad = rows.weight.grad[:2].clone()
        theirs.param_groups[0]["lr"] = rate
        optimizer.step(rate, step, rows)
        theirs.step()
        torch.testing.assert_close(model.softmax.weight[3:5], copied)


@NAMES
def test_a_step_changes_only_its_rows(name: str) -> None:
    model = make_model(N_WORDS, "sampled")
    optimizer = Optimizer(model, SETTINGS[name])
    take_steps(model, optimizer, 0, 2)
    before = {key: t.clone() for key, t in optimizer.state_dict().items()}
    before |= {key: p.detach().clone() for key, p in model.named_parameters()}
    take_steps(model, optimizer, 2, 3)
    after = {**optimizer.state_dict(), **dict(model.named_parameters())}
    rest = [i for i in range(N_WORDS) if i not in ids_of(2)]
    of_rows = [key for key in after if key.startswith("softmax")]
    assert len(of_rows) == (4 if name == "adagrad" else 6)
    for key in of_rows:
        assert torch.equal(after[key][rest], before[key][rest])
        assert (after[key][ids_of(2)] != before[key][ids_of(2)]).all()
    # The whole matrix has no gradient.
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_weight_decay_applies_to_matrices(softmax: str) -> None:
    """Not to sampled rows, which would decay by how often they are sampled."""
    model = make_model(N_WORDS, softmax)
    before = copy.deepcopy(model)
    optimizer = Optimizer(model, SETTINGS["adamw"])
    rows = touch(model, ids_of(0))
    put_gradients(model, rows, 0)
    for leaf in optimizer.gradients(rows):
        assert leaf.grad is not None
        leaf.grad.zero_()
    optimizer.step(0.5, 0, rows)
    for name, parameter in before.named_parameters():
        decays = not name.endswith("bias")
        if softmax == "sampled" and name.startswith("softmax"):
            decays = False
        expected = parameter * (1 - 0.5 * 0.1) if decays else parameter
        torch.testing.assert_close(model.get_parameter(name), expected, msg=name)


def test_frozen_weights() -> None:
    """No update, no weight decay, and no state."""
    model = make_model(N_WORDS)
    before = copy.deepcopy(model)
    optimizer = Optimizer(model, SETTINGS["adamw"])
    put_gradients(model, None, 0)
    for parameter in model.bilm.parameters():
        parameter.grad = None
    assert len(optimizer.gradients(None)) == 2
    optimizer.step(0.5, 0, None)
    for found, expected in zip(model.bilm.parameters(), before.bilm.parameters()):
        assert torch.equal(found, expected)
    assert not torch.equal(model.softmax.weight, before.softmax.weight)
    assert {key.split(".")[0] for key in optimizer.state_dict()} == {"softmax"}


# state_dict


@NAMES
@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_a_restored_state_continues_bit_for_bit(
    tmp_path: Path, name: str, softmax: str
) -> None:
    """Through a checkpoint, also for a parameter that was frozen until then."""
    model = make_model(N_WORDS, softmax)
    optimizer = Optimizer(model, SETTINGS[name])
    take_steps(model, optimizer, 0, 3)
    frozen = next(iter(optimizer.names.values()))
    if name == "adamw":
        optimizer.dense.state[frozen] = {}
    checkpoints.save(tmp_path, 3, optimizer.state_dict(), {})
    stored = checkpoints.load_newest(tmp_path, pytest.fail)
    assert stored is not None
    other = copy.deepcopy(model)
    resumed = Optimizer(other, SETTINGS[name])
    resumed.load_state_dict(stored.tensors)
    take_steps(model, optimizer, 3, 6)
    take_steps(other, resumed, 3, 6)
    for found, expected in zip(other.parameters(), model.parameters()):
        assert torch.equal(found, expected)
    expected_state, state = optimizer.state_dict(), resumed.state_dict()
    assert state.keys() == expected_state.keys()
    for key, tensor in state.items():
        assert tensor.dtype == expected_state[key].dtype
        assert torch.equal(tensor, expected_state[key])
    # The loaded tensors are copied, not used.
    again = checkpoints.load_newest(tmp_path, pytest.fail)
    assert again is not None
    for key, tensor in stored.tensors.items():
        assert torch.equal(tensor, again.tensors[key])


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("adagrad", "bilm.forward_layers.0.bias.sum"),
        ("adagrad", "bilm.forward_layers.0.bias.step"),
        ("adagrad", "softmax.weight.sum"),
        ("adamw", "softmax.bias.exp_avg"),
    ],
)
def test_a_missing_tensor_is_refused(name: str, key: str) -> None:
    model = make_model(N_WORDS, "sampled")
    optimizer = Optimizer(model, SETTINGS[name])
    take_steps(model, optimizer, 0, 1)
    state = optimizer.state_dict()
    del state[key]
    with pytest.raises(KeyError, match=key):
        Optimizer(model, SETTINGS[name]).load_state_dict(state)
