"""The LSTM of ELMo: a projection (Sak et al. 2014), and bounds on the memory cell and
on the output, which no library's fused LSTM has."""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor, nn

from .config import BiLMConfig
from .recurrence import Clips, recur

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
        last, outputs = run_side_by_side(
            [self], inputs[None], batch_sizes, hidden[None], cell[None], dtype
        )
        return outputs[0], LSTMState(last.hidden[0], last.cell[0])

    @property
    def clips(self) -> Clips:
        return Clips(self.cell_clip, self.proj_clip)


def run_side_by_side(
    layers: Sequence[ProjectedLSTM],
    inputs: Tensor,
    batch_sizes: Sequence[int],
    hidden: Tensor,
    cell: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tuple[LSTMState, Tensor]:
    """Layers of one shape, each over packed sequences of its own.

    inputs: (n_layers, n_rows, projection_dim), all packed as `batch_sizes` says.
    hidden, cell: the state to start from, with n_layers as first dimension.
    RETURNS: the state after each sequence's last step, in these shapes, and the clipped
        outputs, in that of the inputs.
    """
    w_ih = _together([layer.weight_ih for layer in layers]).to(dtype)
    w_hh = _together([layer.weight_hh for layer in layers])
    bias = _together([layer.bias for layer in layers]).unsqueeze(1)
    # The gates are i, f, g, o.
    always = bias.new_zeros(4, layers[0].dim)
    always[1] = layers[0].forget_bias
    bias = bias + always.view(-1)
    w_hr = None
    if layers[0].weight_hr is not None:
        w_hr = _together([cast(Tensor, layer.weight_hr) for layer in layers])
    outputs: List[Tensor] = []
    ended: List[LSTMState] = []
    for first_row, sizes in _blocks(batch_sizes):
        if sizes[0] < hidden.shape[1]:
            ended.append(LSTMState(hidden[:, sizes[0] :], cell[:, sizes[0] :]))
            hidden, cell = hidden[:, : sizes[0]], cell[:, : sizes[0]]
        rows = inputs[:, first_row : first_row + sum(sizes)]
        product = torch.bmm(rows.to(dtype), w_ih.transpose(1, 2)).to(inputs.dtype)
        gates = product.add_(bias)
        clips = layers[0].clips
        out, hidden, cell = recur(gates, w_hh, w_hr, hidden, cell, sizes, clips, dtype)
        outputs.append(out)
    ended.append(LSTMState(hidden, cell))
    last = LSTMState(*(torch.cat(part[::-1], dim=1) for part in zip(*ended)))
    return last, outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def _together(tensors: Sequence[Tensor]) -> Tensor:
    """As one, without a copy where there is only one."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


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
