"""The LSTM of ELMo: a projection (Sak et al. 2014), and bounds on the memory cell and
on the output, which no library's fused LSTM has."""

import sys
from functools import partial
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor, nn

from .backends.cpu.lstm import BothPanels, KernelRun, Recurrence, pays
from .config import BiLMConfig
from .fused import FusedRun
from .gates import compiled_gates
from .products import BatchedProduct, Product, lay_out
from .recorded import Record, RecordedSteps
from .recurrence import (
    Clips,
    OperationsRun,
    Products,
    Run,
    Weights,
    recur,
    recur_without_gradient,
)

_Block = Tuple[Tensor, Tensor, Tensor]

_BLOCK_BYTES, _BLOCK_BYTES_GPU = 16 << 20, 512 << 20
"""Of the gates of a block of steps: on a CPU what stays in its cache."""

_BLOCK_BYTES_TRAINED = 256 << 20
"""In training a CPU has them in memory either way; the fewer the blocks, the seldomer
the weights' gradients are summed up."""

_LEAST_BLOCK_ROWS = 256
"""With fewer the weights would be read more often than computed with."""


class LSTMState(NamedTuple):
    """Where the LSTM stands after a batch, one row a sequence.

    hidden: the clipped output, (n_sequences, projection_dim).
    cell: the clipped memory cell, (n_sequences, dim).
    """

    hidden: Tensor
    cell: Tensor


RunLayers = Callable[[Tensor, Sequence[int], Tensor, Tensor], Tuple[LSTMState, Tensor]]
"""`run_side_by_side` with its layers."""


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
    first = layers[0]
    by_kernels = pays(
        first.weight_hh, first.weight_hr, dtype, len(layers), batch_sizes[0]
    )
    parameters = [weight for layer in layers for weight in layer.parameters()]
    if not torch.is_grad_enabled() or not any(
        tensor.requires_grad for tensor in (inputs, hidden, cell, *parameters)
    ):
        ready = ReadyLSTM(
            layers, dtype, BatchedProduct, by_kernels=by_kernels, lasting=False
        )
        return ready.run(inputs, batch_sizes, hidden, cell)
    clips = first.clips
    make_run: Callable[[Sequence[int]], Run]
    if by_kernels:
        of_each = _apart(layers)
        make_run = partial(KernelRun, clips=clips, both=BothPanels.of(of_each, dtype))
        flat = [weight for own in of_each for weight in own]
    else:
        weights = _together(layers)
        products = [
            BatchedProduct(weights.ih, dtype),
            BatchedProduct(weights.hh, dtype, n_sums=len(batch_sizes)),
            None if weights.hr is None else BatchedProduct(weights.hr, dtype),
        ]
        make_run = partial(OperationsRun, products, clips=clips)
        if inputs.is_cuda:
            gates = compiled_gates(inputs.device, dtype, True)
            make_run = partial(FusedRun, products, clips=clips, gates=gates)
        flat = list(weights)

    def block(rows: Tensor, hidden: Tensor, cell: Tensor, sizes: List[int]) -> _Block:
        return recur(rows, hidden, cell, flat, make_run(sizes))

    return _in_blocks(
        block,
        inputs,
        batch_sizes,
        hidden,
        cell,
        _block_rows(layers, _BLOCK_BYTES_TRAINED),
    )


