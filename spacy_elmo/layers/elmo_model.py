"""spacy_elmo.ElmoModel.v1: docs -> all layers of each token."""

from functools import partial
from typing import Callable, Iterator, List, Sequence, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats3d

from ..bilm import BiLM
from ..bilm.model import DEFAULT_BATCH_TOKENS, DEFAULT_WORD_CACHE_MB
from ..bilm.precision import PRECISIONS
from . import torch_bilm
from .spans import get_words

DocLayers = List[Floats3d]

DEFAULT_WINDOW = 128

_BATCHES_AT_ONCE = 4
"""Docs of so many batches are sorted into batches together: more leaves the batches
fuller, less bounds the memory beside what lies on the docs."""


def build_elmo_model_v1(
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    window: int = DEFAULT_WINDOW,
    precision: str = "float32",
    word_cache_mb: float = DEFAULT_WORD_CACHE_MB,
) -> Model[List[Doc], DocLayers]:
    """A biLM over docs; its sizes come with the weights.

    batch_tokens: words in work at once; bounds the memory.
    window: words read at once where a doc has no sentence boundaries.
    precision: of the matrix products, "float32", "bfloat16" or "auto".
    word_cache_mb: MiB for the vectors of words that were met before; 0 keeps none.
    RETURNS: docs -> for each, (n_layers + 1, n_tokens, width); tokens of white space
        are all zeros.

    Raises ValueError for a number that is too small or an unknown precision.
    """
    for name, value in (("batch_tokens", batch_tokens), ("window", window)):
        if value < 1:
            raise ValueError(
                f"{name}: expected a whole number of at least 1, found {value}."
            )
    if word_cache_mb < 0:
        raise ValueError(
            f"word_cache_mb: expected a number of at least 0, found {word_cache_mb}."
        )
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}."
        )
    # Not as attrs: those are stored, and would overrule the config that loads a model.
    group_tokens = _BATCHES_AT_ONCE * batch_tokens
    return Model(
        "elmo_model",
        partial(forward, window=window, group_tokens=group_tokens),
        layers=[torch_bilm.torch_bilm(batch_tokens, precision, word_cache_mb)],
        dims={"nO": None},
    )


def get_bilm(model: Model[List[Doc], DocLayers]) -> BiLM:
    """The biLM inside. Raises ValueError where it has no weights yet."""
    return torch_bilm.get_bilm(model.layers[0])


def has_bilm(model: Model[List[Doc], DocLayers]) -> bool:
    return torch_bilm.has_bilm(model.layers[0])


def set_bilm(model: Model[List[Doc], DocLayers], bilm: BiLM) -> None:
    """Put a biLM inside, in place of the one that is there, if any."""
    torch_bilm.set_bilm(model.layers[0], bilm)
    model.set_dim("nO", bilm.config.width, force=True)


def forward(
    model: Model[List[Doc], DocLayers],
    docs: Sequence[Doc],
    is_train: bool,
    *,
    window: int,
    group_tokens: int,
) -> Tuple[DocLayers, Callable]:
    if is_train:
        return _forward_group(model, docs, window, True)
    layers: DocLayers = []
    for group in _groups(docs, group_tokens):
        layers.extend(_forward_group(model, group, window, False)[0])
    return layers, lambda d_layers: []


def _forward_group(
    model: Model[List[Doc], DocLayers], docs: Sequence[Doc], window: int, is_train: bool
) -> Tuple[DocLayers, Callable]:
    words = get_words(docs, window)
    # Without a word there is nothing to learn, and autograd has no graph.
    is_train = is_train and bool(words.sentences)
    layers, backprop_layers = model.layers[0](words.sentences, is_train)
    xp = model.ops.xp
    n_layers, _, width = layers.shape
    outputs: DocLayers = []
    start = 0
    for n_words, is_word in zip(words.n_words, words.is_word):
        part = layers[:, start : start + n_words]
        if n_words < len(is_word):
            output = model.ops.alloc3f(n_layers, len(is_word), width)
            output[:, xp.asarray(is_word)] = part
        else:
            # A copy: a view would keep the whole batch in memory with each doc.
            output = xp.ascontiguousarray(part) if len(docs) == 1 else part.copy()
        outputs.append(output)
        start += n_words

    def backprop(d_outputs: DocLayers) -> List[Doc]:
        if not is_train:
            return []
        parts = [
            d_output[:, xp.asarray(is_word)]
            for d_output, is_word in zip(d_outputs, words.is_word)
        ]
        backprop_layers(xp.ascontiguousarray(xp.concatenate(parts, axis=1)))
        return []

    return outputs, backprop


def _groups(docs: Sequence[Doc], group_tokens: int) -> Iterator[List[Doc]]:
    group: List[Doc] = []
    n_tokens = 0
    for doc in docs:
        if group and n_tokens + len(doc) > group_tokens:
            yield group
            group, n_tokens = [], 0
        group.append(doc)
        n_tokens += len(doc)
    if group:
        yield group
