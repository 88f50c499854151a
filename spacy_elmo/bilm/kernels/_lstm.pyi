from typing import Any, Sequence, Tuple

from numpy import int64
from numpy.typing import NDArray

def lanes() -> int: ...
def forward(
    batch_sizes: NDArray[int64],
    lstms: Sequence[Tuple[Any, ...]],
    cell_clip: float,
    projection_clip: float,
    n_threads: int,
) -> None: ...
def backward(
    batch_sizes: NDArray[int64],
    lstms: Sequence[Tuple[Any, ...]],
    cell_clip: float,
    projection_clip: float,
    n_threads: int,
) -> None: ...
