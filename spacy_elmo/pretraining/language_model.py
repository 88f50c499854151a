"""The biLM with its output layer: the objective of pretraining (Peters et al. 2018,
section 3.1)."""

from typing import List, Optional, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..bilm import BiLM
from ..bilm.lstm import LSTMState, ProjectedLSTM, run_side_by_side
from ..bilm.softmax import (
    AdaptiveSoftmax,
    FullSoftmax,
    SampledSoftmax,
    sampled_loss,
)
from .batches import Batch, Sample
from .settings import SoftmaxSettings

Softmax = Union[FullSoftmax, SampledSoftmax, AdaptiveSoftmax]
State = List[LSTMState]
"""Of each layer: hidden (2, n_lanes, projection_dim), cell (2, n_lanes, dim), the
forward LM's first."""


class SampledRows:
    """The rows of a sampled softmax that a step touches, as leaves of its gradient.

    weight: (n_rows, projection_dim). bias: (n_rows, 1). ids: (n_rows,).
    """

    def __init__(self, softmax: SampledSoftmax, sample: Sample) -> None:
        self.ids = sample.rows
        self.weight = softmax.weight.detach()[self.ids].requires_grad_()
        self.bias = softmax.bias.detach()[self.ids].requires_grad_()

    def loss(self, hidden: Tensor, sample: Sample, dtype: torch.dtype) -> Tensor:
        """hidden: (2 U B, projection_dim). RETURNS: (2 U B,)."""
        bias = self.bias - sample.correction[:, None]
        true = sample.true.flatten()
        return sampled_loss(
            hidden,
            F.embedding(true, self.weight),
            F.embedding(true, bias)[:, 0],
            F.embedding(sample.drawn, self.weight),
            F.embedding(sample.drawn, bias)[:, 0],
            sample.columns.flatten(),
            dtype,
        )


class LanguageModel(nn.Module):
    """Forward and backward LM; they share the character encoder and the softmax.

    bilm: the network. softmax: the output layer.
    """

    def __init__(self, bilm: BiLM, softmax: Softmax) -> None:
        super().__init__()
        self.bilm = bilm
        self.softmax = softmax

    @property
    def device(self) -> torch.device:
        return self.bilm.device

    def zero_state(self, n_lanes: int) -> State:
        """What each lane starts from."""
        config = self.bilm.config
        new = next(self.bilm.parameters()).new_zeros
        return [
            LSTMState(
                new(2, n_lanes, config.projection_dim), new(2, n_lanes, config.dim)
            )
            for _ in range(config.n_layers)
        ]

    def forward(
        self,
        batch: Batch,
        state: State,
        *,
        rows: Optional[SampledRows] = None,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> Tuple[Tensor, State]:
        """The training loss of one window.

        state: where the lanes stand.
        rows: of `batch.sample`, if the softmax is sampled.
        dropout: share of x_k, of each LSTM layer's input and of the top layer.
        dtype: of the matrix products, float32 or bfloat16.
        RETURNS: the negative log likelihood (its estimate, if sampled) of each target,
            (2, U, B), and the state after the window, without its gradient.
        """
        hidden, state = self.contextualize(batch, state, dropout, dtype)
        flat = hidden.flatten(0, 2)
        if batch.sample is None:
            losses = self.softmax(flat, batch.targets.flatten())
        elif rows is None:
            raise ValueError(
                "rows: expected those of the batch, as its softmax is sampled, found "
                "None."
            )
        else:
            losses = rows.loss(flat, batch.sample, dtype)
        return losses.view(batch.targets.shape), state

    def contextualize(
        self,
        batch: Batch,
        state: State,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> Tuple[Tensor, State]:
        """The top layer at each place, (2, U, B, projection_dim), and the state."""
        vectors = self.bilm.encode_characters(
            batch.char_ids, batch.word_ids, batch.lengths, dtype
        )
        n_directions, unroll_steps, n_lanes = batch.inputs.shape
        inputs = F.embedding(batch.inputs.flatten(1), vectors)
        after: State = []
        for number, layers in enumerate(self._layers()):
            inputs = F.dropout(inputs, dropout, training=dropout > 0)
            last, outputs = run_side_by_side(
                layers, inputs, [n_lanes] * unroll_steps, *state[number], dtype
            )
            after.append(LSTMState(last.hidden.detach(), last.cell.detach()))
            if number and self.bilm.config.use_skip_connections:
                outputs = outputs + inputs
            inputs = outputs
        inputs = F.dropout(inputs, dropout, training=dropout > 0)
        return inputs.view(n_directions, unroll_steps, n_lanes, -1), after

    def _layers(self) -> List[List[ProjectedLSTM]]:
        pairs = zip(self.bilm.forward_layers, self.bilm.backward_layers)
        return [list(pair) for pair in pairs]  # type: ignore[arg-type]


def make_softmax(settings: SoftmaxSettings, n_words: int, width: int) -> Softmax:
    """A new output layer of the configured kind.

    n_words: in the vocabulary. width: projection_dim.
    """
    if settings.type == "sampled":
        return SampledSoftmax(n_words, width, settings.n_samples)
    if settings.type == "adaptive":
        return AdaptiveSoftmax(n_words, width, settings.cutoffs, settings.div_value)
    return FullSoftmax(n_words, width)
