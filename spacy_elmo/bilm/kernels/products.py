"""Matrix products by the compiled kernels, and the layout of what they multiply with.

"Panel": as many columns of a product as four of the processor's vectors have floats.
"""

from typing import List, NamedTuple, Sequence

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


class Left(NamedTuple):
    """What is multiplied with the same right factor as others.

    rows: (G, R, n). turned: whether the result is (G, n, n_right), not (G, n_right, n).
    """

    rows: Tensor
    turned: bool = False


def outer_products(lefts: Sequence[Left], right: Tensor) -> List[Tensor]:
    """The sums over rows of right ⊗ left, for each on the left.

    right: (G, R, n_right), n_right a multiple of a panel's columns.
    """
    width = right.shape[2]
    results = []
    for rows, turned in lefts:
        n = rows.shape[2]
        shape = (n, width) if turned else (width, n)
        results.append(right.new_empty(len(right), *shape))
    for number, one in enumerate(right.detach().contiguous()):
        _products.outer_products(
            [
                (left.rows[number].detach().contiguous().numpy(), own[number].numpy(), left.turned)
                for left, own in zip(lefts, results)
            ],
            one.numpy(),
            available.lanes(),
            torch.get_num_threads(),
        )
    return results
