"""Matrix products by the compiled kernels, and the layout of what they multiply with.

"Panel": as many columns of a product as four of the processor's vectors have floats.
"""

from contextlib import suppress
from functools import partial
from typing import List, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor

from . import available
from .checks import LOW_LANES

with suppress(ImportError):  # where it was not built nothing here is called
    from . import _products


def dtype_of_products(dtype: torch.dtype) -> torch.dtype:
    """In which the kernels form them."""
    is_low = dtype == torch.bfloat16 and available.multiply_bfloat16()
    return torch.bfloat16 if is_low else torch.float32


def panels(weight: Tensor, columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights to multiply with from the right.

    weight: (..., n_in, n_out). dtype: of the products.
    RETURNS: (..., n_out / columns, n_in, columns); in bfloat16
        (..., n_out / columns, n_in / 2, columns, 2), its bits as int16.
    """
    parts = weight.detach().to(dtype).unflatten(-1, (-1, columns)).transpose(-3, -2)
    if dtype != torch.bfloat16:
        # Never the weight's own memory: it may change before the way back.
        return parts.clone(memory_format=torch.contiguous_format)
    pairs = parts.unflatten(-2, (-1, 2)).transpose(-2, -1)
    return pairs.contiguous().view(torch.int16)


def panels_of_rows(weight: Tensor, columns: int) -> Tensor:
    """`panels` of (..., n_out, n_in) turned, in its own dtype: faster than of what is
    turned already, as neighbours are moved together."""
    if weight.dtype != torch.bfloat16:
        return panels(weight.transpose(-2, -1), columns)
    pairs = weight.detach().contiguous().view(torch.int32).transpose(-2, -1)
    parts = pairs.unflatten(-1, (-1, columns)).transpose(-3, -2).contiguous()
    return parts.view(torch.int16).unflatten(-1, (columns, 2))


def array(tensor: Tensor) -> np.ndarray:
    """Shares the tensor's memory; bfloat16 as its bits."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
    return tensor.numpy()


class Left(NamedTuple):
    """What is multiplied with the same right factor as others.

    rows: (G, R, n). turned: whether the result is (G, n, n_right), not (G, n_right, n).
    """

    rows: Tensor
    turned: bool = False


def outer_products(
    lefts: Sequence[Left], right: Tensor, with_sums: bool = False
) -> List[Tensor]:
    """The sums over rows of right ⊗ left, for each on the left, in float32; then if
    asked for those of what is on the right, (G, n_right).

    right: (G, R, n_right), n_right a multiple of a panel's columns; in its dtype,
        float32 or bfloat16, the products are formed.
    """
    is_low = right.dtype == torch.bfloat16
    instructions = LOW_LANES if is_low else available.lanes()
    n_lstms, _, width = right.shape
    as_floats = partial(right.new_empty, dtype=torch.float32)
    sums = as_floats(n_lstms, width) if with_sums else None
    results = []
    for rows, turned in lefts:
        n = rows.shape[2]
        shape = (n, width) if turned else (width, n)
        results.append(as_floats(n_lstms, *shape))
    right = right.contiguous()
    rows_of = [left.rows.to(right.dtype).contiguous() for left in lefts]
    for number in range(n_lstms):
        _products.outer_products(
            [
                (array(rows[number]), result[number].numpy(), left.turned)
                for rows, result, left in zip(rows_of, results, lefts)
            ],
            array(right[number]),
            None if sums is None else sums[number].numpy(),
            instructions,
            torch.get_num_threads(),
        )
    return results if sums is None else [*results, sums]
