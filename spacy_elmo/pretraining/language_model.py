"""The biLM with its output layer, whose loss pretraining minimizes (Peters et al. 2018,
section 3.1)."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..bilm import BiLM
from ..bilm.backends import Backend, LSTMState
from ..bilm.softmax import OutputLayer, SampledSoftmax, sampled_loss
from ..bilm.stack import apply_dropout, run_stack
from .data.batches import Batch, Sample
from .distillation import LayerMatch, Teacher

State = List[LSTMState]
"""For each layer, and then for each layer of the teacher if there is one: hidden (2,
n_lanes, projection_dim) and cell (2, n_lanes, dim). Index 0 is the forward LM."""


class WindowLosses(NamedTuple):
    """Losses of a window of B lanes of U steps.

    words (Tensor): Negative log likelihood of each target, of shape (2, U, B), which a
        sampled softmax only estimates.
    state (State): The detached state after the window.
    teacher (Optional[Tensor]): Distance between the layers of each word and the
        teacher's, of shape (2, U, B). None without a teacher.
    """

    words: Tensor
    state: State
    teacher: Optional[Tensor]


class SampledRows:
    """The rows of a sampled softmax that a step uses, as leaves that get its gradient:
    `weight`, (n_rows, projection_dim), and `bias`, (n_rows, 1). `ids`, (n_rows,), are
    their numbers.

    softmax (SampledSoftmax): The output layer.
    sample (Sample): Targets and sampled words of the step.
    """

    def __init__(self, softmax: SampledSoftmax, sample: Sample) -> None:
        self.ids = sample.rows
        self.weight = softmax.weight.detach()[self.ids].requires_grad_()
        self.bias = softmax.bias.detach()[self.ids].requires_grad_()

    def loss(self, hidden: Tensor, sample: Sample, backend: Backend) -> Tensor:
        """Compute the sampled loss.

        hidden (Tensor): Output of the top layer, (2 * U * B, projection_dim).
        sample (Sample): Targets and sampled words of the same rows.
        RETURNS (Tensor): Loss per target, (2 * U * B,).
        """
        return sampled_loss(
            backend,
            hidden,
            self.weight,
            self.bias - sample.correction[:, None],
            sample.true.flatten(),
            sample.drawn,
            sample.columns.flatten(),
        )


class LanguageModel(nn.Module):
    """Forward and backward LM, which share the character encoder and the softmax.

    bilm (BiLM): The network.
    softmax (OutputLayer): The output layer.
    teacher (Optional[Teacher]): Trained biLM whose layers the network learns to match.
    """

    def __init__(
        self, bilm: BiLM, softmax: OutputLayer, teacher: Optional[Teacher] = None
    ) -> None:
        super().__init__()
        self.bilm = bilm
        self.softmax = softmax
        self.teacher = teacher
        self.match: Optional[LayerMatch] = None
        if teacher is not None:
            self.match = LayerMatch(bilm.config, teacher.bilm.config)
        self._captured: Dict[Any, Callable[..., Tuple[Tensor, ...]]] = {}

    @property
    def device(self) -> torch.device:
        return self.bilm.device

    def zero_state(self, n_lanes: int) -> State:
        """The state in which each lane starts."""
        state = self.bilm.zero_states(n_lanes)
        if self.teacher is not None:
            state += self.teacher.bilm.zero_states(n_lanes)
        return state

    def forward(
        self,
        batch: Batch,
        state: State,
        *,
        rows: Optional[SampledRows] = None,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> WindowLosses:
        """Compute the training loss of a window.

        batch (Batch): Inputs and targets.
        state (State): LSTM state at the start of the window.
        rows (Optional[SampledRows]): Rows of `batch.sample`, if the softmax is sampled.
        dropout (float): Dropout rate on the input of each LSTM layer and on the output
            of the top layer.
        dtype (torch.dtype): Type of the operands of matrix products, float32 or
            bfloat16.
        """
        n_layers = self.bilm.config.n_layers
        layers, after = self._run(batch, state[:n_layers], dropout, dtype)
        flat = layers.top.flatten(0, 1)
        if batch.sample is None:
            backend = self.bilm.backend(dtype)
            losses = self.softmax(flat, batch.targets.flatten(), backend)
        elif rows is None:
            raise ValueError(
                "rows: expected the sampled rows of the batch, found None. Pass them, "
                "or a batch without a sample."
            )
        else:
            losses = rows.loss(flat, batch.sample, self.bilm.backend(dtype))
        shape, distance = batch.targets.shape, None
        if self.match is not None and self.teacher is not None:
            assert batch.clean is not None, "made for a model with a teacher"
            targets = self.teacher.read(batch.clean, state[n_layers:])
            backend = self.bilm.backend(dtype)
            distance = self.match(layers.all, targets.layers, backend).view(shape)
            after += targets.state
        return WindowLosses(losses.view(shape), after, distance)

    def contextualize(
        self,
        batch: Batch,
        state: State,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> Tuple[Tensor, State]:
        """Compute the output of the top layer, (2, U, B, projection_dim), and the
        detached state after the window."""
        layers, after = self._run(batch, state, dropout, dtype)
        return layers.top.view(*batch.inputs.shape, -1), after

    def _run(
        self, batch: Batch, state: State, dropout: float, dtype: torch.dtype
    ) -> Tuple["_Layers", State]:
        vectors = self.bilm.encode_characters(
            batch.char_ids, batch.word_ids, batch.lengths, self.bilm.bind(dtype)
        )
        inputs = F.embedding(batch.inputs.flatten(1), vectors)
        stack = self._stack(batch.inputs.shape, dropout, dtype)
        top, *outputs = stack(inputs, *(tensor for layer in state for tensor in layer))
        outputs, after = outputs[: -2 * len(state)], outputs[-2 * len(state) :]
        # The next replay of a CUDA graph overwrites its outputs.
        ends = [tensor.detach().clone() for tensor in after]
        pairs = zip(ends[::2], ends[1::2])
        return _Layers(top, [inputs, *outputs]), [LSTMState(*p) for p in pairs]

    def capture(
        self,
        unroll_steps: int,
        n_lanes: int,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Capture the forward and backward pass of the LSTMs as CUDA graphs, for
        windows of shape (2, unroll_steps, n_lanes). Training replays them, so that the
        GPU does not wait for the host to launch small kernels.

        RAISES: RuntimeError if the device cannot capture them.
        """
        shape = torch.Size([2, unroll_steps, n_lanes])
        stack = self._new_stack(shape, dropout, dtype)
        width = self.bilm.config.projection_dim
        inputs = torch.zeros(
            2, unroll_steps * n_lanes, width, device=self.device, requires_grad=True
        )
        state = [t for layer in self.bilm.zero_states(n_lanes) for t in layer]
        captured: Any = torch.cuda.make_graphed_callables(
            stack, (inputs, *state), allow_unused_input=True
        )
        self._captured[(shape, dropout, dtype)] = captured

    def freeze_bilm(self, frozen: bool) -> None:
        """Freeze the network, while a new output layer is trained alone, or unfreeze
        it."""
        for parameter in self.bilm.parameters():
            parameter.requires_grad_(not frozen)

    def _stack(
        self, shape: torch.Size, dropout: float, dtype: torch.dtype
    ) -> Callable[..., Tuple[Tensor, ...]]:
        trained = next(self.bilm.parameters()).requires_grad
        captured = self._captured.get((shape, dropout, dtype))
        if captured is not None and trained and torch.is_grad_enabled():
            return captured
        return self._new_stack(shape, dropout, dtype)

    def _new_stack(
        self, shape: torch.Size, dropout: float, dtype: torch.dtype
    ) -> "_Stack":
        all_layers = self.match is not None
        return _Stack(self.bilm, shape, dropout, dtype, all_layers=all_layers)


