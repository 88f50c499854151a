from typing import Any, Optional, Sequence, Tuple

from numpy import float32
from numpy.typing import NDArray

def lay_out(
    weight: NDArray[float32],
    panels: NDArray[Any],
    turned: bool,
    gates: bool,
    lanes: int,
    n_threads: int,
) -> None: ...
def outer_products(
    lefts: Sequence[Tuple[NDArray[Any], NDArray[float32], bool]],
    right: NDArray[Any],
    sums: Optional[NDArray[float32]],
    lanes: int,
    n_threads: int,
) -> None: ...
