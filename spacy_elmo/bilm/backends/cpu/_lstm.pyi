from typing import Mapping, Optional, Sequence, Tuple

from torch import Tensor

from .instructions import Arithmetic

Arrays = Sequence[Mapping[str, Optional[Tensor]]]

def forward(
    batch_sizes: Sequence[int],
    lstms: Arrays,
    clips: Tuple[float, float],
    sizes: Tuple[int, int, int, int],
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
def backward(
    batch_sizes: Sequence[int],
    lstms: Arrays,
    clips: Tuple[float, float],
    sizes: Tuple[int, int, int, int],
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
