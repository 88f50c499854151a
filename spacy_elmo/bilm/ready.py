"""A biLM made ready to run without gradients: its weights laid out for fast products,
and the words that it has met."""

from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Iterator, Tuple
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from . import onednn
from .backends.cpu.workspace import release
from .directions import ReadyDirections
from .products import lay_out
from .word_cache import WordCache

if TYPE_CHECKING:
    from .model import BiLM

Fingerprint = Tuple[int, Tuple[Tuple[int, int], ...]]

_stamps = count()
_with_caches: "WeakSet[BiLM]" = WeakSet()


def new_stamp() -> int:
    """A number that no biLM of this process has had."""
    return next(_stamps)


class ReadyBiLM:
    """Holds for the weights that the biLM has when it is made.

    bilm: the network. dtype: of the matrix products.
    word_cache_mb: for the vectors of words, in MiB; 0: none are kept.
    """

    def __init__(self, bilm: "BiLM", dtype: torch.dtype, word_cache_mb: float) -> None:
        release()  # what training has left, if any
        self.fingerprint = fingerprint(bilm)
        _with_caches.add(bilm)
        _follow_fused_optimizers()
        # Held, so that no other weights come to lie in their memory.
        self._weights = [parameter.detach() for parameter in bilm.parameters()]
        self.dtype = dtype
        self.word_cache_mb = word_cache_mb
        self.by_onednn = onednn.is_enabled()
        width = bilm.config.projection_dim
        encoder = bilm.character_encoder
        like = encoder.char_embedding.weight.detach()
        capacity = int(word_cache_mb * 2**20 / (like.element_size() * width))
        self.words = WordCache(capacity, width, like)
        self.filter_weight = encoder.filter_weight().detach()
        linears = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)]
        self._products = {
            id(layer): lay_out(layer.weight[None], dtype) for layer in linears
        }
        self.layers = [ReadyDirections(pair, dtype) for pair in bilm.layer_pairs()]

    def apply(self, layer: nn.Linear, inputs: Tensor) -> Tensor:
        """A linear layer of the character encoder."""
        return self._products[id(layer)](inputs[None])[0].add_(layer.bias)


@cache
def _follow_fused_optimizers() -> None:
    """They change weights without PyTorch's counting it."""
    register_optimizer_step_post_hook(_after_step)


def _after_step(optimizer: Optimizer, *arguments: Any) -> None:
    changed = {
        id(parameter)
        for group in optimizer.param_groups
        if group.get("fused")
        for parameter in group["params"]
    }
    if changed:
        for bilm in list(_with_caches):
            if not changed.isdisjoint(map(id, bilm.parameters())):
                bilm.clear_cache()


def fingerprint(bilm: "BiLM") -> Fingerprint:
    """Changes with the weights, where PyTorch sees the change, and with each
    `BiLM.clear_cache`."""
    return bilm.stamp, tuple(
        (
            parameter.data_ptr(),
            # Made in inference mode, a tensor counts no changes.
            0 if parameter.is_inference() else parameter._version,
        )
        for parameter in _parameters(bilm)
    )


def _parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """`module.parameters()` without the making of their names, which a short text would
    notice; with repetitions, if there are any."""
    for parameter in module._parameters.values():
        if parameter is not None:
            yield parameter
    for child in module._modules.values():
        if child is not None:
            yield from _parameters(child)
