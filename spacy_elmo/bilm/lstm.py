"""The LSTM layer of ELMo: its parameters, and the packing of its sequences."""

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from .backends import Backend, Clips, LSTMState, LSTMWeights, select_backend
from .config import BiLMConfig

__all__ = ["LSTMState", "Packing", "ProjectedLSTM"]


class ProjectedLSTM(nn.Module):
    """One layer in one direction: an LSTM with projection (Sak et al. 2014) and bounds
    on its memory cell and its output.

    c' = clip(sigmoid(i) tanh(g) + sigmoid(f + forget_bias) c)
    h' = clip(W_hr (sigmoid(o) tanh(c')))

    Parameters have PyTorch's names, shapes and gate order (i, f, g, o). Without a
    projection (`config.has_lstm_projection`), h' is not clipped either.

    config (BiLMConfig): Sizes, clips and forget bias.
    """

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        dim, width = config.dim, config.projection_dim
        self.clips = Clips(config.cell_clip, config.proj_clip)
        self.forget_bias = config.forget_bias
        self.weight_ih = nn.Parameter(torch.empty(4 * dim, width))
        self.weight_hh = nn.Parameter(torch.empty(4 * dim, width))
        self.bias = nn.Parameter(torch.empty(4 * dim))
        self.weight_hr: Optional[nn.Parameter] = None
        if config.has_lstm_projection:
            self.weight_hr = nn.Parameter(torch.empty(width, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights from ±1/sqrt(fan-in), as torch.nn.LSTM does; biases are 0."""
        for weight in (self.weight_ih, self.weight_hh, self.weight_hr):
            if weight is not None:
                bound = weight.shape[1] ** -0.5
                nn.init.uniform_(weight, -bound, bound)
        nn.init.zeros_(self.bias)

    @property
    def dim(self) -> int:
        return self.bias.shape[0] // 4

    def weights(self) -> LSTMWeights:
        """Return the weights as a backend takes them, connected to the parameters."""
        forget_bias = self.bias.new_zeros(4, self.dim)
        forget_bias[1] = self.forget_bias
        return LSTMWeights(
            self.weight_ih,
            self.weight_hh,
            self.bias + forget_bias.view(-1),
            self.weight_hr,
        )

    def forward(
        self,
        inputs: Tensor,
        batch_sizes: Sequence[int],
        state: Optional[LSTMState] = None,
        backend: Optional[Backend] = None,
    ) -> Tuple[Tensor, LSTMState]:
        """Run over packed sequences.

        inputs (Tensor): Packed rows, (n_rows, projection_dim).
        batch_sizes (Sequence[int]): Number of running sequences at each step, in
            non-increasing order.
        state (Optional[LSTMState]): Initial hidden (n_sequences, projection_dim) and
            cell (n_sequences, dim), longest sequence first. None for zeros.
        backend (Optional[Backend]): None for the default with products in the dtype of
            the weights.
        RETURNS (Tuple[Tensor, LSTMState]): Clipped outputs, packed like the inputs,
            and the state of each sequence after its own last step.
        """
        if backend is None:
            dtype = self.bias.dtype
            backend = select_backend(self.bias.device, dtype, state_dtype=dtype)
        if state is None:
            sizes = self.weight_hh.shape[1], self.dim
            state = LSTMState(*(self.bias.new_zeros(batch_sizes[0], n) for n in sizes))
        outputs, last = backend.lstm(
            inputs[None],
            batch_sizes,
            LSTMState(state.hidden[None], state.cell[None]),
            [self.weights()],
            self.clips,
        )
        return outputs[0], LSTMState(last.hidden[0], last.cell[0])


@dataclass(frozen=True)
class Packing:
    """Sequences of different lengths, packed without padding: all first steps, then all
    second steps, and so on, longest sequence first.

    batch_sizes (List[int]): Number of running sequences at each step.
    order (Tensor): Indices of the sequences, longest first, (n_sequences,).
    forward, backward (Tensor): For each packed row, the index of its row in the
        concatenated sequences, read from left to right, or from right to left within
        each sequence; (n_rows,) each.
    unpack_forward, unpack_backward (Tensor): The inverse permutations.
    """

    batch_sizes: List[int]
    order: Tensor
    forward: Tensor
    backward: Tensor
    unpack_forward: Tensor
    unpack_backward: Tensor

    @classmethod
    def from_lengths(cls, lengths: Sequence[int], device: torch.device) -> "Packing":
        """Pack sequences.

        lengths (Sequence[int]): Length of each sequence, at least 1, in the order of
            their rows.
        device (torch.device): Device of the index tensors.
        """
        sizes = np.asarray(lengths, dtype=np.int64)
        order = np.argsort(-sizes, kind="stable")
        starts = np.cumsum(sizes) - sizes
        n_ending = np.bincount(sizes)[1:]
        batch_sizes = len(sizes) - np.cumsum(n_ending) + n_ending
        step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
        first_row = np.cumsum(batch_sizes) - batch_sizes
        sequence = order[np.arange(len(step)) - first_row[step]]
        forward = starts[sequence] + step
        backward = starts[sequence] + sizes[sequence] - 1 - step
        unpack = np.argsort(forward), np.argsort(backward)
        indices = map(torch.from_numpy, (order, forward, backward, *unpack))
        return cls(batch_sizes.tolist(), *(index.to(device) for index in indices))