class ReadyLSTM:
    """Layers of one shape with their present weights laid out to run without gradients.

    layers: one, or several that run side by side.
    dtype: of the matrix products.
    lay_out: on a CPU, makes a product of weights (G, n_out, n_in).
    record: on a GPU, keeps steps that many runs will take; None: launches them anew.
    by_kernels: by the compiled kernels, which suit them.
    lasting: whether it outlives a step of training.
    """

    def __init__(
        self,
        layers: Sequence[ProjectedLSTM],
        dtype: torch.dtype,
        lay_out: Callable[[Tensor, torch.dtype], Product] = lay_out,
        record: Optional[Record] = None,
        by_kernels: bool = False,
        lasting: bool = True,
    ) -> None:
        self.layers = layers
        clips = layers[0].clips
        self._block: Callable[..., _Block]
        self._block_rows = _block_rows(layers, _BLOCK_BYTES)
        if by_kernels:
            self._block = Recurrence(_apart(layers), clips, dtype, lasting).block
            self._block_rows = sys.maxsize  # no gates lie in memory
            return
        weights = _together(layers)
        bias = weights.bias.detach()
        if bias.is_cuda:
            batched = Products.of(weights, partial(BatchedProduct, dtype=dtype))
            gates = compiled_gates(bias.device, dtype, False)
            self._block = RecordedSteps(batched, bias, clips, gates, record).block
        else:
            products = Products.of(weights, lambda weight: lay_out(weight, dtype))
            self._block = partial(
                recur_without_gradient, bias=bias, clips=clips, products=products
            )

    def run(
        self, inputs: Tensor, batch_sizes: Sequence[int], hidden: Tensor, cell: Tensor
    ) -> Tuple[LSTMState, Tensor]:
        """As `run_side_by_side`."""
        return _in_blocks(
            self._block,
            inputs,
            batch_sizes,
            hidden,
            cell,
            self._block_rows,
        )


def _in_blocks(
    block: Callable[[Tensor, Tensor, Tensor, List[int]], _Block],
    inputs: Tensor,
    batch_sizes: Sequence[int],
    hidden: Tensor,
    cell: Tensor,
    block_rows: int,
) -> Tuple[LSTMState, Tensor]:
    outputs: List[Tensor] = []
    ended: List[LSTMState] = []
    for first_row, sizes in _blocks(batch_sizes, block_rows):
        if sizes[0] < hidden.shape[1]:
            ended.append(LSTMState(hidden[:, sizes[0] :], cell[:, sizes[0] :]))
            hidden, cell = hidden[:, : sizes[0]], cell[:, : sizes[0]]
        rows = inputs[:, first_row : first_row + sum(sizes)]
        out, hidden, cell = block(rows, hidden, cell, sizes)
        outputs.append(out)
    ended.append(LSTMState(hidden, cell))
    last = LSTMState(*(torch.cat(part[::-1], dim=1) for part in zip(*ended)))
    return last, outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def _together(layers: Sequence[ProjectedLSTM]) -> Weights:
    """The layers' weights as one, without a copy where there is only one."""

    def stack(tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))

    bias = stack([layer.bias for layer in layers]).unsqueeze(1)
    # The gates are i, f, g, o.
    always = bias.new_zeros(4, layers[0].dim)
    always[1] = layers[0].forget_bias
    hr = None
    if layers[0].weight_hr is not None:
        hr = stack([cast(Tensor, layer.weight_hr) for layer in layers])
    return Weights(
        ih=stack([layer.weight_ih for layer in layers]),
        hh=stack([layer.weight_hh for layer in layers]),
        bias=bias + always.view(-1),
        hr=hr,
    )


def _apart(layers: Sequence[ProjectedLSTM]) -> List[Weights]:
    """The weights of each."""
    return [_together([layer]) for layer in layers]


def _block_rows(layers: Sequence[ProjectedLSTM], at_once: int) -> int:
    """Rows of a block: few enough for the memory that its gates may take on a CPU,
    enough for a full-speed matrix product."""
    bias = layers[0].bias
    bytes_a_row = len(layers) * bias.numel() * bias.element_size()
    at_once = _BLOCK_BYTES_GPU if bias.is_cuda else at_once
    return max(_LEAST_BLOCK_ROWS, at_once // bytes_a_row)


def _blocks(
    batch_sizes: Sequence[int], block_rows: int
) -> Iterator[Tuple[int, List[int]]]:
    """Group steps into blocks of about so many rows: (first row, sizes)."""
    first_row, rows = 0, 0
    sizes: List[int] = []
    for size in batch_sizes:
        if sizes and rows + size > block_rows:
            yield first_row, sizes
            first_row, rows, sizes = first_row + rows, 0, []
        sizes.append(size)
        rows += size
    if sizes:
        yield first_row, sizes
