"""Matrix products by the compiled kernels, and the layout of what they multiply with.

"Panel": as many columns of a product as four of the processor's vectors have floats.
"""

from contextlib import suppress
from typing import List, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor

from . import available
from .arrays import LOW_LANES
from .workspace import empty

with suppress(ImportError):  # where it was not built nothing here is called
    from . import _gemm


def dtype_of_products(dtype: torch.dtype) -> torch.dtype:
    """In which the kernels form them."""
    is_low = dtype == torch.bfloat16 and available.multiply_bfloat16()
    return torch.bfloat16 if is_low else torch.float32


def panels(
    weight: Tensor,
    dtype: torch.dtype = torch.float32,
    turned: bool = False,
    gates: bool = False,
    lasting: bool = False,
) -> np.ndarray:
    """A weight as the kernels multiply with it from the right.

    weight: (n_in, n_out) in float32, n_out a multiple of a panel's columns.
    dtype: of the products.
    turned: the weight is (n_out, n_in).
    gates: a panel has the four gates of as many units as a vector has floats, where the
        weight's rows are all of the first gate, then all of the second, and so on.
    lasting: whether they are of no step of training.
    RETURNS: (n_out / columns, n_in, columns); in bfloat16
        (n_out / columns, n_in / 2, columns, 2), its bits as int16.
    """
    n_in, n_out = weight.shape[::-1] if turned else weight.shape
    columns = available.columns()
    is_low = dtype == torch.bfloat16
    rows = (n_in // 2, columns, 2) if is_low else (n_in, columns)
    shape = n_out // columns, *rows
    stored = torch.int16 if is_low else torch.float32
    if lasting:
        found = torch.empty(shape, dtype=stored, device="cpu").numpy()
    else:
        found = empty(*shape, dtype=stored).numpy()
    _gemm.lay_out(
        weight.detach().contiguous().numpy(),
        found,
        turned,
        gates,
        _instructions(dtype),
        torch.get_num_threads(),
    )
    return found


def array(tensor: Tensor) -> np.ndarray:
    """Shares the tensor's memory; bfloat16 as its bits."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
    return tensor.numpy()


class Left(NamedTuple):
    """What is multiplied with the same right factor as others.

    rows: (R, n). turned: whether the result is (n, n_right), not (n_right, n).
    """

    rows: Tensor
    turned: bool = False


def outer_products(
    lefts: Sequence[Left], right: Tensor, with_sums: bool = False
) -> List[Tensor]:
    """The sums over rows of right ⊗ left, for each on the left, in float32; then if
    asked for those of what is on the right, (n_right).

    right: (R, n_right), n_right a multiple of a panel's columns; in its dtype, float32
        or bfloat16, the products are formed.
    """
    width = right.shape[1]
    sums = empty(width) if with_sums else None
    results = []
    for rows, turned in lefts:
        n = rows.shape[1]
        results.append(empty(n, width) if turned else empty(width, n))
    rows_of = [left.rows.to(right.dtype).contiguous() for left in lefts]
    _gemm.outer_products(
        [
            (array(rows), result.numpy(), left.turned)
            for rows, result, left in zip(rows_of, results, lefts)
        ],
        array(right.contiguous()),
        None if sums is None else sums.numpy(),
        _instructions(right.dtype),
        torch.get_num_threads(),
    )
    return results if sums is None else [*results, sums]


def _instructions(dtype: torch.dtype) -> int:
    """For products in this dtype, by their name in the kernels."""
    return LOW_LANES if dtype == torch.bfloat16 else available.lanes()
