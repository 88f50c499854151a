"""The character CNN's filters and the maximum over positions by the compiled kernels.

The way back goes through the window of each word that was found best for each filter:
a twentieth of the multiplications of the way forward, and nothing is formed again.

Shapes: n words, C characters, E = char_dim, F filters, W = the widest one.
"""

from contextlib import suppress
from typing import Any, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from . import available
from .gemm import panels

with suppress(ImportError):  # where it was not built nothing here is called
    from . import _char_cnn

Sizes = Sequence[Tuple[int, int]]
"""Filters of each width, (width, number)."""


def fits(weight: Tensor) -> bool:
    """Whether the kernels can form the responses of these filters, (F, W * E)."""
    return not len(weight) % available.columns()


def char_cnn(
    characters: Tensor, weight: Tensor, sizes: Sizes, lengths: Sequence[int]
) -> Tensor:
    """As `Backend.char_cnn`, in float32. Of equal maxima the first has the
    gradient: in a word they are the same characters."""
    lasting = not torch.is_grad_enabled()
    given = characters, weight, tuple(sizes), lengths, lasting
    return cast(Tensor, _Response.apply(*given))


class _Response(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        characters: Tensor,
        weight: Tensor,
        sizes: Sizes,
        lengths: Sequence[int],
        lasting: bool,
    ) -> Tensor:
        n_words, n_columns, char_dim = characters.shape
        width = [width for width, number in sizes for _ in range(number)]
        widths, columns = torch.tensor(width, device="cpu"), available.columns()
        n_windows = torch.as_tensor(lengths, device="cpu") + 1
        # Narrow filters reach as far as the wide ones of their panel, with zeros.
        missing = int(n_windows.max()) - 1 + max(width) - n_columns
        padded = F.pad(characters.detach(), (0, 0, 0, max(missing, 0))).contiguous()
        best = weight.new_empty(n_words, len(weight))
        where = torch.empty_like(best, dtype=torch.int32)
        _char_cnn.response(
            padded.numpy(),
            n_windows.numpy(),
            panels(weight, turned=True, lasting=lasting),
            (widths.view(-1, columns).amax(dim=1) * char_dim).numpy(),
            (n_columns + 1 - widths).float().numpy(),
            best.numpy(),
            where.numpy(),
            torch.get_num_threads(),
        )
        ctx.save_for_backward(padded, weight, where)
        ctx.depths, ctx.n_columns = widths * char_dim, n_columns
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Any, ...]:
        padded, weight, where = ctx.saved_tensors
        found = gradient.contiguous().numpy(), where.numpy(), ctx.depths.numpy()
        shared = available.lanes(), torch.get_num_threads()
        weight = weight.detach().contiguous()
        d_weight, d_characters = torch.zeros_like(weight), torch.zeros_like(padded)
        _char_cnn.filters_back(*found, padded.numpy(), d_weight.numpy(), *shared)
        _char_cnn.characters_back(*found, weight.numpy(), d_characters.numpy(), *shared)
        return d_characters[:, : ctx.n_columns], d_weight, None, None, None
