"""The backend of x86-64 CPUs: compiled kernels."""

from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..backend import (
    ApplyCharCNN,
    ApplyLinear,
    Clips,
    Filters,
    LSTMState,
    LSTMWeights,
    RunLSTM,
)
from ..torch_backend import TorchBackend, flatten, needs_gradient
from . import available, char_cnn, lstm, softmax


class CPUBackend:
    """Computes with compiled kernels, in float32 outside the matrix products.

    LSTMs without a projection are left to PyTorch; no published model has them.

    dtype (torch.dtype): Dtype of the matrix products, float32 or bfloat16. Without
        instructions for bfloat16, operands are rounded to it and multiplied in
        float32.
    training (bool): Whether buffers are kept from one backward pass to the next.
    """

    name = "compiled kernels"
    device = torch.device("cpu")

    def __init__(self, dtype: torch.dtype, training: bool = False) -> None:
        self.dtype = dtype
        self.reference = TorchBackend(self.device, dtype)

    @staticmethod
    def why_absent() -> Optional[str]:
        """Tell why the kernels are not used here, or None if they are."""
        if available.are_used():
            return None
        return available.why_absent() or "turned off"

    def lstm(
        self,
        inputs: Tensor,
        batch_sizes: Sequence[int],
        state: LSTMState,
        weights: Sequence[LSTMWeights],
        clips: Clips,
    ) -> Tuple[Tensor, LSTMState]:
        if not lstm.fits(weights[0], len(weights), batch_sizes[0]):
            return self.reference.lstm(inputs, batch_sizes, state, weights, clips)
        if not needs_gradient(inputs, *state, *flatten(weights)):
            run = lstm.PreparedLSTM(weights, clips, self.dtype, lasting=False)
            return run(inputs, batch_sizes, state)
        return lstm.lstm(inputs, batch_sizes, state, weights, clips, self.dtype)

    def char_cnn(
        self,
        characters: Tensor,
        weight: Tensor,
        filters: Filters,
        lengths: Sequence[int],
    ) -> Tensor:
        if not char_cnn.fits(weight):
            return self.reference.char_cnn(characters, weight, filters, lengths)
        return char_cnn.char_cnn(characters, weight, filters.sizes, lengths)

    def sampled_loss(
        self,
        hidden: Tensor,
        true_logits: Tensor,
        rows: Tensor,
        bias: Tensor,
        columns: Tensor,
    ) -> Tensor:
        if not softmax.fits(rows):
            return self.reference.sampled_loss(hidden, true_logits, rows, bias, columns)
        return softmax.sampled_loss(
            hidden, true_logits, rows, bias, columns, self.dtype
        )

    def linear(self, inputs: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        return self.reference.linear(inputs, weight, bias)

    def prepare_lstm(self, weights: Sequence[LSTMWeights], clips: Clips) -> RunLSTM:
        if weights[0].projection is None:
            return self.reference.prepare_lstm(weights, clips)
        if not lstm.fits(weights[0], len(weights), 1 << 30):
            return self.reference.prepare_lstm(weights, clips)
        return lstm.PreparedLSTM(weights, clips, self.dtype)

    def prepare_char_cnn(self, weight: Tensor, filters: Filters) -> ApplyCharCNN:
        return lambda characters, lengths: self.char_cnn(
            characters, weight, filters, lengths
        )

    def prepare_linear(self, weight: Tensor, bias: Optional[Tensor]) -> ApplyLinear:
        return self.reference.prepare_linear(weight, bias)
