"""The backend of x86-64 and ARM CPUs: compiled kernels."""

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
    PreparedSoftmax,
    RunLSTM,
)
from . import char_cnn, gemm, instructions, lstm, softmax
from .workspace import Workspace


class CPUBackend:
    """Computes with compiled kernels, in float32 outside the matrix products.

    dtype (torch.dtype): Dtype of the matrix products, float32, bfloat16, or int8, for
        the `prepare_` methods alone. Without instructions for bfloat16, operands are
        rounded to it and multiplied in float32.
    training (bool): Whether buffers are kept from one backward pass to the next.
    """

    device = torch.device("cpu")

    def __init__(self, dtype: torch.dtype, training: bool = False) -> None:
        self.dtype = dtype
        self.workspace = Workspace() if training else None
        instruction_set = instructions.selected()
        self.name = f"compiled kernels ({instruction_set and instruction_set.name})"

    @staticmethod
    def why_absent() -> Optional[str]:
        """Tell why the kernels are not used here, or None if they are."""
        return instructions.why_absent()

    @staticmethod
    def why_no_int8() -> Optional[str]:
        """Tell why the kernels do not multiply int8 here, or None if they do."""
        return instructions.why_no_int8()

    @staticmethod
    def has_native_bfloat16() -> bool:
        """Tell whether the selected instructions multiply bfloat16."""
        instruction_set = instructions.selected()
        return instruction_set is not None and instruction_set.multiplies_bfloat16

    def lstm(
        self,
        inputs: Tensor,
        batch_sizes: Sequence[int],
        state: LSTMState,
        weights: Sequence[LSTMWeights],
        clips: Clips,
    ) -> Tuple[Tensor, LSTMState]:
        return lstm.lstm(
            inputs, batch_sizes, state, weights, clips, self.dtype, self.workspace
        )

    def char_cnn(
        self,
        characters: Tensor,
        weight: Tensor,
        filters: Filters,
        lengths: Sequence[int],
    ) -> Tensor:
        return char_cnn.char_cnn(characters, weight, filters, lengths, self.workspace)

    def sampled_loss(
        self,
        hidden: Tensor,
        true_logits: Tensor,
        rows: Tensor,
        bias: Tensor,
        columns: Tensor,
    ) -> Tensor:
        return softmax.sampled_loss(
            hidden, true_logits, rows, bias, columns, self.dtype, self.workspace
        )

    def linear(self, inputs: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        return gemm.linear(inputs, weight, bias, self.dtype, self.workspace)

    def prepare_lstm(self, weights: Sequence[LSTMWeights], clips: Clips) -> RunLSTM:
        return lstm.PreparedLSTM(weights, clips, self.dtype)

    def prepare_char_cnn(self, weight: Tensor, filters: Filters) -> ApplyCharCNN:
        # There is no kernel for bfloat16.
        dtype = torch.int8 if self.dtype == torch.int8 else torch.float32
        return char_cnn.PreparedCharCNN(weight, filters, dtype)

    def prepare_linear(self, weight: Tensor, bias: Optional[Tensor]) -> ApplyLinear:
        return gemm.PackedLinear(weight, bias, self.dtype)

    def prepare_softmax(self, weight: Tensor, bias: Tensor) -> PreparedSoftmax:
        if self.dtype == torch.int8:
            raise ValueError("dtype: expected float32 or bfloat16, found int8.")
        return softmax.PackedSoftmax(weight, bias, self.dtype)
