"""Character ids -> x_k, a word's vector before any context: convolutions, highways,
projection (Józefowicz et al. 2016, section 3.3; Srivastava et al. 2015)."""

from typing import Callable, Optional, Sequence, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import BiLMConfig
from .convolution import Filters, maximal_response
from .matmul import convenient_rows
from .precision import linear

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


class Highway(nn.Module):
    """y = g·relu(W x + b) + (1 - g)·x with the gate g = sigmoid(W_g x + b_g).

    width: of the input and of the output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        # A new highway carries its input through (Srivastava et al. 2015, section 2.2).
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, inputs: Tensor, apply: "Apply") -> Tensor:
        """inputs: (n, width). RETURNS: (n, width)."""
        gate = torch.sigmoid(apply(self.gate, inputs))
        transformed = torch.relu(apply(self.transform, inputs))
        return torch.lerp(inputs, transformed, gate)


Apply = Callable[[nn.Linear, Tensor], Tensor]
"""How a linear layer is applied: in which dtype, with which layout of its weights."""


def in_dtype(dtype: torch.dtype) -> Apply:
    """The plain way: the product in `dtype`, the rest in float32."""
    return lambda layer, x: linear(x, layer.weight.to(dtype), layer.bias, dtype)


def embedding(number: int, width: int) -> nn.Embedding:
    """A new nn.Embedding. On the "meta" device it draws no random numbers: they would
    be none, but PyTorch would import its compiler for them, which takes a second."""
    weight = torch.empty(number, width)
    if not weight.is_meta:
        nn.init.normal_(weight)
    return nn.Embedding.from_pretrained(weight, freeze=False)


class CharacterEncoder(nn.Module):
    """The words' vectors, from their characters alone.

    config: sizes; `config.word_dim > 0` adds a word embedding, put before the
        characters' features at the projection (ELMoForManyLangs).
    """

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = _ACTIVATIONS[config.activation]
        self.char_embedding = embedding(config.n_characters, config.char_dim)
        self.word_embedding: Optional[nn.Embedding] = (
            embedding(config.n_words, config.word_dim) if config.word_dim else None
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
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Encode words, the shortest first.

        char_ids: (n, max_characters_per_token), int64.
        word_ids: (n,), int64; read only where there is a word embedding.
        lengths: of the words, without padding, on the host, (n,).
        dtype: of the matrix products, float32 or bfloat16.
        RETURNS: (n, projection_dim), float32.
        """
        features = self.convolve(char_ids, lengths, self.filter_weight(), dtype)
        return self.project(features, word_ids, in_dtype(dtype), dtype)

    def convolve(
        self,
        char_ids: Tensor,
        lengths: Sequence[int],
        weight: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """The features that the filters find, (n, n_filters).

        weight: `filter_weight`.
        """
        if not len(lengths):
            return self.char_embedding.weight.new_empty(0, self.n_filters)
        n_columns = min(int(lengths[-1]) + self.filters.widest, char_ids.shape[1])
        characters = self.char_embedding(char_ids[:, :n_columns])
        best = maximal_response(characters, weight, self.filters, lengths, dtype)
        # The bias is the same at all positions: it may follow the maximum.
        biases = [cast(Tensor, module.bias) for module in self.convolutions]
        return self.activation(best + torch.cat(biases))

    def filter_weight(self) -> Tensor:
        """All filters as one matrix, (n_filters, widest * char_dim)."""
        rows = []
        for module in self.convolutions:
            weight = cast(Tensor, module.weight)
            missing = self.filters.widest - weight.shape[2]
            rows.append(F.pad(weight, (0, missing)).transpose(1, 2).flatten(1))
        return torch.cat(rows)

    def project(
        self, features: Tensor, word_ids: Tensor, apply: Apply, dtype: torch.dtype
    ) -> Tensor:
        """features -> highways -> x_k, (n, projection_dim).

        apply: forms its products in `dtype`.
        """
        n_words = len(features)
        missing = convenient_rows(n_words, features, dtype) - n_words
        vectors = F.pad(features, (0, 0, 0, missing)) if missing else features
        for highway in self.highways:
            vectors = highway(vectors, apply)
        if self.word_embedding is not None:
            words = self.word_embedding(word_ids)
            vectors = torch.cat([words, vectors[:n_words]], dim=1)
        if self.projection is not None:
            vectors = apply(self.projection, vectors)
        return vectors[:n_words]
