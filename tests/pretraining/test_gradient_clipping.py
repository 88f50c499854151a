"""Long gradients are scaled, exploded ones are ignored."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from spacy_elmo.pretraining.gradient_clipping import GradientClipper
from spacy_elmo.pretraining.sections import OptimizerSettings

CPU = torch.device("cpu")


def make_clipper(**changes: float | None) -> GradientClipper:
    settings = {"grad_clip": None, "grad_skip": 10.0, **changes}
    return GradientClipper(OptimizerSettings.model_validate(settings), CPU)


def clip(clipper: GradientClipper, norm: float) -> tuple[float, float, bool]:
    """Clip a gradient of this norm, of two tensors.

    RETURNS (tuple[float, float, bool]): Its norm as found and afterwards, and whether
        it was ignored.
    """
    leaves = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2, 2))]
    leaves[0].grad = torch.tensor([0.6 * norm])
    leaves[1].grad = torch.full((2, 2), -0.4 * norm)
    found = clipper.clip(list(leaves))
    gradients = [gradient_of(leaf).flatten() for leaf in leaves]
    after = float(torch.cat(gradients).double().norm())
    return float(found.norm), after, bool(found.is_ignored)


def gradient_of(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def started(norm: float = 2.0, **changes: float | None) -> GradientClipper:
    """A clipper after 100 steps whose gradients had this norm."""
    clipper = make_clipper(**changes)
    for _ in range(100):
        assert not clip(clipper, norm)[2]
    return clipper


# Scaling


@pytest.mark.parametrize("bound", [0.5, 3.0, 1000.0, None])
def test_scaling(bound: float | None) -> None:
    """Against the formula and PyTorch."""
    torch.manual_seed(0)
    before = [torch.randn(7, 5), torch.randn(3)]
    flat = torch.cat([gradient.flatten() for gradient in before]).double()
    expected = math.sqrt(float(flat @ flat))
    ours, theirs = ([nn.Parameter(torch.zeros_like(g)) for g in before] for _ in "12")
    for leaf, other, gradient in zip(ours, theirs, before):
        leaf.grad, other.grad = gradient.clone(), gradient.clone()
    torch.nn.utils.clip_grad_norm_(theirs, math.inf if bound is None else bound)
    norm, is_ignored = make_clipper(grad_clip=bound).clip(list(ours))
    assert float(norm) == pytest.approx(expected)
    assert not is_ignored
    factor = min(1.0, (bound or math.inf) / expected)
    for leaf, other, gradient in zip(ours, theirs, before):
        if factor == 1:
            assert torch.equal(gradient_of(leaf), gradient)
        torch.testing.assert_close(gradient_of(leaf), gradient * factor)
        torch.testing.assert_close(gradient_of(leaf), gradient_of(other))


# Ignoring


@pytest.mark.parametrize("bound", [1.0, 50.0, None])
def test_an_exploded_gradient_is_ignored(bound: float | None) -> None:
    clipper = started(2.0, grad_clip=bound)
    assert clip(clipper, 19.9) == pytest.approx((19.9, min(bound or 99, 19.9), False))
    # The usual norm is now 0.99 * 2 + 0.01 * 19.9 = 2.18.
    assert clip(clipper, 21.7)[2] is False
    # The square of 1e30 is infinite in float32.
    for norm, expected in ((1e3, 1e3), (1e30, math.inf), (math.inf, math.inf)):
        assert clip(clipper, norm) == (pytest.approx(expected), 0.0, True)
    assert clip(clipper, 2.0) == pytest.approx((2.0, min(bound or 99, 2.0), False))


def test_nothing_is_ignored_before_the_usual_norm_is_known() -> None:
    clipper = make_clipper()
    for _ in range(99):
        clip(clipper, 2.0)
    assert clip(clipper, 1e3)[2] is False
    assert clip(clipper, 1e6)[2] is True


def test_no_gradient_is_ignored_without_a_ratio() -> None:
    clipper = started(2.0, grad_skip=None)
    assert clip(clipper, 1e9) == pytest.approx((1e9, 1e9, False))


def test_exploded_gradients_do_not_become_usual() -> None:
    clipper = started(1.0)
    for norm in (30.0, math.inf) * 100:
        assert clip(clipper, norm)[2] is True
    assert clip(clipper, 1.0)[2] is False


def test_starting_over() -> None:
    """As when a biLM joins the training after its output layer."""
    clipper = started(1.0)
    clipper.start_over()
    for _ in range(100):
        assert clip(clipper, 30.0)[2] is False
    assert clip(clipper, 290.0)[2] is False
    assert clip(clipper, 340.0)[2] is True


def test_other_norms_that_are_not_finite_are_not_ignored() -> None:
    """The trainer ends the run then."""
    assert clip(started(), math.nan)[2] is False
    assert clip(make_clipper(), math.inf)[2] is False


# Checkpoints


def test_resuming() -> None:
    clipper, fresh = started(2.0), make_clipper()
    clip(clipper, 5.0)
    fresh.load_state_dict(clipper.state_dict())
    for norm in (20.5, 3.0, 1e5, 2.0, 21.0):
        assert clip(fresh, norm) == clip(clipper, norm)
    for name, value in clipper.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)


def test_a_checkpoint_of_an_earlier_version() -> None:
    clipper = make_clipper()
    clipper.load_state_dict({})
    assert clip(clipper, 1e9)[2] is False
    with pytest.raises(KeyError, match="n_steps"):
        clipper.load_state_dict({"usual_norm": torch.tensor(1.0)})
