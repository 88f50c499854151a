from typing import Any, Mapping, Sequence

from numpy import int64
from numpy.typing import NDArray

def lanes() -> int: ...
def multiplies_bfloat16() -> bool: ...
def forward(
    batch_sizes: NDArray[int64],
    lstms: Sequence[Mapping[str, Any]],
    cell_clip: float,
    projection_clip: float,
    n_threads: int,
) -> None: ...
def backward(
    batch_sizes: NDArray[int64],
    lstms: Sequence[Mapping[str, Any]],
    cell_clip: float,
    projection_clip: float,
    n_threads: int,
) -> None: ...
