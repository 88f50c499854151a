"""Bounds the gradient of a step, and ignores one that has exploded."""

from typing import Dict, List, Mapping, NamedTuple

import torch
from torch import Tensor

from .sections import OptimizerSettings

_N_AVERAGED = 100
"""Number of steps that the usual norm is an average of. None is ignored before."""


class Clipped(NamedTuple):
    """What a step's gradient was.

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
    a meaningless direction, after which more follow and all that was learned is lost.
    Without these few steps, training goes on as before.

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
        if self.settings.grad_skip is not None and (on_gpu or is_ignored):
            for gradient in gradients:
                gradient.masked_fill_(is_ignored, 0.0)  # which may be infinite
        return Clipped(norm, is_ignored)

    def _is_exploded(self, norm: Tensor) -> Tensor:
        """Compare a norm with the usual one, and average it into that."""
        ratio = self.settings.grad_skip
        if ratio is None:
            return torch.zeros_like(norm, dtype=torch.bool)
        is_known = self._n_steps >= _N_AVERAGED
        is_exploded = (norm > self._usual * ratio) & is_known
        self._n_steps += 1
        share = 1 / min(self._n_steps, _N_AVERAGED)
        self._usual.lerp_(torch.where(is_exploded, self._usual, norm), share)
        return is_exploded

    def start_over(self) -> None:
        """Measure the usual norm anew: more weights are trained from here on."""
        self._usual.zero_()
        self._n_steps = 0

    def state_dict(self) -> Dict[str, Tensor]:
        """The tensors of a checkpoint by name."""
        return {"usual_norm": self._usual, "n_steps": torch.tensor(self._n_steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`. Checkpoints of version 0.1 have no such tensors;
        then the usual norm is measured anew.

        RAISES: KeyError if one of the tensors is missing.
        """
        if state:
            self._usual.copy_(state["usual_norm"])
            self._n_steps = int(state["n_steps"])
