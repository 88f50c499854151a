from torch import Tensor

from .instructions import Arithmetic

LOGITS_AT_ONCE: int

def log_sum_exp(
    hidden: Tensor,
    panels: Tensor,
    bias: Tensor,
    columns: Tensor,
    total: Tensor,
    target: Tensor,
    entropy: Tensor,
    n_words: int,
    width: int,
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
def logit_gradients(
    hidden: Tensor,
    panels: Tensor,
    bias: Tensor,
    columns: Tensor,
    total: Tensor,
    d_loss: Tensor,
    back_panels: Tensor,
    d_logits: Tensor,
    d_hidden: Tensor,
    n_words: int,
    arithmetic: Arithmetic,
    n_threads: int,
) -> None: ...
