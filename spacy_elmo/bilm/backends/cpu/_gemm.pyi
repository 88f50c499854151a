from typing import Optional, Sequence, Tuple

from torch import Tensor

from .instructions import Arithmetic

def processor_has(isa: int) -> bool: ...
def has_threads() -> bool: ...
def pack(
    weight: Tensor,
    panels: Tensor,
    transposed: bool,
    gates: bool,
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
def quantize_rows(
    rows: Tensor, operands: Tensor, arithmetic: Arithmetic, n_threads: int
) -> None: ...
def linear(
    inputs: Tensor,
    n_in: int,
    panels: Tensor,
    bias: Optional[Tensor],
    outputs: Tensor,
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
def outer_products(
    lefts: Sequence[Tuple[Tensor, Tensor, bool]],
    right: Tensor,
    sums: Optional[Tensor],
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
