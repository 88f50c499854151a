"""Character ids -> x_k, a word's vector before any context: convolutions, highways,
projection (Józefowicz et al. 2016, section 3.3; Srivastava et al. 2015)."""

from typing import Any, Callable, List, Optional, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .config import BiLMConfig
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

    def forward(self, inputs: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """inputs: (n, width). RETURNS: (n, width)."""
        gate = torch.sigmoid(_apply(self.gate, inputs, dtype))
        transformed = torch.relu(_apply(self.transform, inputs, dtype))
        return torch.lerp(inputs, transformed, gate)


class CharacterEncoder(nn.Module):
    """The words' vectors, from their characters alone.

    config: sizes; `config.word_dim > 0` adds a word embedding, put before the
        characters' features at the projection (ELMoForManyLangs).
    """

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = _ACTIVATIONS[config.activation]
        self.char_embedding = nn.Embedding(config.n_characters, config.char_dim)
        self.word_embedding: Optional[nn.Embedding] = (
            nn.Embedding(config.n_words, config.word_dim) if config.word_dim else None
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
        self.widest = max(width for width, _ in config.filters)

    def forward(
        self,
        char_ids: Tensor,
        word_ids: Tensor,
        longest: int,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Encode words.

        char_ids: (n, max_characters_per_token), int64.
        word_ids: (n,), int64; read only where there is a word embedding.
        longest: the ids of the longest word that are not padding.
        dtype: of the matrix products, float32 or bfloat16.
        RETURNS: (n, projection_dim), float32.
        """
        return self.project(self.convolve(char_ids, longest, dtype), word_ids, dtype)

    def convolve(self, char_ids: Tensor, longest: int, dtype: torch.dtype) -> Tensor:
        """The features that the filters find, (n, n_filters). Windows of nothing but
        padding all give one value, so one of them is enough for the maximum."""
        char_ids = char_ids[:, : longest + self.widest]
        characters = self.char_embedding(char_ids).to(dtype)
        features: List[Tensor] = []
        for module in self.convolutions:
            convolution = cast(nn.Conv1d, module)
            # As one matrix product, far faster on CPUs than a narrow convolution.
            width = convolution.kernel_size[0]
            windows = characters.unfold(1, width, 1).flatten(2)
            found = F.linear(windows, convolution.weight.to(dtype).flatten(1))
            bias = cast(Tensor, convolution.bias)
            # The bias is the same at all positions: it may follow the maximum.
            best = _over_positions(found).to(bias.dtype) + bias
            features.append(self.activation(best))
        return torch.cat(features, dim=1)

    def project(self, features: Tensor, word_ids: Tensor, dtype: torch.dtype) -> Tensor:
        """features -> highways -> x_k, (n, projection_dim)."""
        vectors = features
        for highway in self.highways:
            vectors = highway(vectors, dtype)
        if self.word_embedding is not None:
            vectors = torch.cat([self.word_embedding(word_ids), vectors], dim=1)
        if self.projection is not None:
            vectors = _apply(self.projection, vectors, dtype)
        return vectors


def _over_positions(found: Tensor) -> Tensor:
    """The maximum, (n, n_positions, n_filters) -> (n, n_filters)."""
    if torch.is_grad_enabled() and found.requires_grad:
        return cast(Tensor, _Maximum.apply(found))
    return found.amax(dim=1)


class _Maximum(torch.autograd.Function):
    """`amax`, whose own way back is slow on CPUs. Equal maxima share the gradient: most
    are windows of the same padding."""

    @staticmethod
    def forward(ctx: Any, found: Tensor) -> Tensor:
        best = found.amax(dim=1)
        ctx.save_for_backward(found, best)
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        found, best = ctx.saved_tensors
        is_best = torch.sub(found, best.unsqueeze(1)).eq_(0)
        share = gradient / is_best.sum(dim=1)
        return is_best.mul_(share.unsqueeze(1))


def _apply(layer: nn.Linear, inputs: Tensor, dtype: torch.dtype) -> Tensor:
    return linear(inputs, layer.weight.to(dtype), layer.bias, dtype)
