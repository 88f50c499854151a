"""The softmax by the compiled kernels, against PyTorch in float64."""

from __future__ import annotations

import pytest
import torch
from helpers import reference
from helpers.reference import relative_error
from torch import Tensor

from spacy_elmo.bilm.backends.cpu.instructions import InstructionSet
from spacy_elmo.bilm.backends.cpu.softmax import PackedSoftmax, sampled_loss
from spacy_elmo.bilm.backends.torch_softmax import ExactSoftmax

F32, BF16 = torch.float32, torch.bfloat16
SIZES = pytest.mark.parametrize(
    ("n_samples", "width"), [(192, 64), (101, 37), (1, 1)], ids=["whole", "odd", "one"]
)


def make_targets(
    n: int = 120, scale: float = 1.0, n_samples: int = 101, width: int = 37
) -> tuple[list[Tensor], Tensor]:
    """hidden, true_logits, rows, bias; columns: every third target was sampled, the
    first and the last sample among them."""
    torch.manual_seed(0)
    columns = torch.zeros(n, dtype=torch.int64)
    columns[::3] = torch.linspace(1, n_samples, len(columns[::3])).long()
    tensors = [
        torch.randn(n, width) * scale,
        torch.randn(n),
        torch.randn(n_samples, width),
        torch.randn(n_samples),
    ]
    return [tensor.requires_grad_() for tensor in tensors], columns


@pytest.mark.parametrize("n", [1, 7, 120])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@SIZES
def test_loss_and_gradients(
    n: int, scale: float, n_samples: int, width: int, instruction_set: InstructionSet
) -> None:
    """For probabilities that are all the same and for such that are 0 or 1."""
    given, columns = make_targets(n, scale, n_samples, width)
    found = sampled_loss(*given, columns, F32)
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    wanted = reference.sampled_loss(*exact, columns)
    assert relative_error(found, wanted) < 2e-6
    d_loss = torch.rand_like(found)
    gradients = torch.autograd.grad(found, given, d_loss, retain_graph=True)
    expected = torch.autograd.grad(wanted, exact, d_loss.double())
    for one, other in zip(gradients, expected):
        assert relative_error(one, other) < 2e-5
    # A sampled target gets its gradient as a sample alone.
    assert not gradients[1][columns > 0].any()
    assert all(map(torch.equal, gradients, torch.autograd.grad(found, given, d_loss)))


@SIZES
def test_bfloat16(n_samples: int, width: int, instruction_set: InstructionSet) -> None:
    given, columns = make_targets(77, 1.0, n_samples, width)
    found = sampled_loss(*given, columns, BF16)
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    wanted = reference.sampled_loss(*exact, columns)
    d_loss = torch.rand_like(found)
    gradients = torch.autograd.grad(found, given, d_loss)
    expected = torch.autograd.grad(wanted, exact, d_loss.double())
    assert relative_error(found, wanted) < 0.01
    for one, other in zip(gradients, expected):
        assert one.dtype == F32
        assert relative_error(one, other) < 0.03


def test_more_logits_than_are_computed_at_a_time(
    instruction_set: InstructionSet,
) -> None:
    given, columns = make_targets(n=700, n_samples=5000, width=8)
    found = sampled_loss(*given, columns, F32)
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    wanted = reference.sampled_loss(*exact, columns)
    gradients = torch.autograd.grad(found.sum(), given)
    expected = torch.autograd.grad(wanted.sum(), exact)
    for one, other in zip(gradients, expected):
        assert relative_error(one, other) < 2e-5


@SIZES
@pytest.mark.parametrize("dtype", [F32, BF16])
def test_the_number_of_threads_does_not_matter(
    n_samples: int, width: int, dtype: torch.dtype, instruction_set: InstructionSet
) -> None:
    expected = None
    for n_threads in (1, 2, 3, 16):
        torch.set_num_threads(n_threads)
        given, columns = make_targets(120, 1.0, n_samples, width)
        loss = sampled_loss(*given, columns, dtype)
        found = [loss.detach(), *torch.autograd.grad(loss.square().sum(), given)]
        expected = expected or found
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("which", [0, 2, 3])
def test_nan_stays_nan(which: int, instruction_set: InstructionSet) -> None:
    given, columns = make_targets(n=7)
    with torch.no_grad():
        given[which][2] = float("nan")
    found = sampled_loss(*given, columns, F32)
    assert found[2].isnan()
    assert found.isnan().all() == (which > 0)
    gradients = torch.autograd.grad(found.sum(), given)
    assert gradients[0][2].isnan().all()


def test_no_targets(instruction_set: InstructionSet) -> None:
    given, columns = make_targets(n=0)
    loss = sampled_loss(*given, columns, F32)
    assert loss.shape == (0,)
    assert not any(g.any() for g in torch.autograd.grad(loss.sum(), given))


