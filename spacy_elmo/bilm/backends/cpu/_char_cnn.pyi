from numpy import float32, int32, int64
from numpy.typing import NDArray

def response(
    characters: NDArray[float32],
    n_windows: NDArray[int64],
    panels: NDArray[float32],
    depths: NDArray[int64],
    limits: NDArray[float32],
    best: NDArray[float32],
    where: NDArray[int32],
    n_threads: int,
) -> None: ...
def characters_back(
    d_best: NDArray[float32],
    where: NDArray[int32],
    depths: NDArray[int64],
    weight: NDArray[float32],
    d_characters: NDArray[float32],
    lanes: int,
    n_threads: int,
) -> None: ...
def filters_back(
    d_best: NDArray[float32],
    where: NDArray[int32],
    depths: NDArray[int64],
    characters: NDArray[float32],
    d_weight: NDArray[float32],
    lanes: int,
    n_threads: int,
) -> None: ...
