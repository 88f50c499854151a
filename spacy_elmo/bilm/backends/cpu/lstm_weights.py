"""Weights of LSTMs, padded and packed for the compiled kernels.

Shapes: G LSTMs side by side, D = dim, P = projection_dim.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import LSTMWeights
from .gemm import pack
from .instructions import Arithmetic
from .workspace import Workspace


@dataclass(frozen=True)
class Sizes:
    """Sizes of an LSTM, and their padded counterparts in the kernels.

    dim, projection_dim (int): The true sizes.
    arithmetic (Arithmetic): Arithmetic of the products.
    """

    dim: int
    projection_dim: int
    arithmetic: Arithmetic

    @classmethod
    def of(cls, weights: LSTMWeights, arithmetic: Arithmetic) -> "Sizes":
        n_gates, projection_dim = weights.hidden.shape
        return cls(n_gates // 4, projection_dim, arithmetic)

    @cached_property
    def padded(self) -> Tuple[int, int]:
        """dim and projection_dim in whole panels: the widths of the kernels' rows."""
        columns = self.arithmetic.instructions.panel_columns
        return _round_up(self.dim, columns), _round_up(self.projection_dim, columns)

    @cached_property
    def of_kernels(self) -> Tuple[int, int, int, int]:
        """The padded sizes, and those that are multiplied."""
        per_unit = self.arithmetic.per_unit
        depths = (_round_up(n, per_unit) for n in (self.dim, self.projection_dim))
        return (*self.padded, *depths)  # type: ignore[return-value]

    def pad_gates(self, weight: Tensor) -> Tensor:
        """Pad each gate's rows, (4 D, ...)."""
        missing = self.padded[0] - self.dim
        if not missing:
            return weight
        gates = weight.detach().unflatten(0, (4, self.dim))
        padding = [0, 0] * (gates.dim() - 2) + [0, missing]
        return F.pad(gates, padding).flatten(0, 1)

    def unpad_gates(self, gradient: Tensor) -> Tensor:
        """Undo `pad_gates`, and drop the columns of padding."""
        gates = gradient.unflatten(0, (4, self.padded[0]))[:, : self.dim]
        if gates.dim() > 2:
            gates = gates[..., : self.projection_dim]
        return gates.flatten(0, 1)


class Panels(NamedTuple):
    """Weights of one LSTM, packed for the products of one direction of time.

    input, hidden, projection (Optional[Tensor]): Panels; None without a projection.
    """

    input: Tensor
    hidden: Tensor
    projection: Optional[Tensor]

    @classmethod
    def forward(
        cls, weights: LSTMWeights, sizes: Sizes, workspace: Optional[Workspace] = None
    ) -> "Panels":
        """Pack weights for the forward pass."""
        arithmetic, projection = sizes.arithmetic, None

        def gates(weight: Tensor) -> Tensor:
            padded = sizes.pad_gates(weight)
            return pack(padded, arithmetic, gates=True, workspace=workspace).panels

        if weights.projection is not None:
            projection = pack(
                weights.projection, arithmetic, workspace=workspace
            ).panels
        return cls(gates(weights.input), gates(weights.hidden), projection)

    @classmethod
    def backward(
        cls, weights: LSTMWeights, sizes: Sizes, workspace: Optional[Workspace] = None
    ) -> "Panels":
        """Pack weights for the backward pass."""
        arithmetic, projection = sizes.arithmetic, None

        def transposed(weight: Tensor) -> Tensor:
            return pack(weight, arithmetic, transposed=True, workspace=workspace).panels

        if weights.projection is not None:
            projection = transposed(weights.projection)
        gates = sizes.pad_gates(weights.input), sizes.pad_gates(weights.hidden)
        return cls(transposed(gates[0]), transposed(gates[1]), projection)


class PackedLSTM(NamedTuple):
    """Packed weights of LSTMs side by side.

    sizes (Sizes): Their sizes and arithmetic.
    panels (List[Panels]): Weights of each LSTM.
    """

    sizes: Sizes
    panels: List[Panels]

    @classmethod
    def forward(cls, weights: Sequence[LSTMWeights], sizes: Sizes) -> "PackedLSTM":
        """Pack weights for the forward pass."""
        return cls(sizes, [Panels.forward(each, sizes) for each in weights])


def fit_in_half(weights: LSTMWeights) -> bool:
    """Whether float16 represents all weights of the products exactly."""
    matrices = weights.input, weights.hidden, weights.projection
    return all(
        torch.equal(weight.detach().half().float(), weight.detach())
        for weight in matrices
        if weight is not None
    )


def padded_bias(weights: Sequence[LSTMWeights], sizes: Sizes) -> Tensor:
    """Biases of each LSTM, (G, 4 D)."""
    biases = [sizes.pad_gates(each.bias.detach()) for each in weights]
    return torch.stack(biases).contiguous()


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
