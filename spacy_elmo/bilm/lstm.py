"""The LSTM of ELMo: a projection (Sak et al. 2014), and bounds on the memory cell and
on the output, which no library's fused LSTM has."""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from .config import BiLMConfig
from .precision import linear

_BLOCK_ROWS = 2048
"""Rows whose input products are formed at once: enough for a full-speed matrix product,
few enough to bound the memory (2048 rows of the original size are 134 MB)."""


class LSTMState(NamedTuple):
    """Where the LSTM stands after a batch, one row a sequence.

    hidden: the clipped output, (n_sequences, projection_dim).
    cell: the clipped memory cell, (n_sequences, dim).
    """

    hidden: Tensor
    cell: Tensor


class ProjectedLSTM(nn.Module):
    """One layer in one direction over packed sequences.

    c' = clip(sigmoid(i)·tanh(g) + sigmoid(f + forget_bias)·c)
    h' = clip(W_hr (sigmoid(o)·tanh(c')))

    Weights have PyTorch's names, shapes and gate order (i, f, g, o). Without a
    projection (`config.has_lstm_projection`), h' is not clipped either.
    """

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        dim, width = config.dim, config.projection_dim
        self.cell_clip = config.cell_clip
        self.proj_clip = config.proj_clip
        self.forget_bias = config.forget_bias
        self.weight_ih = nn.Parameter(torch.empty(4 * dim, width))
        self.weight_hh = nn.Parameter(torch.empty(4 * dim, width))
        self.bias = nn.Parameter(torch.empty(4 * dim))
        self.weight_hr: Optional[nn.Parameter] = None
        if config.has_lstm_projection:
            self.weight_hr = nn.Parameter(torch.empty(width, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/sqrt(fan in), as torch.nn.LSTM; bias 0."""
        for weight in (self.weight_ih, self.weight_hh, self.weight_hr):
            if weight is not None:
                bound = weight.shape[1] ** -0.5
                nn.init.uniform_(weight, -bound, bound)
        nn.init.zeros_(self.bias)

    @property
    def dim(self) -> int:
        return self.bias.shape[0] // 4

    def zero_state(self, n_sequences: int) -> LSTMState:
        new = self.bias.new_zeros
        return LSTMState(
            new(n_sequences, self.weight_hh.shape[1]), new(n_sequences, self.dim)
        )

    def forward(
        self,
        inputs: Tensor,
        batch_sizes: Sequence[int],
        state: Optional[LSTMState] = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tuple[Tensor, LSTMState]:
        """Run over packed sequences.

        inputs: (n_rows, projection_dim), packed as `batch_sizes` says.
        batch_sizes: the number of running sequences at each step, never rising.
        state: to start from, a row a sequence, the longest first; None: zeros.
        dtype: of the matrix products, float32 or bfloat16.
        RETURNS: the clipped outputs (n_rows, projection_dim), packed like the inputs,
            and each sequence's state after its own last step.
        """
        hidden, cell = state or self.zero_state(batch_sizes[0])
        w_ih, w_hh = self.weight_ih.to(dtype), self.weight_hh.to(dtype)
        w_hr = None if self.weight_hr is None else self.weight_hr.to(dtype)
        bias = self.bias.clone()
        bias[self.dim : 2 * self.dim] += self.forget_bias
        outputs: List[Tensor] = []
        ended: List[LSTMState] = []
        for first_row, sizes in _blocks(batch_sizes):
            rows = inputs[first_row : first_row + sum(sizes)]
            gates_of_inputs = linear(rows, w_ih, bias, dtype).split(sizes)
            for size, gates_in in zip(sizes, gates_of_inputs):
                if size < len(hidden):
                    ended.append(LSTMState(hidden[size:], cell[size:]))
                    hidden, cell = hidden[:size], cell[:size]
                gates = linear(hidden, w_hh, None, dtype).add_(gates_in)
                hidden, cell = self._step(gates, cell, w_hr)
                outputs.append(hidden)
        ended.append(LSTMState(hidden, cell))
        last = LSTMState(*(torch.cat(part[::-1]) for part in zip(*ended)))
        return torch.cat(outputs), last

    def _step(
        self, gates: Tensor, cell: Tensor, w_hr: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        i, f, g, o = gates.chunk(4, dim=1)
        cell = torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f) * cell
        if self.cell_clip is not None:
            cell = cell.clamp(-self.cell_clip, self.cell_clip)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        if w_hr is not None:
            hidden = linear(hidden, w_hr, None, w_hr.dtype)
            if self.proj_clip is not None:
                hidden = hidden.clamp(-self.proj_clip, self.proj_clip)
        return hidden, cell


def _blocks(batch_sizes: Sequence[int]) -> Iterator[Tuple[int, List[int]]]:
    """Group steps into blocks of about _BLOCK_ROWS rows: (first row, sizes)."""
    first_row, rows = 0, 0
    sizes: List[int] = []
    for size in batch_sizes:
        if sizes and rows + size > _BLOCK_ROWS:
            yield first_row, sizes
            first_row, rows, sizes = first_row + rows, 0, []
        sizes.append(size)
        rows += size
    if sizes:
        yield first_row, sizes
