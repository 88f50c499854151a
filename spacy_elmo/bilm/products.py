"""Matrix products with weights that are laid out once and then read many times.

Shapes: G weights side by side, R rows.
"""

from typing import Optional, Protocol

import torch
from torch import Tensor

from . import onednn
from .matmul import baddbmm_, bmm

_TRANSPOSED_BYTES = 4 << 20
"""Weights up to this size are laid out for the product that reads them: it is up to
half as fast again. Larger ones do not fit into a core's cache either way."""

_PACKED_BYTES = 1 << 20
_PACKED_BYTES_CHOSEN = 128 << 10
"""In float32, from this size on packing is worth the slower call; the second where
oneDNN is faster than plain products either way."""


_SUMS_WORTH_PACKING = 8
"""From so many products on, weights that fit into a core's cache are packed even if
they change after them."""


class Product(Protocol):
    """Rows times weights, (G, R, n_in) -> (G, R, n_out), in the rows' dtype."""

    def __call__(self, rows: Tensor) -> Tensor: ...

    def add_to(self, sums: Tensor, rows: Tensor) -> None:
        """In place, sums += the product."""


class BatchedProduct:
    """A `Product` with the weights as they lie, and its way back.

    weight: (G, n_out, n_in). dtype: of the product.
    lasting: whether it will be read so often that another layout pays.
    n_sums: how often `add_to` will be called.
    """

    def __init__(
        self,
        weight: Tensor,
        dtype: torch.dtype,
        lasting: bool = False,
        n_sums: int = 0,
    ) -> None:
        self.weight = weight.detach().to(dtype)
        self.dtype, self.lasting = dtype, lasting
        right = self.weight.transpose(1, 2)
        if lasting and right[0].numel() * right.element_size() <= _TRANSPOSED_BYTES:
            right = right.contiguous()
        self.right = right
        self._summed: Optional[PackedProduct] = None
        if n_sums >= _SUMS_WORTH_PACKING and _pays_to_pack_for_a_while(weight, dtype):
            self._summed = PackedProduct(weight, dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        return bmm(rows.to(self.dtype), self.right).to(rows.dtype)

    def low(self, rows: Tensor) -> Tensor:
        """The product in its own dtype."""
        return bmm(rows.to(self.dtype), self.right)

    def add_to(self, sums: Tensor, rows: Tensor) -> None:
        if self._summed is not None:
            self._summed.add_to(sums, rows)
        elif sums.dtype == self.dtype and not self.lasting:
            baddbmm_(sums, rows.to(self.dtype), self.right)
        else:
            sums.add_(self.low(rows))

    def plus(self, sums: Tensor, rows: Tensor) -> Tensor:
        """sums + the product. sums: in this dtype."""
        return torch.baddbmm(sums, rows.to(self.dtype), self.right)

    def write_to(self, out: Tensor, rows: Tensor) -> None:
        if out.dtype == self.dtype:
            bmm(rows, self.right, out=out)
        else:
            out.copy_(bmm(rows.to(self.dtype), self.right))

    def back(self, gradient: Tensor) -> Tensor:
        """gradient: of the product, (G, R, n_out). RETURNS: of the rows."""
        return bmm(gradient.to(self.dtype), self.weight).to(gradient.dtype)

    def write_back_to(self, out: Tensor, gradient: Tensor) -> None:
        """gradient: already in this dtype."""
        if out.dtype == self.dtype:
            bmm(gradient, self.weight, out=out)
        else:
            out.copy_(bmm(gradient, self.weight))


class PackedProduct:
    """A `Product` by oneDNN, on a CPU, with the weights in its own blocked layout.

    weight: (G, n_out, n_in). dtype: of the product, float32 or bfloat16.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self.dtype = dtype
        low = weight.detach().to(dtype).contiguous()
        self.packed = [onednn.pack(one) for one in low]

    def __call__(self, rows: Tensor) -> Tensor:
        low = rows.to(self.dtype)
        products = [onednn.multiply(*pair) for pair in zip(low, self.packed)]
        if len(products) == 1:
            return products[0][None].to(rows.dtype)
        return torch.stack(products).to(rows.dtype)

    def add_to(self, sums: Tensor, rows: Tensor) -> None:
        for place, *pair in zip(sums, rows.to(self.dtype), self.packed):
            place.add_(onednn.multiply(*pair))


def lay_out(weight: Tensor, dtype: torch.dtype) -> Product:
    """The fastest product for weights that stay as they are.

    weight: (G, n_out, n_in). dtype: of the product.
    """
    if weight.device.type == "cpu" and _pays_to_pack(weight, dtype):
        return PackedProduct(weight, dtype)
    return BatchedProduct(weight, dtype, lasting=True)


def _pays_to_pack(weight: Tensor, dtype: torch.dtype) -> bool:
    if not onednn.is_enabled():
        return False
    if dtype == torch.bfloat16:
        return len(weight) == 1 and onednn.can_pack(dtype)
    if dtype != torch.float32 or not onednn.can_pack(dtype):
        return False
    n_bytes = weight[0].numel() * weight.element_size()
    if onednn.is_chosen():
        return n_bytes >= _PACKED_BYTES_CHOSEN
    # Several in one call are faster than each packed in its own.
    return len(weight) == 1 and n_bytes >= _PACKED_BYTES


def _pays_to_pack_for_a_while(weight: Tensor, dtype: torch.dtype) -> bool:
    n_bytes = weight[0].numel() * weight.element_size()
    return (
        weight.device.type == "cpu"
        and dtype == torch.float32
        and _PACKED_BYTES_CHOSEN <= n_bytes <= _TRANSPOSED_BYTES
        and onednn.is_chosen()
        and onednn.can_pack(dtype)
    )
