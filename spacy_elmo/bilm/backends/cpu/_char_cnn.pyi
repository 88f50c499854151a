from typing import Optional

from torch import Tensor

from .instructions import Arithmetic

def response(
    characters: Tensor,
    char_dim: int,
    n_windows: Tensor,
    panels: Tensor,
    depths: Tensor,
    limits: Tensor,
    best: Tensor,
    where: Optional[Tensor],
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
def gradients(
    d_best: Tensor,
    where: Tensor,
    depths: Tensor,
    characters: Tensor,
    weight: Tensor,
    d_characters: Tensor,
    d_weight: Tensor,
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