@pytest.mark.parametrize("column", [-1, 102])
def test_columns_beyond_the_samples(
    column: int, instruction_set: InstructionSet
) -> None:
    given, columns = make_targets(n=7)
    columns[3] = column
    with pytest.raises(ValueError, match="columns: expected 0 to 101, found"):
        sampled_loss(*given, columns, F32)


def make_softmax(
    n_words: int, width: int, n: int = 50, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """weight, bias; hidden, targets: the first and the last word among them."""
    torch.manual_seed(0)
    weight, bias = torch.randn(n_words, width), torch.randn(n_words)
    targets = torch.linspace(0, n_words - 1, n).long()
    return weight, bias, torch.randn(n, width) * scale, targets


# More words than a thread computes logits for at a time, and fewer.
VOCABULARIES = pytest.mark.parametrize(
    ("n_words", "width"), [(9000, 16), (4096, 8), (101, 37), (2, 1)]
)


@VOCABULARIES
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_scores_of_targets(
    n_words: int, width: int, scale: float, instruction_set: InstructionSet
) -> None:
    """For distributions that are flat and for such that have one word."""
    weight, bias, *batch = make_softmax(n_words, width, scale=scale)
    found = PackedSoftmax(weight, bias, F32).score(*batch)
    expected = ExactSoftmax(weight.double(), bias.double()).score(
        batch[0].double(), batch[1]
    )
    torch.testing.assert_close(
        found.log_probs.double(), expected.log_probs, rtol=2e-6, atol=1e-5
    )
    torch.testing.assert_close(
        found.entropies.double(), expected.entropies, rtol=2e-6, atol=5e-5
    )
    assert found.entropies.min() >= 0


def test_probabilities_sum_to_one(instruction_set: InstructionSet) -> None:
    weight, bias, hidden, _ = make_softmax(9000, 16, n=1, scale=0.5)
    softmax = PackedSoftmax(weight, bias, F32)
    scores = softmax.score(hidden.expand(9000, -1), torch.arange(9000))
    assert abs(float(scores.log_probs.double().exp().sum()) - 1) < 1e-5


@pytest.mark.parametrize("dtype", [F32, BF16])
@VOCABULARIES
def test_scores_depend_on_their_row_alone(
    n_words: int, width: int, dtype: torch.dtype, instruction_set: InstructionSet
) -> None:
    """To the last bit, with any number of rows and threads."""
    weight, bias, hidden, targets = make_softmax(n_words, width, n=120)
    softmax = PackedSoftmax(weight, bias, dtype)
    expected = softmax.score(hidden, targets)
    for n_threads in (1, 2, 16):
        torch.set_num_threads(n_threads)
        for part in (slice(None), slice(7), slice(60, 61), slice(50, 99)):
            found = softmax.score(hidden[part], targets[part])
            assert torch.equal(found.log_probs, expected.log_probs[part])
            assert torch.equal(found.entropies, expected.entropies[part])


def test_error_of_bfloat16_scores(instruction_set: InstructionSet) -> None:
    """The log-probability of a word changes by a few hundredths of a nat, which average
    out over words."""
    weight, bias, *batch = make_softmax(9000, 64, n=500, scale=0.5)
    exact = PackedSoftmax(weight, bias, F32).score(*batch)
    found = PackedSoftmax(weight, bias, BF16).score(*batch)
    error = found.log_probs - exact.log_probs
    assert 1e-4 < error.abs().max() < 0.1
    assert abs(error.mean()) < 0.005
    assert (found.entropies - exact.entropies).abs().max() < 0.05


def test_a_logit_of_nan_makes_the_scores_of_its_row_nan(
    instruction_set: InstructionSet,
) -> None:
    weight, bias, hidden, targets = make_softmax(4500, 8, n=7)
    hidden[2] = float("nan")
    scores = PackedSoftmax(weight, bias, F32).score(hidden, targets)
    for values in scores:
        assert values.isnan().nonzero().flatten().tolist() == [2]
    bias[4400] = float("nan")
    scores = PackedSoftmax(weight, bias, F32).score(hidden, targets)
    assert all(values.isnan().all() for values in scores)


@pytest.mark.parametrize("target", [-1, 101])
def test_targets_beyond_the_vocabulary(
    target: int, instruction_set: InstructionSet
) -> None:
    weight, bias, hidden, targets = make_softmax(101, 8)
    targets[3] = target
    with pytest.raises(ValueError, match="targets: expected 0 to 100, found"):
        PackedSoftmax(weight, bias, F32).score(hidden, targets)


def test_no_rows_to_score(instruction_set: InstructionSet) -> None:
    weight, bias, *batch = make_softmax(101, 8, n=0)
    softmax = PackedSoftmax(weight, bias, F32)
    assert [each.shape for each in (*softmax.score(*batch), softmax.nll(*batch))] == [
        (0,)
    ] * 3
