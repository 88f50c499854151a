"""The character CNN's filters and the maximum over positions in PyTorch, as few large
matrix products: on CPUs far faster than narrow convolutions.

Shapes: n words; C characters; E = char_dim; F filters; W = width of the widest filter.
"""

from typing import Any, Iterator, NamedTuple, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .backend import Filters

_CHUNK_SIZE, _CHUNK_SIZE_GPU = 2 << 20, 64 << 20
"""Responses (windows times filters) per product: few enough for the cache of a CPU,
many enough to keep a GPU busy."""


def char_cnn(
    characters: Tensor,
    weight: Tensor,
    filters: Filters,
    lengths: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:
    """Compute `Backend.char_cnn` with its gradients.

    dtype (torch.dtype): Dtype of the matrix products.
    """
    return cast(Tensor, _CharCNN.apply(characters, weight, filters, lengths, dtype))


class _Chunk(NamedTuple):
    """Words and filters whose responses are computed together.

    words (slice): The words.
    n_windows (int): Windows per word.
    rows (slice): The filters' rows of the weights.
    width (int): Width of a window in characters.
    """

    words: slice
    n_windows: int
    rows: slice
    width: int

    def windows(self, characters: Tensor) -> Tensor:
        """Copy the windows of all words, (n_words * n_windows, width * E)."""
        n_columns = self.n_windows + self.width - 1
        step = characters.shape[2]
        flat = characters[self.words, :n_columns].flatten(1)
        return flat.unfold(1, self.width * step, step).flatten(0, 1)

    def by_word(self, rows: Tensor) -> Tensor:
        """Reshape windows to (n_words, n_windows, ...)."""
        return rows.unflatten(0, (-1, self.n_windows))


def _chunks(
    filters: Filters, lengths: Sequence[int], n_columns: int, chunk_size: int
) -> Iterator[_Chunk]:
    n_filters, widest = sum(number for _, number in filters.sizes), filters.widest
    first = 0
    while first < len(lengths):
        # As many words as the longest of them allows, for they are sorted by length.
        last = first + 1
        while last < len(lengths) and (
            (last + 1 - first) * (lengths[last] + 1) * n_filters <= chunk_size
        ):
            last += 1
        words, n_windows = slice(first, last), lengths[last - 1] + 1
        if n_windows - 1 + widest <= n_columns:
            yield _Chunk(words, n_windows, slice(0, n_filters), widest)
        else:
            # The last windows of the wide filters would reach beyond the columns.
            for rows, width in filters.rows():
                yield _Chunk(words, min(n_windows, n_columns - width + 1), rows, width)
        first = last


class _CharCNN(torch.autograd.Function):
    """The backward pass recomputes the responses: stored, they would be most of the
    memory of a training step."""

    @staticmethod
    def forward(
        ctx: Any,
        characters: Tensor,
        weight: Tensor,
        filters: Filters,
        lengths: Sequence[int],
        dtype: torch.dtype,
    ) -> Tensor:
        chunk_size = _CHUNK_SIZE_GPU if characters.is_cuda else _CHUNK_SIZE
        chunks = list(_chunks(filters, lengths, characters.shape[1], chunk_size))
        low, low_weight = characters.to(dtype), weight.to(dtype)
        best = weight.new_empty(len(characters), len(weight))
        for chunk in chunks:
            responses = _responses(chunk, chunk.windows(low), low_weight)
            best[chunk.words, chunk.rows] = chunk.by_word(responses).amax(dim=1)
        ctx.save_for_backward(low, low_weight)
        ctx.chunks, ctx.dtype = chunks, weight.dtype
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Any, ...]:
        characters, weight = ctx.saved_tensors
        d_characters = torch.zeros_like(characters, dtype=ctx.dtype)
        d_weight = torch.zeros_like(weight, dtype=ctx.dtype)
        step = characters.shape[2]
        for chunk in ctx.chunks:
            windows = chunk.windows(characters)
            flat = _responses(chunk, windows, weight)
            responses = chunk.by_word(flat)
            # Equal maxima share the gradient: most are windows of padding alone.
            is_best = responses.sub_(responses.amax(dim=1, keepdim=True)).eq_(0)
            share = gradient[chunk.words, chunk.rows] / is_best.sum(dim=1)
            is_best.mul_(share.to(weight.dtype).unsqueeze(1))
            columns = slice(0, chunk.width * step)
            d_weight[chunk.rows, columns] += flat.t() @ windows
            d_windows = chunk.by_word(flat @ weight[chunk.rows, columns])
            d_words = d_characters[chunk.words]
            for place, part in enumerate(d_windows.split(step, dim=2)):
                d_words[:, place : place + chunk.n_windows] += part
        return d_characters, d_weight, None, None, None


def _responses(chunk: _Chunk, windows: Tensor, weight: Tensor) -> Tensor:
    """Compute the filters' responses, (n_words * n_windows, n_rows)."""
    return windows @ weight[chunk.rows, : windows.shape[1]].t()
