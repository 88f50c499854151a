"""Adagrad and AdamW: PyTorch's own optimizers for the network, and the same updates for
the sampled rows of the output layer, at a cost independent of the vocabulary size."""

from typing import Dict, List, Mapping, Optional

import torch
from torch import Tensor, nn

from .language_model import LanguageModel, SampledRows, SampledSoftmax
from .sections import OptimizerSettings


class Optimizer:
    """Updates the weights of a language model.

    model (LanguageModel): The model.
    settings (OptimizerSettings): Name and hyperparameters of the optimizer.
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
        """All leaves that have a gradient.

        rows (Optional[SampledRows]): The step's rows of a sampled softmax.
        """
        leaves: List[Tensor] = list(self.names.values())
        if rows is not None:
            leaves += [rows.weight, rows.bias]
        return [leaf for leaf in leaves if leaf.grad is not None]

    @torch.no_grad()
    def step(self, rate: float, step: int, rows: Optional[SampledRows]) -> None:
        """Update the weights and delete the gradients.

        rate (float): Learning rate.
        step (int): Number of the step, counted from 0.
        rows (Optional[SampledRows]): The step's rows of a sampled softmax.
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
        """The tensors of a checkpoint by name. They do not depend on the number of
        processes."""
        state: Dict[str, Tensor] = {}
        for name, parameter in self.names.items():
            for key, value in self.dense.state[parameter].items():
                state[f"{name}.{key}"] = value
        for name, part in self.rows.items():
            for key, value in part.state.items():
                state[f"{name}.{key}"] = value
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`.

        RAISES: KeyError if a tensor is missing.
        """
        # PyTorch's fused AdamW counts steps on the device, its Adagrad on the host.
        on_host = self.settings.name == "adagrad"
        for name, parameter in self.names.items():
            buffers = self.dense.state[parameter]
            prefix = name + "."
            keys = {
                key[len(prefix) :]
                for key in state
                if key.startswith(prefix) and "." not in key[len(prefix) :]
            }
            for key in sorted({*buffers, *keys}):
                value = state[prefix + key].clone()
                if key != "step" or not on_host:
                    value = value.to(parameter.device)
                buffers[key] = value
        for name, part in self.rows.items():
            for key in part.state:
                part.state[key].copy_(state[f"{name}.{key}"])


class _Rows:
    """Updates some rows of a matrix per step. Rows that a step does not touch keep
    their momentum, as with torch.optim.SparseAdam.

    parameter (nn.Parameter): The matrix, (n_words, width).
    settings (OptimizerSettings): Name and hyperparameters of the optimizer.
    """

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
        """Update rows.

        ids (Tensor): Distinct numbers of the rows, (n,).
        rows (Tensor): Their weights, (n, width).
        gradient (Tensor): Their gradient, (n, width).
        rate (float): Learning rate.
        step (int): Number of the step, counted from 0.
        """
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
        self.parameter.index_copy_(0, ids, rows.detach() - rate * change)


_ADAGRAD_EPS = 1e-10
"""PyTorch's default; the published trainer uses none."""


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
    # Weight decay applies to matrices, not to biases.
    groups: Dict[bool, List[nn.Parameter]] = {False: [], True: []}
    for name, parameter in names.items():
        groups[name.endswith("bias")].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": groups[False], "weight_decay": settings.weight_decay},
            {"params": groups[True], "weight_decay": 0.0},
        ],
        lr=settings.learn_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )
