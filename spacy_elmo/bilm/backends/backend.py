"""The interface between the network and whatever computes it, and the types that both
sides share."""

from typing import (
    Callable,
    Iterator,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor


class LSTMState(NamedTuple):
    """State of a layer's LSTMs, one row per sequence.

    hidden (Tensor): Clipped outputs, (n_directions, n_sequences, projection_dim).
    cell (Tensor): Clipped memory cells, (n_directions, n_sequences, dim).
    """

    hidden: Tensor
    cell: Tensor


class LSTMWeights(NamedTuple):
    """Weights of one LSTM, in PyTorch's layout and gate order (i, f, g, o).

    input (Tensor): Input-to-gate weights, (4 * dim, projection_dim).
    hidden (Tensor): Hidden-to-gate weights, (4 * dim, projection_dim).
    bias (Tensor): Bias of the gates, the forget bias included, (4 * dim,).
    projection (Optional[Tensor]): (projection_dim, dim). None if the output is not
        projected, so that projection_dim = dim; it is not clipped either then.
    """

    input: Tensor
    hidden: Tensor
    bias: Tensor
    projection: Optional[Tensor]


class Clips(NamedTuple):
    """Bounds on the absolute value of an LSTM's memory cell and projected output. None
    means no bound."""

    cell: Optional[float]
    projection: Optional[float]


class Filters(NamedTuple):
    """The convolution filters over a word's characters.

    sizes (Tuple[Tuple[int, int], ...]): (width in characters, number of filters) of
        each convolution.
    """

    sizes: Tuple[Tuple[int, int], ...]

    @property
    def widest(self) -> int:
        return max(width for width, _ in self.sizes)

    def rows(self) -> Iterator[Tuple[slice, int]]:
        """Yield each width with the rows of the weights that belong to it."""
        first = 0
        for width, number in self.sizes:
            yield slice(first, first + number), width
            first += number


RunLSTM = Callable[[Tensor, Sequence[int], LSTMState], Tuple[Tensor, LSTMState]]
"""(inputs, batch_sizes, state) -> (outputs, state), see `Backend.lstm`."""

ApplyLinear = Callable[[Tensor], Tensor]
"""Inputs (n, n_in) -> outputs (n, n_out)."""

ApplyCharCNN = Callable[[Tensor, Sequence[int]], Tensor]
"""(characters, lengths) -> responses, see `Backend.char_cnn`."""


class TargetScores(NamedTuple):
    """Scores of n targets, each under a distribution over the whole vocabulary.

    log_probs (Tensor): Natural log-probability of each target, (n,).
    entropies (Tensor): Entropy of each distribution, in nats, (n,).
    """

    log_probs: Tensor
    entropies: Tensor


class PreparedSoftmax(Protocol):
    """The exact softmax over the whole vocabulary, for weights that will not change.
    Memory does not grow with the number of rows times the number of words."""

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Compute the negative log-probability of each target, in nats.

        hidden (Tensor): Outputs of the LSTMs, (n, width).
        targets (Tensor): Word ids, (n,) int64.
        RETURNS (Tensor): (n,).
        """
        ...

    def score(self, hidden: Tensor, targets: Tensor) -> TargetScores:
        """Compute the log-probabilities of the targets, and the entropies. Takes the
        same arguments as `nll`."""
        ...


class Backend(Protocol):
    """Computes the network's expensive operations on one device, with matrix products
    in one dtype. Everything outside the products is float32 (float64 in tests).

    The first four methods are differentiable. The `prepare_` methods take weights that
    will not change, pack them once, and return functions that compute no gradients.
    """

    name: str
    device: torch.device
    dtype: torch.dtype

    def lstm(
        self,
        inputs: Tensor,
        batch_sizes: Sequence[int],
        state: LSTMState,
        weights: Sequence[LSTMWeights],
        clips: Clips,
    ) -> Tuple[Tensor, LSTMState]:
        """Run one LSTM per direction over packed sequences. The LSTMs share no values,
        only shapes and packing.

        inputs (Tensor): Packed rows, (n_directions, n_rows, projection_dim).
        batch_sizes (Sequence[int]): Number of running sequences at each step, in
            non-increasing order; their sum is n_rows.
        state (LSTMState): Initial state, longest sequence first.
        weights (Sequence[LSTMWeights]): Weights of each direction.
        clips (Clips): Bounds of the cell and of the projected output.
        RETURNS (Tuple[Tensor, LSTMState]): Clipped outputs, packed like the inputs,
            and the state of each sequence after its own last step.
        """
        ...

    def char_cnn(
        self,
        characters: Tensor,
        weight: Tensor,
        filters: Filters,
        lengths: Sequence[int],
    ) -> Tensor:
        """Compute the maximum response of each filter over the positions of each word.

        characters (Tensor): Character embeddings, padding included,
            (n_words, n_characters, char_dim).
        weight (Tensor): All filters as one matrix, (n_filters, widest * char_dim),
            position by position; the last columns of a narrow filter are 0.
        filters (Filters): Widths and numbers of the filters.
        lengths (Sequence[int]): Characters per word without padding, in increasing
            order. Windows of padding alone all give the same response, so at most one
            per word is computed.
        RETURNS (Tensor): Maximum responses without bias, (n_words, n_filters).
        """
        ...

    def sampled_loss(
        self,
        hidden: Tensor,
        true_logits: Tensor,
        rows: Tensor,
        bias: Tensor,
        columns: Tensor,
    ) -> Tensor:
        """Compute the loss of a sampled softmax.

        hidden (Tensor): Outputs of the LSTMs, (n, width).
        true_logits (Tensor): Corrected logits of the targets, (n,).
        rows (Tensor): Softmax weights of the sampled words, (n_samples, width).
        bias (Tensor): Corrected biases of the sampled words, (n_samples,).
        columns (Tensor): Position, from 1, of each target among the sampled words, or
            0 if it was not sampled, (n,) int64. A sampled target counts once.
        RETURNS (Tensor): Loss per target, (n,).
        """
        ...

    def linear(self, inputs: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        """Compute inputs · weightᵀ + bias.

        inputs (Tensor): (n, n_in).
        weight (Tensor): (n_out, n_in).
        bias (Optional[Tensor]): (n_out,).
        RETURNS (Tensor): (n, n_out), in the dtype of the inputs.
        """
        ...

    def prepare_lstm(self, weights: Sequence[LSTMWeights], clips: Clips) -> RunLSTM:
        """Pack the weights of one layer's LSTMs."""
        ...

    def prepare_char_cnn(self, weight: Tensor, filters: Filters) -> ApplyCharCNN:
        """Pack the filters of the character CNN."""
        ...

    def prepare_linear(self, weight: Tensor, bias: Optional[Tensor]) -> ApplyLinear:
        """Pack the weight of a linear layer."""
        ...

    def prepare_softmax(self, weight: Tensor, bias: Tensor) -> PreparedSoftmax:
        """Pack the weights of a softmax.

        weight (Tensor): (n_words, width).
        bias (Tensor): (n_words,).
        """
        ...