class _Layers(NamedTuple):
    """Layers of a window, each of shape (2, U B, projection_dim).

    top (Tensor): The top layer, after dropout.
    all (List[Tensor]): The word vectors and, if there is a teacher, the LSTM layers.
    """

    top: Tensor
    all: List[Tensor]


class _Stack(nn.Module):
    """The LSTMs of both directions over windows of one shape: the part of a step whose
    shapes never change.

    bilm (BiLM): The network.
    shape (torch.Size): Shape of the windows, (2, U, B).
    dropout (float): Dropout rate on the input of each layer and on the top layer.
    dtype (torch.dtype): Dtype of the matrix products.
    all_layers (bool): Whether to return every layer.
    """

    def __init__(
        self,
        bilm: BiLM,
        shape: torch.Size,
        dropout: float,
        dtype: torch.dtype,
        *,
        all_layers: bool,
    ) -> None:
        super().__init__()
        # Registered, so that a captured graph has their gradients.
        self.forward_layers = bilm.forward_layers
        self.backward_layers = bilm.backward_layers
        self.lstms = bilm.bind(dtype).lstms
        self.skip_connections = bilm.config.use_skip_connections
        self.batch_sizes = [shape[2]] * shape[1]
        self.dropout = dropout
        self.all_layers = all_layers

    def forward(self, inputs: Tensor, *state: Tensor) -> Tuple[Tensor, ...]:
        """Run the stack.

        inputs (Tensor): (2, U B, projection_dim).
        state (Tensor): Hidden and cell of each layer.
        RETURNS (Tuple[Tensor, ...]): The top layer after dropout, in the shape of the
            inputs; every LSTM layer, if asked for; and the state after the window.
        """
        states = [LSTMState(*pair) for pair in zip(state[::2], state[1::2])]
        outputs, after = run_stack(
            self.lstms,
            inputs,
            self.batch_sizes,
            states,
            skip_connections=self.skip_connections,
            dropout=self.dropout,
        )
        top = apply_dropout(outputs[-1], self.dropout)
        layers = outputs if self.all_layers else []
        return (top, *layers, *(tensor for layer in after for tensor in layer))
