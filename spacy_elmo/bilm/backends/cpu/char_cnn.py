"""The character CNN by the compiled kernels (`char_cnn.hh`), in float32 or int8: the
maximum responses of filters of several widths.

The backward pass goes through the one window of each word that each filter responded to
most: a twentieth of the multiplications of the forward pass, and nothing is recomputed.

Shapes: n words, C characters, E = char_dim, F filters, W = width of the widest.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..backend import Filters
from .gemm import as_operands, pack
from .instructions import Arithmetic, arithmetic
from .workspace import Workspace

with suppress(ImportError):  # if they were not built, nothing here is called
    from . import _char_cnn


class PreparedCharCNN:
    """A character CNN with its present filters packed, to apply without gradients.

    weight (Tensor): All filters as one matrix, (F, W * E), float32.
    filters (Filters): Widths and numbers of the filters.
    dtype (torch.dtype): Precision of the products, float32 or int8.
    """

    def __init__(
        self, weight: Tensor, filters: Filters, dtype: torch.dtype = torch.float32
    ) -> None:
        self._packed = _PackedFilters(weight, filters, dtype, None)

    def __call__(self, characters: Tensor, lengths: Sequence[int]) -> Tensor:
        """Compute maximum responses, as `Backend.char_cnn`."""
        return self._packed.response(characters, lengths)[0]


def char_cnn(
    characters: Tensor,
    weight: Tensor,
    filters: Filters,
    lengths: Sequence[int],
    workspace: Optional[Workspace] = None,
) -> Tensor:
    """Compute the maximum response of each filter over the positions of each word,
    with gradients. If several windows respond equally, the first one gets the
    gradient: within a word they hold the same characters.

    characters (Tensor): Character embeddings, padding included, (n, C, E), float32.
    weight (Tensor): All filters as one matrix, (F, W * E), float32, position by
        position; the last columns of a narrow filter are 0.
    filters (Filters): Widths and numbers of the filters.
    lengths (Sequence[int]): Characters per word without padding.
    workspace (Optional[Workspace]): Memory for large arrays.
    RETURNS (Tensor): Maximum responses without bias, (n, F), float32.
    """
    arguments = characters, weight, filters, lengths, workspace
    return cast(Tensor, _Response.apply(*arguments))


class _PackedFilters:
    def __init__(
        self,
        weight: Tensor,
        filters: Filters,
        dtype: torch.dtype,
        workspace: Optional[Workspace],
    ) -> None:
        self.arithmetic: Arithmetic = arithmetic(dtype)
        characters = weight.unflatten(1, (filters.widest, -1))
        weight = self._pad_units(characters).flatten(1)
        self.arithmetic = replace(self.arithmetic, block=weight.shape[1])
        columns = self.arithmetic.instructions.panel_columns
        widths = [width for width, number in filters.sizes for _ in range(number)]
        self.n_filters, self.widest = len(widths), filters.widest
        self.widths = torch.tensor(widths, device="cpu")
        # Filters of width 1 complete the last panel.
        self.padded_widths = F.pad(self.widths, (0, -len(widths) % columns), value=1)
        # Narrow filters extend to the width of the widest in their panel, with zeros.
        self.panel_widths = self.padded_widths.view(-1, columns).amax(dim=1)
        self.panels = pack(weight, self.arithmetic, workspace=workspace).panels

    def response(
        self, characters: Tensor, lengths: Sequence[int]
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Compute maximum responses.

        RETURNS (Tuple[Tensor, Tensor, Tensor]): The responses, and the first window
            with each, (n, F); the characters with as much padding as windows need.
        """
        n_words, n_columns, _ = characters.shape
        n_windows = torch.tensor(lengths, dtype=torch.int64, device="cpu") + 1
        padded = characters.detach()
        if n_words:
            missing = int(n_windows.max()) - 1 + self.widest - n_columns
            padded = F.pad(padded, (0, 0, 0, max(missing, 0)))
        padded = self._pad_units(padded).contiguous()
        char_dim = padded.shape[2]
        best = padded.new_empty(n_words, len(self.padded_widths))
        where = torch.empty_like(best, dtype=torch.int32)
        # All characters of a word share a scale. How much padding there is does not
        # change it: each word has a window with some.
        rows = replace(self.arithmetic, block=padded.shape[1] * char_dim)
        _char_cnn.response(
            as_operands(padded.flatten(1), rows),
            char_dim,
            n_windows,
            self.panels,
            self.panel_widths * char_dim,
            (n_columns + 1 - self.padded_widths).to(torch.float32),
            best,
            where,
            self.arithmetic,
            torch.get_num_threads(),
        )
        return best[:, : self.n_filters], where[:, : self.n_filters], padded

    def _pad_units(self, characters: Tensor) -> Tensor:
        """Pad characters (..., E) to whole units."""
        missing = -characters.shape[-1] % self.arithmetic.per_unit
        return F.pad(characters, (0, missing)) if missing else characters


class _Response(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        characters: Tensor,
        weight: Tensor,
        filters: Filters,
        lengths: Sequence[int],
        workspace: Optional[Workspace],
    ) -> Tensor:
        packed = _PackedFilters(weight, filters, torch.float32, workspace)
        best, where, padded = packed.response(characters, lengths)
        ctx.save_for_backward(padded, weight, where)
        ctx.widths, ctx.arithmetic = packed.widths, packed.arithmetic
        ctx.n_columns = characters.shape[1]
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Optional[Tensor], ...]:
        characters, weight, where = ctx.saved_tensors
        weight = weight.detach().contiguous()
        d_weight, d_characters = torch.zeros_like(weight), torch.zeros_like(characters)
        _char_cnn.gradients(
            gradient.contiguous(),
            where.contiguous(),
            ctx.widths * characters.shape[2],
            characters,
            weight,
            d_characters,
            d_weight,
            ctx.arithmetic,
            torch.get_num_threads(),
        )
        return d_characters[:, : ctx.n_columns], d_weight, None, None, None
