"""The character encoder: character ids -> x_k, a word's vector before any context.

Convolutions, highways and projection (Józefowicz et al. 2016, section 3.3; Srivastava
et al. 2015).
"""

from typing import Callable, Optional, Sequence, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backends import ApplyCharCNN, Filters
from .config import BiLMConfig

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}

ApplyLayer = Callable[[nn.Linear, Tensor], Tensor]
"""A linear layer and its inputs (n, n_in) -> outputs (n, n_out)."""


class Highway(nn.Module):
    """A highway layer: y = g relu(W x + b) + (1 - g) x, with g = sigmoid(W_g x + b_g).

    width (int): Width of the input and of the output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        # A new highway carries its input through (Srivastava et al. 2015, section 2.2).
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, inputs: Tensor, linear: ApplyLayer) -> Tensor:
        """Transform inputs of shape (n, width)."""
        gate = torch.sigmoid(linear(self.gate, inputs))
        transformed = torch.relu(linear(self.transform, inputs))
        return torch.lerp(inputs, transformed, gate)


def make_embedding(number: int, width: int) -> nn.Embedding:
    """Return a new nn.Embedding. On the "meta" device no random numbers are drawn, as
    PyTorch would import its compiler for that, which takes a second."""
    weight = torch.empty(number, width)
    if not weight.is_meta:
        nn.init.normal_(weight)
    return nn.Embedding.from_pretrained(weight, freeze=False)


class CharacterEncoder(nn.Module):
    """Word vectors from characters alone.

    config (BiLMConfig): Sizes. If `config.word_dim` is not 0, a word embedding is
        prepended to the features of the characters before the projection, as in
        ELMoForManyLangs.
    """

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = _ACTIVATIONS[config.activation]
        self.char_embedding = make_embedding(config.n_characters, config.char_dim)
        self.word_embedding: Optional[nn.Embedding] = (
            make_embedding(config.n_words, config.word_dim) if config.word_dim else None
        )
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.char_dim, number, width)
            for width, number in config.filters
        )
        self.highways = nn.ModuleList(
            Highway(config.n_filters) for _ in range(config.n_highway)
        )
        self.projection: Optional[nn.Linear] = (
            nn.Linear(config.n_filters + config.word_dim, config.projection_dim)
            if config.has_token_projection
            else None
        )
        self.filters = Filters(tuple(config.filters))
        self.n_filters = config.n_filters

    def forward(
        self,
        char_ids: Tensor,
        word_ids: Tensor,
        lengths: Sequence[int],
        char_cnn: ApplyCharCNN,
        linear: ApplyLayer,
    ) -> Tensor:
        """Encode words, sorted by length, shortest first.

        char_ids (Tensor): (n_words, max_characters_per_token) int64.
        word_ids (Tensor): (n_words,) int64; only used if there is a word embedding.
        lengths (Sequence[int]): Characters per word without padding.
        char_cnn (ApplyCharCNN): Computes the filter responses.
        linear (ApplyLayer): Applies a linear layer.
        RETURNS (Tensor): Word vectors, (n_words, projection_dim).
        """
        vectors = self.convolve(char_ids, lengths, char_cnn)
        for highway in self.highways:
            vectors = highway(vectors, linear)
        if self.word_embedding is not None:
            vectors = torch.cat([self.word_embedding(word_ids), vectors], dim=1)
        return vectors if self.projection is None else linear(self.projection, vectors)

    def convolve(
        self, char_ids: Tensor, lengths: Sequence[int], char_cnn: ApplyCharCNN
    ) -> Tensor:
        """Compute the features of the characters, (n_words, n_filters)."""
        if not len(lengths):
            return self.char_embedding.weight.new_empty(0, self.n_filters)
        n_columns = min(int(lengths[-1]) + self.filters.widest, char_ids.shape[1])
        responses = char_cnn(self.char_embedding(char_ids[:, :n_columns]), lengths)
        # The bias is the same at all positions, so it can be added after the maximum.
        biases = [cast(Tensor, module.bias) for module in self.convolutions]
        return self.activation(responses + torch.cat(biases))

    def filter_weight(self) -> Tensor:
        """Return all filters as one matrix, (n_filters, widest * char_dim)."""
        rows = []
        for module in self.convolutions:
            weight = cast(Tensor, module.weight)
            missing = self.filters.widest - weight.shape[2]
            rows.append(F.pad(weight, (0, missing)).transpose(1, 2).flatten(1))
        return torch.cat(rows)
