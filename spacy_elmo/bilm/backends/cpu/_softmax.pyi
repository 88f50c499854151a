from typing import Any

from numpy import float32, int64
from numpy.typing import NDArray

def log_sum_exp(
    hidden: NDArray[Any],
    panels: NDArray[Any],
    bias: NDArray[float32],
    places: NDArray[int64],
    total: NDArray[float32],
    there: NDArray[float32],
    n_threads: int,
) -> None: ...
def logits_back(
    hidden: NDArray[Any],
    panels: NDArray[Any],
    bias: NDArray[float32],
    places: NDArray[int64],
    total: NDArray[float32],
    d_loss: NDArray[float32],
    back_panels: NDArray[Any],
    d_logits: NDArray[Any],
    d_hidden: NDArray[float32],
    n_threads: int,
) -> None: ...
