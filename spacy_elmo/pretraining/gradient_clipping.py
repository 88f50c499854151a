"""Bounds the gradient of a step, and ignores one that has exploded."""

from typing import Dict, List, Mapping, NamedTuple

import torch
from torch import Tensor

from .sections import OptimizerSettings

_N_AVERAGED = 100
"""Number of steps over which the usual norm is averaged. No gradient is ignored before
it is known."""


class Clipped(NamedTuple):
    """Outcome of clipping a step's gradient.

    norm (Tensor): Its norm before clipping, a scalar.
    is_ignored (Tensor): Whether it was set to zero, a scalar.
    """

    norm: Tensor
    is_ignored: Tensor


class GradientClipper:
    """Scales a gradient that is longer than `grad_clip`, and sets one to zero that is
    `grad_skip` times as long as usual.

    An LSTM whose weights have grown can multiply an error at each word, which makes
    gradients a million times too long. Scaled down, such a gradient is still a step in
    a meaningless direction, and more follow until the weights are ruined. If these few
    gradients are ignored, training goes on as before.

    settings (OptimizerSettings): The two bounds.
    device (torch.device): Where steps are computed. The host does not wait for a GPU.
    """

    def __init__(self, settings: OptimizerSettings, device: torch.device) -> None:
        self.settings = settings
        self._usual = torch.zeros((), device=device)
        self._n_steps = 0

    @torch.no_grad()
    def clip(self, leaves: List[Tensor]) -> Clipped:
        """Clip the gradient of a step.

        leaves (List[Tensor]): Leaves with gradients.
        RETURNS (Clipped): Norm of the whole gradient, and whether it was ignored.
        """
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        bound, on_gpu = self.settings.grad_clip, norm.is_cuda
        # On a CPU the norm is known, and scaling is rarely needed.
        if bound is not None and (on_gpu or norm > bound):
            torch.nn.utils.clip_grads_with_norm_(leaves, bound, norm)
        is_ignored = self._is_exploded(norm)
        self._update_usual(norm, is_ignored)
        if self.settings.grad_skip is not None and (on_gpu or is_ignored):
            for gradient in gradients:
                gradient.masked_fill_(is_ignored, 0.0)  # which may be infinite
        return Clipped(norm, is_ignored)

    def _is_exploded(self, norm: Tensor) -> Tensor:
        ratio = self.settings.grad_skip
        if ratio is None or self._n_steps < _N_AVERAGED:
            return torch.zeros_like(norm, dtype=torch.bool)
        return norm > self._usual * ratio

    def _update_usual(self, norm: Tensor, is_ignored: Tensor) -> None:
        """Add a step's norm to the average, unless its gradient is ignored."""
        self._n_steps += 1
        share = 1 / min(self._n_steps, _N_AVERAGED)
        self._usual.lerp_(torch.where(is_ignored, self._usual, norm), share)

    def start_over(self) -> None:
        """Forget the usual norm, because other weights are trained from here on."""
        self._usual.zero_()
        self._n_steps = 0

    def state_dict(self) -> Dict[str, Tensor]:
        """The tensors of a checkpoint by name."""
        return {"usual_norm": self._usual, "n_steps": torch.tensor(self._n_steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`.

        state (Mapping[str, Tensor]): The tensors. A checkpoint of version 0.1 has none,
            in which case the average starts here.

        RAISES: KeyError if one of the tensors is missing.
        """
        if state:
            self._usual.copy_(state["usual_norm"])
            self._n_steps = int(state["n_steps"])
