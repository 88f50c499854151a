"""The reference backend: plain PyTorch, for any device and dtype."""

from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from . import torch_char_cnn, torch_softmax
from .backend import (
    ApplyCharCNN,
    ApplyLinear,
    Clips,
    Filters,
    LSTMState,
    LSTMWeights,
    PreparedSoftmax,
    RunLSTM,
)
from .cuda_graphs import GraphedLSTM
from .torch_gates import PLAIN, Gates, compiled_gates
from .torch_lstm import lstm, run_lstm, stack_weights


class TorchBackend:
    """Computes with PyTorch's operations. On a GPU, the element-wise part of the LSTM
    steps is compiled, and inference replays CUDA graphs.

    device (torch.device): Device of the tensors.
    dtype (torch.dtype): Dtype of the matrix products.
    reason (str): Why nothing faster was selected, if anything, to be shown to users.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, reason: str = ""
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.name = f"PyTorch ({reason})" if reason else "PyTorch"

    def gates(self, training: bool) -> Gates:
        """Return the element-wise functions of an LSTM step for this device."""
        if self.device.type != "cuda":
            return PLAIN
        return compiled_gates(self.device, self.dtype, training)

    def lstm(
        self,
        inputs: Tensor,
        batch_sizes: Sequence[int],
        state: LSTMState,
        weights: Sequence[LSTMWeights],
        clips: Clips,
    ) -> Tuple[Tensor, LSTMState]:
        stacked = stack_weights(weights, self.dtype)
        training = torch.is_grad_enabled() and any(
            tensor is not None and tensor.requires_grad
            for tensor in (inputs, *state, *stacked)
        )
        run = lstm if training else run_lstm
        gates = self.gates(training)
        outputs, last, *_ = run(inputs, batch_sizes, state, stacked, clips, gates)
        return outputs, last

    def char_cnn(
        self,
        characters: Tensor,
        weight: Tensor,
        filters: Filters,
        lengths: Sequence[int],
    ) -> Tensor:
        return torch_char_cnn.char_cnn(characters, weight, filters, lengths, self.dtype)

    def sampled_loss(
        self,
        hidden: Tensor,
        true_logits: Tensor,
        rows: Tensor,
        bias: Tensor,
        columns: Tensor,
    ) -> Tensor:
        return torch_softmax.sampled_loss(
            hidden, true_logits, rows, bias, columns, self.dtype
        )

    def linear(self, inputs: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        return linear(inputs, weight.to(self.dtype), bias)

    def prepare_lstm(self, weights: Sequence[LSTMWeights], clips: Clips) -> RunLSTM:
        with torch.no_grad():
            on_cpu = self.device.type == "cpu"
            stacked = stack_weights(weights, self.dtype, contiguous=on_cpu)
        gates = self.gates(training=False)
        if self.device.type == "cuda":
            return GraphedLSTM(stacked, clips, gates)

        def run(
            inputs: Tensor, batch_sizes: Sequence[int], state: LSTMState
        ) -> Tuple[Tensor, LSTMState]:
            return run_lstm(inputs, batch_sizes, state, stacked, clips, gates)[:2]

        return run

    def prepare_char_cnn(self, weight: Tensor, filters: Filters) -> ApplyCharCNN:
        weight = weight.detach()
        return lambda characters, lengths: self.char_cnn(
            characters, weight, filters, lengths
        )

    def prepare_linear(self, weight: Tensor, bias: Optional[Tensor]) -> ApplyLinear:
        low = weight.detach().to(self.dtype)
        return lambda inputs: linear(inputs, low, bias)

    def prepare_softmax(self, weight: Tensor, bias: Tensor) -> PreparedSoftmax:
        low = weight.detach().to(self.dtype)
        return torch_softmax.ExactSoftmax(low, bias.detach())


def linear(inputs: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """Compute inputs · weightᵀ + bias, the product in the dtype of the weight."""
    product = F.linear(inputs.to(weight.dtype), weight).to(inputs.dtype)
    return product if bias is None else product + bias
