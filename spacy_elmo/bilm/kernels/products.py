"""Matrix products by the compiled kernels, and the layout of what they multiply with.

"Panel": as many columns of a product as four of the processor's vectors have floats.
"""

from typing import Sequence

import torch
from torch import Tensor

from . import available

try:
    from . import _products
except ImportError:
    pass  # nothing here is called then


def panels(weight: Tensor, columns: int) -> Tensor:
    """weight: (..., n_in, n_out), to multiply with from the right.
    RETURNS: (..., n_out / columns, n_in, columns)."""
    return weight.unflatten(-1, (-1, columns)).transpose(-3, -2).contiguous()


def outer_products(
    left: Sequence[Tensor], right: Sequence[Tensor], turned: bool = False
) -> Tensor:
    """The sums over rows of right ⊗ left, of each of G pairs.

    left: (R, n_left). right: (R, n_right), a multiple of a panel's columns.
    RETURNS: (G, n_right, n_left), or turned (G, n_left, n_right).
    """
    shape = right[0].shape[1], left[0].shape[1]
    result = torch.empty(len(left), *(shape[::-1] if turned else shape))
    for one, other, into in zip(left, right, result):
        _products.outer_products(
            one.detach().contiguous().numpy(),
            other.detach().contiguous().numpy(),
            into.numpy(),
            turned,
            available.lanes(),
            torch.get_num_threads(),
        )
    return result
