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


def dtype_of_products(dtype: torch.dtype) -> torch.dtype:
    """In which the kernels form them."""
    is_low = dtype == torch.bfloat16 and available.multiply_bfloat16()
    return torch.bfloat16 if is_low else torch.float32


def panels(weight: Tensor, columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """weight: (..., n_in, n_out), to multiply with from the right.
    RETURNS: (..., n_out / columns, n_in, columns); in bfloat16
        (..., n_out / columns, n_in / 2, columns, 2), its bits as int16."""
    parts = weight.detach().to(dtype).unflatten(-1, (-1, columns)).transpose(-3, -2)
    if dtype != torch.bfloat16:
        return parts.contiguous()
    pairs = parts.unflatten(-2, (-1, 2)).transpose(-2, -1)
    return pairs.contiguous().view(torch.int16)


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
