"""Adagrad and AdamW: PyTorch's own for the network, and the same formulas on the rows
of a sampled output layer, whose cost does not grow with the vocabulary."""

from typing import Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn

from .language_model import LanguageModel, SampledRows, SampledSoftmax
from .settings import OptimizerSettings


class Optimizer:
    """Steps a language model.

    Its state is a dict of tensors by name (`state_dict`), the same for any number of
    processes.
    """

    def __init__(self, model: LanguageModel, settings: OptimizerSettings) -> None:
        self.settings = settings
        self.names: Dict[str, nn.Parameter] = dict(model.named_parameters())
        sampled = isinstance(model.softmax, SampledSoftmax)
        self.rows: Dict[str, _Rows] = {}
        for name in ("softmax.weight", "softmax.bias") if sampled else ():
            self.rows[name] = _Rows(self.names.pop(name), settings)
        self.dense = _dense(self.names, settings)

    def gradients(self, rows: Optional[SampledRows]) -> List[Tensor]:
        """All leaves of the step's gradient, to clip or exchange."""
        leaves: List[Tensor] = list(self.names.values())
        if rows is not None:
            leaves += [rows.weight, rows.bias]
        return [leaf for leaf in leaves if leaf.grad is not None]

    @torch.no_grad()
    def step(self, rate: float, step: int, rows: Optional[SampledRows]) -> None:
        """Apply and forget the gradients.

        rate: the learning rate. step: counted from 0.
        """
        for group in self.dense.param_groups:
            group["lr"] = rate
        self.dense.step()
        self.dense.zero_grad(set_to_none=True)
        if rows is not None:
            for name, leaf in zip(self.rows, (rows.weight, rows.bias)):
                if leaf.grad is not None:
                    self.rows[name].step(rows.ids, leaf, leaf.grad, rate, step)

    def state_dict(self) -> Dict[str, Tensor]:
        """What must be kept beside the weights."""
        state: Dict[str, Tensor] = {}
        for name, parameter in self.names.items():
            for key, value in self.dense.state[parameter].items():
                state[f"{name}.{key}"] = value
        for name, part in self.rows.items():
            for key, value in part.state.items():
                state[f"{name}.{key}"] = value
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises KeyError where something is missing."""
        # PyTorch's fused AdamW counts steps on the device, its Adagrad on the host.
        on_host = self.settings.name == "adagrad"
        for name, parameter in self.names.items():
            own = self.dense.state[parameter]
            prefix = name + "."
            keys = {
                key[len(prefix) :]
                for key in state
                if key.startswith(prefix) and "." not in key[len(prefix) :]
            }
            for key in sorted({*own, *keys}):
                value = state[prefix + key].clone()
                stays = key == "step" and on_host
                own[key] = value if stays else value.to(parameter.device)
        for name, part in self.rows.items():
            for key in part.state:
                part.state[key].copy_(state[f"{name}.{key}"])


def clip(leaves: List[Tensor], bound: Optional[float]) -> Tensor:
    """Scale all gradients so that their common norm is at most `bound`.

    RETURNS: the norm before, on the device: on a GPU nothing waits for it.
    """
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    # A CPU has it already, and seldom anything to scale.
    if bound is not None and (norm.is_cuda or norm > bound):
        torch.nn.utils.clip_grads_with_norm_(leaves, bound, norm)
    return norm


class _Rows:
    """One matrix of which a step touches some rows: Adagrad, or Adam that lets rows
    rest between the steps that touch them, as torch.optim.SparseAdam does."""

    def __init__(self, parameter: nn.Parameter, settings: OptimizerSettings) -> None:
        self.parameter = parameter
        self.settings = settings
        like = parameter.detach()
        if settings.name == "adagrad":
            start = torch.full_like(like, settings.initial_accumulator)
            self.state = {"sum": start}
        else:
            self.state = {
                "exp_avg": torch.zeros_like(like),
                "exp_avg_sq": torch.zeros_like(like),
            }

    def step(
        self, ids: Tensor, rows: Tensor, gradient: Tensor, rate: float, step: int
    ) -> None:
        """ids: (n,), each once. rows: their weights now; gradient: theirs."""
        if self.settings.name == "adagrad":
            total = self.state["sum"][ids].addcmul_(gradient, gradient)
            self.state["sum"][ids] = total
            change = gradient / total.sqrt_().add_(_ADAGRAD_EPS)
        else:
            beta1, beta2 = self.settings.beta1, self.settings.beta2
            mean = self.state["exp_avg"][ids].lerp_(gradient, 1 - beta1)
            square = self.state["exp_avg_sq"][ids]
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            self.state["exp_avg"][ids] = mean
            self.state["exp_avg_sq"][ids] = square
            correct1, correct2 = (1 - beta ** (step + 1) for beta in (beta1, beta2))
            change = mean.div_(correct1)
            change = change / square.div_(correct2).sqrt_().add_(self.settings.eps)
        self.parameter.data[ids] = rows.detach() - rate * change


_ADAGRAD_EPS = 1e-10
"""PyTorch's; the published trainer has none."""


def _dense(
    names: Mapping[str, nn.Parameter], settings: OptimizerSettings
) -> torch.optim.Optimizer:
    parameters = list(names.values())
    on_cpu = parameters[0].device.type == "cpu"
    if settings.name == "adagrad":
        return torch.optim.Adagrad(
            parameters,
            lr=settings.learn_rate,
            initial_accumulator_value=settings.initial_accumulator,
            eps=_ADAGRAD_EPS,
            fused=on_cpu,
            foreach=not on_cpu,
        )
    matrices, biases = _by_decay(names)
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ],
        lr=settings.learn_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )


def _by_decay(
    names: Mapping[str, nn.Parameter],
) -> Tuple[List[nn.Parameter], List[nn.Parameter]]:
    """Weight decay is for matrices; biases have none, the softmax's column neither."""
    matrices = [names[name] for name in names if not name.endswith("bias")]
    return matrices, [names[name] for name in names if name.endswith("bias")]
