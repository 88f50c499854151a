"""A biLM made ready to run without gradients: its weights laid out for fast products,
and the words that it has met."""

from itertools import count
from typing import TYPE_CHECKING, Tuple

import torch
from torch import Tensor, nn

from .lstm import ReadyDirections
from .products import lay_out
from .word_cache import WordCache

if TYPE_CHECKING:
    from .model import BiLM

Fingerprint = Tuple[int, Tuple[Tuple[int, int], ...]]

_stamps = count()


def new_stamp() -> int:
    """A number that no biLM of this process has had."""
    return next(_stamps)


class ReadyBiLM:
    """Holds for the weights that the biLM has when it is made.

    bilm: the network. dtype: of the matrix products.
    word_cache_mb: for the vectors of words, in MiB; 0: none are kept.
    """

    def __init__(self, bilm: "BiLM", dtype: torch.dtype, word_cache_mb: float) -> None:
        self.fingerprint = fingerprint(bilm)
        # Held, so that no other weights come to lie in their memory.
        self._weights = [parameter.detach() for parameter in bilm.parameters()]
        self.dtype = dtype
        self.word_cache_mb = word_cache_mb
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


def fingerprint(bilm: "BiLM") -> Fingerprint:
    """Changes with the weights, where PyTorch sees the change, and with each
    `BiLM.clear_cache`."""
    return bilm.stamp, tuple(
        (
            parameter.data_ptr(),
            # Made in inference mode, a tensor counts no changes.
            0 if parameter.is_inference() else parameter._version,
        )
        for parameter in bilm.parameters()
    )
