"""Filters of several widths over the characters of many words, and the maximum over
positions, as few large matrix products: on CPUs far faster than narrow convolutions.

Shapes: n words, C characters, E = char_dim, F filters, W = the widest one.
"""

from typing import Any, Iterator, NamedTuple, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .backends.cpu import char_cnn as by_kernels
from .matmul import convenient_rows, mm

_AT_ONCE, _AT_ONCE_GPU = 2 << 20, 64 << 20
"""Values, windows times filters, that are formed at once: on a CPU what its cache
holds, on a GPU what keeps it busy."""


class Filters(NamedTuple):
    """How many filters there are of each width, (width, number)."""

    sizes: Tuple[Tuple[int, int], ...]

    @property
    def widest(self) -> int:
        return max(width for width, _ in self.sizes)

    def rows(self) -> Iterator[Tuple[slice, int]]:
        """Each width's rows of the weights, and that width."""
        first = 0
        for width, number in self.sizes:
            yield slice(first, first + number), width
            first += number


def maximal_response(
    characters: Tensor,
    weight: Tensor,
    filters: Filters,
    lengths: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:
    """The most that each filter finds anywhere in each word, (n, F), without a bias.

    characters: embedded, padding and all, (n, C, E).
    weight: of all filters, (F, W * E), position by position; a narrow filter's last
        columns are 0.
    lengths: of the words without padding, the shortest first. Windows of nothing but
        padding all give one value, so that each word has at most one of them.
    dtype: of the matrix products, but that the compiled kernels' are in float32.
    """
    if dtype != torch.float64 and len(lengths) and by_kernels.pays(characters, weight):
        return by_kernels.maximal_response(characters, weight, filters.sizes, lengths)
    return cast(
        Tensor, _MaximalResponse.apply(characters, weight, filters, lengths, dtype)
    )


class _Chunk(NamedTuple):
    """Words and filters whose windows are formed together."""

    words: slice
    n_windows: int
    rows: slice
    width: int

    def windows(self, characters: Tensor) -> Tensor:
        """One after the other, (number, width * E), and then as many rows of zeros as
        their products want."""
        n_columns = self.n_windows + self.width - 1
        step = characters.shape[2]
        flat = characters[self.words, :n_columns].flatten(1)
        overlapping = flat.unfold(1, self.width * step, step)
        number = overlapping.shape[0] * overlapping.shape[1]
        windows = characters.new_empty(
            convenient_rows(number, characters, characters.dtype), self.width * step
        )
        windows[number:] = 0
        self.of_words(windows).copy_(overlapping)
        return windows

    def of_words(self, rows: Tensor) -> Tensor:
        """The windows' rows alone, word by word: (words, n_windows, ...)."""
        n_words = self.words.stop - self.words.start
        return rows[: n_words * self.n_windows].unflatten(0, (n_words, self.n_windows))


def _chunks(
    filters: Filters, lengths: Sequence[int], n_columns: int, at_once: int
) -> Iterator[_Chunk]:
    n_filters, widest = sum(number for _, number in filters.sizes), filters.widest
    first = 0
    while first < len(lengths):
        # As many as the longest of them allows, for they are sorted.
        last = first + 1
        while last < len(lengths) and (
            (last + 1 - first) * (lengths[last] + 1) * n_filters <= at_once
        ):
            last += 1
        words, n_windows = slice(first, last), lengths[last - 1] + 1
        if n_windows - 1 + widest <= n_columns:
            yield _Chunk(words, n_windows, slice(0, n_filters), widest)
        else:
            # The last windows of the wide filters would reach beyond the columns.
            for rows, width in filters.rows():
                fits = min(n_windows, n_columns - width + 1)
                yield _Chunk(words, fits, rows, width)
        first = last


class _MaximalResponse(torch.autograd.Function):
    """The way back forms the responses once more: kept, they would be most of the
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
        at_once = _AT_ONCE_GPU if characters.is_cuda else _AT_ONCE
        chunks = list(_chunks(filters, lengths, characters.shape[1], at_once))
        low, low_weight = characters.to(dtype), weight.to(dtype)
        best = weight.new_empty(len(characters), len(weight))
        for chunk in chunks:
            found = _responses(chunk, chunk.windows(low), low_weight)
            best[chunk.words, chunk.rows] = chunk.of_words(found).amax(dim=1)
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
            responses = _responses(chunk, windows, weight)
            found = chunk.of_words(responses)
            # Equal maxima share the gradient: most are windows of the same padding.
            is_best = found.sub_(found.amax(dim=1, keepdim=True)).eq_(0)
            share = gradient[chunk.words, chunk.rows] / is_best.sum(dim=1)
            is_best.mul_(share.to(weight.dtype).unsqueeze(1))
            columns = slice(0, chunk.width * step)
            d_weight[chunk.rows, columns] += mm(responses.t(), windows)
            d_windows = chunk.of_words(mm(responses, weight[chunk.rows, columns]))
            into = d_characters[chunk.words]
            for place, part in enumerate(d_windows.split(step, dim=2)):
                into[:, place : place + chunk.n_windows] += part
        return d_characters, d_weight, None, None, None


def _responses(chunk: _Chunk, windows: Tensor, weight: Tensor) -> Tensor:
    """(rows of the windows, filters), 0 where there is no window."""
    return mm(windows, weight[chunk.rows, : windows.shape[1]].t())
