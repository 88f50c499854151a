"""A biLM's weights packed once for inference, the cache of its word vectors, and the
fingerprint that changes with the weights."""

from functools import cache
from itertools import count
from typing import Any, List, Optional, Sequence, Tuple
from weakref import WeakSet

from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from .backends import Backend
from .char_cnn import CharacterEncoder
from .operations import LayerPair, prepare
from .word_cache import WordCache

Fingerprint = Tuple[int, Tuple[Tuple[int, int], ...]]

_stamps = count()
_watched: "WeakSet[nn.Module]" = WeakSet()


def new_stamp() -> int:
    """Return a number that no biLM of this process has had."""
    return next(_stamps)


class Prepared:
    """What inference needs besides the parameters, for the weights of this moment.

    bilm (nn.Module): The biLM.
    stamp (int): The biLM's stamp, changed by `BiLM.clear_cache`.
    backend (Backend): Packs the weights, and computes with them.
    encoder (CharacterEncoder): The biLM's character encoder.
    pairs (Sequence[LayerPair]): The biLM's LSTMs.
    word_cache_mb (float): Size of the word cache in MiB; 0 for none.
    """

    def __init__(
        self,
        bilm: nn.Module,
        stamp: int,
        backend: Backend,
        encoder: CharacterEncoder,
        pairs: Sequence[LayerPair],
        word_cache_mb: float,
    ) -> None:
        self.fingerprint = fingerprint(bilm, stamp)
        _watched.add(bilm)
        _watch_fused_optimizers()
        # Kept alive, so that no other weights can take over their addresses.
        self._weights = [parameter.detach() for parameter in bilm.parameters()]
        self.dtype = backend.dtype
        self.word_cache_mb = word_cache_mb
        vectors = encoder.char_embedding.weight.detach()
        width = pairs[0][0].weight_ih.shape[1]
        capacity = int(word_cache_mb * 2**20 / (vectors.element_size() * width))
        self.words = WordCache(capacity, width, vectors)
        self.operations = prepare(backend, encoder, pairs)


@cache
def _watch_fused_optimizers() -> None:
    """Fused optimizers change weights without increasing PyTorch's version counters."""
    register_optimizer_step_post_hook(_after_step)


def _after_step(optimizer: Optimizer, *arguments: Any) -> None:
    changed = {
        id(parameter)
        for group in optimizer.param_groups
        if group.get("fused")
        for parameter in group["params"]
    }
    if changed:
        for bilm in list(_watched):
            if not changed.isdisjoint(map(id, bilm.parameters())):
                bilm.clear_cache()  # type: ignore[operator]


def fingerprint(bilm: nn.Module, stamp: int) -> Fingerprint:
    """Return a value that changes with the weights, as far as PyTorch counts changes,
    and with the stamp."""
    changes: List[Tuple[int, int]] = []
    modules: List[Optional[nn.Module]] = [bilm]
    # `bilm.parameters()` also builds their names, which is noticeable for a short text.
    while modules:
        module = modules.pop()
        if module is None:
            continue
        modules += module._modules.values()
        for parameter in module._parameters.values():
            if parameter is not None:
                # Tensors made in inference mode have no version counter.
                version = 0 if parameter.is_inference() else parameter._version
                changes.append((parameter.data_ptr(), version))
    return stamp, tuple(changes)
