"""One layer of the forward LM and the one of the backward LM: on the same rows, never
mixed, and so side by side wherever that is faster."""

from functools import partial
from typing import List, Sequence, Tuple

import torch
from torch import Tensor

from . import onednn
from .backends.cpu.lstm import pays
from .lstm import LSTMState, ProjectedLSTM, ReadyLSTM, RunLayers, run_side_by_side
from .recorded import record_graph

_SMALL_BYTES = 4 << 20
_FEW_SEQUENCES = 96
"""On a CPU directions run side by side if their weights fit into a core's cache and no
more sequences than this keep it busy."""


class Directions:
    """Side by side by the compiled kernels, or where many small operations cost more
    than what they compute; else one after the other.

    layers: the two. dtype: of the matrix products.
    """

    # oneDNN forms each direction's products in a call of its own either way: it is busy
    # with one of so many multiplications.
    busy_onednn = 1 << 22

    def __init__(self, layers: Sequence[ProjectedLSTM], dtype: torch.dtype) -> None:
        self.layers = layers
        self.dtype = dtype
        weight = layers[0].weight_hh
        self.n_weights = weight.numel()
        self.on_gpu = weight.is_cuda
        self.small = weight.numel() * weight.element_size() <= _SMALL_BYTES

    def run(
        self, inputs: Tensor, batch_sizes: Sequence[int], hidden: Tensor, cell: Tensor
    ) -> Tuple[LSTMState, Tensor]:
        """As `run_side_by_side`."""
        groups = self.groups(batch_sizes[0])
        size = 2 // len(groups)
        parts = []
        for number, group in enumerate(groups):
            own = slice(number * size, (number + 1) * size)
            parts.append(group(inputs[own], batch_sizes, hidden[own], cell[own]))
        if len(parts) == 1:
            return parts[0]
        ends, outputs = zip(*parts)
        return LSTMState(*map(torch.cat, zip(*ends))), torch.cat(outputs)

    def groups(self, n_sequences: int) -> Sequence[RunLayers]:
        """What runs one after the other, with so many sequences each."""
        layer = self.layers[0]
        if pays(layer.weight_hh, layer.weight_hr, self.dtype, 2, n_sequences):
            return self.by_kernels()
        alone = not self.small or self.is_busy(n_sequences)
        return self.together() if self.on_gpu or not alone else self.apart()

    def is_busy(self, n_sequences: int) -> bool:
        """Whether one direction with so many keeps a CPU busy."""
        if self.dtype == torch.float32 and onednn.is_chosen():
            return n_sequences * self.n_weights >= self.busy_onednn
        return n_sequences > _FEW_SEQUENCES

    def by_kernels(self) -> Sequence[RunLayers]:
        return self.together()

    def together(self) -> Sequence[RunLayers]:
        return [partial(run_side_by_side, self.layers, dtype=self.dtype)]

    def apart(self) -> Sequence[RunLayers]:
        return [
            partial(run_side_by_side, [layer], dtype=self.dtype)
            for layer in self.layers
        ]


class ReadyDirections(Directions):
    """With the present weights laid out to run without gradients."""

    busy_onednn = 1 << 21

    def __init__(self, layers: Sequence[ProjectedLSTM], dtype: torch.dtype) -> None:
        super().__init__(layers, dtype)
        self._by_kernels: List[RunLayers] = []
        self._together: List[RunLayers] = []
        self._apart: List[RunLayers] = []

    def by_kernels(self) -> Sequence[RunLayers]:
        if not self._by_kernels:
            self._by_kernels = [ReadyLSTM(self.layers, self.dtype, by_kernels=True).run]
        return self._by_kernels

    def together(self) -> Sequence[RunLayers]:
        if not self._together:
            ready = ReadyLSTM(self.layers, self.dtype, record=record_graph)
            self._together = [ready.run]
        return self._together

    def apart(self) -> Sequence[RunLayers]:
        if not self._apart:
            self._apart = [ReadyLSTM([layer], self.dtype).run for layer in self.layers]
        return self._apart
