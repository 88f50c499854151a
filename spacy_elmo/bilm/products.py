"""Matrix products with weights that are laid out once and then read many times.

Shapes: G weights side by side, R rows.
"""

from functools import cache
from typing import Protocol

import torch
from torch import Tensor

_TRANSPOSED_BYTES = 4 << 20
"""Weights up to this size are laid out for the product that reads them: it is up to
half as fast again. Larger ones do not fit into a core's cache either way."""

_PACKED_BYTES = 1 << 20
"""In float32, from this size on packing is worth the slower call."""

_ROWS_IN_MIND = 64
"""For so many rows weights are packed; other numbers are right too."""


class Product(Protocol):
    """Rows times weights, (G, R, n_in) -> (G, R, n_out), in the rows' dtype."""

    def __call__(self, rows: Tensor) -> Tensor: ...


class BatchedProduct:
    """A `Product` by torch.bmm, and its way back.

    weight: (G, n_out, n_in). dtype: of the product.
    lasting: whether it will be read so often that another layout pays.
    """

    def __init__(
        self, weight: Tensor, dtype: torch.dtype, lasting: bool = False
    ) -> None:
        self.weight = weight.detach().to(dtype)
        self.dtype = dtype
        right = self.weight.transpose(1, 2)
        if lasting and right[0].numel() * right.element_size() <= _TRANSPOSED_BYTES:
            right = right.contiguous()
        self.right = right

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.bmm(rows.to(self.dtype), self.right).to(rows.dtype)

    def low(self, rows: Tensor) -> Tensor:
        """The product in its own dtype."""
        return torch.bmm(rows.to(self.dtype), self.right)

    def add_to(self, sums: Tensor, rows: Tensor) -> None:
        """In place, sums += the product. sums: in this dtype."""
        sums.baddbmm_(rows.to(self.dtype), self.right)

    def plus(self, sums: Tensor, rows: Tensor) -> Tensor:
        """sums + the product. sums: in this dtype."""
        return torch.baddbmm(sums, rows.to(self.dtype), self.right)

    def write_to(self, out: Tensor, rows: Tensor) -> None:
        if out.dtype == self.dtype:
            torch.bmm(rows, self.right, out=out)
        else:
            out.copy_(torch.bmm(rows.to(self.dtype), self.right))

    def back(self, gradient: Tensor) -> Tensor:
        """gradient: of the product, (G, R, n_out). RETURNS: of the rows."""
        return torch.bmm(gradient.to(self.dtype), self.weight).to(gradient.dtype)

    def write_back_to(self, out: Tensor, gradient: Tensor) -> None:
        """gradient: already in this dtype."""
        if out.dtype == self.dtype:
            torch.bmm(gradient, self.weight, out=out)
        else:
            out.copy_(torch.bmm(gradient, self.weight))


class PackedProduct:
    """A `Product` by oneDNN, on a CPU, with the weights in its own blocked layout.

    PyTorch uses that layout in compiled models alone; the operator that they call is
    private. Plain products lose half of the speed to it, and more on processors that
    are not Intel's: see `can_pack`.

    weight: (1, n_out, n_in). dtype: of the product, float32 or bfloat16.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.packed = torch.ops.mkldnn._reorder_linear_weight(
            weight.detach()[0].to(dtype).contiguous(), _ROWS_IN_MIND
        )

    def __call__(self, rows: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows[0].to(self.dtype), self.packed, None, "none", [], ""
        )
        return product[None].to(rows.dtype)


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch has oneDNN's operators for packed weights, and they
    give the product."""
    if not torch.backends.mkldnn.is_available():
        return False
    # Whatever the user has made the default dtype and device.
    numbers = torch.arange(48 * 32, dtype=torch.float32, device="cpu")
    weight = numbers.sin().view(48, 32)
    rows = numbers[: 5 * 32].cos().view(1, 5, 32)
    with torch.no_grad():
        try:
            found = PackedProduct(weight[None], dtype)(rows)
        except (AttributeError, RuntimeError, TypeError, NotImplementedError):
            # A version of PyTorch without them, or with others of that name.
            return False
        expected = rows.to(dtype) @ weight.to(dtype).t()
    return torch.allclose(found, expected.float(), rtol=1e-2, atol=1e-2)


def lay_out(weight: Tensor, dtype: torch.dtype) -> Product:
    """The fastest product for weights that stay as they are.

    weight: (G, n_out, n_in). dtype: of the product.
    """
    large = weight[0].numel() * weight.element_size() >= _PACKED_BYTES
    if (
        len(weight) == 1
        and weight.device.type == "cpu"
        and dtype in (torch.float32, torch.bfloat16)
        and (large or dtype == torch.bfloat16)
        and can_pack(dtype)
    ):
        return PackedProduct(weight, dtype)
    return BatchedProduct(weight, dtype, lasting=True)
