"""spacy_elmo.ElmoModel.v1: docs -> all layers of each token."""

from typing import Callable, Iterator, List, Optional, Sequence, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats3d

from ..bilm import BiLM
from ..bilm.model import DEFAULT_BATCH_TOKENS, DEFAULT_WORD_CACHE_MB
from ..bilm.precision import PRECISIONS
from . import torch_bilm
from .layer_cache import LayerCache
from .spans import Words, get_words
from .weights import Loader

DocLayers = List[Floats3d]

DEFAULT_WINDOW = 128
DEFAULT_LAYER_CACHE_MB = 1024

_BATCHES_AT_ONCE = 4
"""Docs of so many batches are sorted into batches together: more leaves the batches
fuller, less bounds the memory beside what lies on the docs."""


_EVALUATED = 0.25
"""Share of the layers' cache for docs that are evaluated."""


class Reading:
    """How docs are read. An object, for Thinc stores plain attrs, which would then
    overrule the config that loads a model.

    window: words read at once where a doc has no sentence boundaries.
    group_tokens: of docs that are sorted into batches together.
    """

    def __init__(self, window: int, group_tokens: int) -> None:
        self.window = window
        self.group_tokens = group_tokens


class Default:
    """Weights for a model that gets no others, loaded when they are first needed.

    find: tells how, or None: there are none.
    """

    def __init__(self) -> None:
        self.find: Callable[[], Optional[Loader]] = _nothing


def _nothing() -> Optional[Loader]:
    return None


def build_elmo_model_v1(
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    window: int = DEFAULT_WINDOW,
    precision: str = "float32",
    word_cache_mb: float = DEFAULT_WORD_CACHE_MB,
    layer_cache_mb: float = DEFAULT_LAYER_CACHE_MB,
) -> Model[List[Doc], DocLayers]:
    """A biLM over docs; its sizes come with the weights.

    batch_tokens: words in work at once; bounds the memory.
    window: words read at once where a doc has no sentence boundaries.
    precision: of the matrix products, "float32", "bfloat16" or "auto".
    word_cache_mb: MiB for the vectors of words that were met before; 0 keeps none.
    layer_cache_mb: MiB for what a biLM that is frozen in training need compute but
        once: three quarters for the layers of training docs, rounded to float16, of
        which what is more goes to a temporary file; a quarter for those of the docs
        that training evaluates, in float32. 0 keeps none.
    RETURNS: docs -> for each, (n_layers + 1, n_tokens, width); tokens of white space
        are all zeros.

    Raises ValueError for a number that is too small or an unknown precision.
    """
    for name, value in (("batch_tokens", batch_tokens), ("window", window)):
        if value < 1:
            raise ValueError(
                f"{name}: expected a whole number of at least 1, found {value}."
            )
    for name, size in (
        ("word_cache_mb", word_cache_mb),
        ("layer_cache_mb", layer_cache_mb),
    ):
        if size < 0:
            raise ValueError(f"{name}: expected a number of at least 0, found {size}.")
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}."
        )
    return Model(
        "elmo_model",
        forward,
        layers=[torch_bilm.torch_bilm(batch_tokens, precision, word_cache_mb)],
        dims={"nO": None},
        attrs={
            "reading": Reading(window, _BATCHES_AT_ONCE * batch_tokens),
            "training_cache": LayerCache(layer_cache_mb * (1 - _EVALUATED)),
            "evaluation_cache": LayerCache(layer_cache_mb * _EVALUATED, spills=False),
            "default": Default(),
        },
    )


def get_bilm(model: Model[List[Doc], DocLayers]) -> BiLM:
    """The biLM inside. Raises ValueError where it has no weights yet."""
    if not has_bilm(model):
        loader = model.attrs["default"].find()
        if loader is not None:
            set_bilm(model, loader())
    return torch_bilm.get_bilm(model.layers[0])


def has_bilm(model: Model[List[Doc], DocLayers]) -> bool:
    return torch_bilm.has_bilm(model.layers[0])


def set_bilm(model: Model[List[Doc], DocLayers], bilm: BiLM) -> None:
    """Put a biLM inside, in place of the one that is there, if any."""
    torch_bilm.set_bilm(model.layers[0], bilm)
    model.set_dim("nO", bilm.config.width, force=True)


def forward(
    model: Model[List[Doc], DocLayers], docs: Sequence[Doc], is_train: bool
) -> Tuple[DocLayers, Callable]:
    get_bilm(model)
    reading: Reading = model.attrs["reading"]
    if is_train:
        return _update(model, docs, reading.window)
    outputs: DocLayers = []
    for group in groups(docs, reading.group_tokens):
        words = get_words(group, reading.window)
        layers = model.layers[0].predict(words.sentences)
        outputs.extend(to_docs(model, layers, words))
    return outputs, lambda d_layers: []


def _update(
    model: Model[List[Doc], DocLayers], docs: Sequence[Doc], window: int
) -> Tuple[DocLayers, Callable]:
    words = get_words(docs, window)
    # Without a word there is nothing to learn, and autograd has no graph.
    is_train = bool(words.sentences)
    layers, backprop_layers = model.layers[0](words.sentences, is_train)
    xp = model.ops.xp

    def backprop(d_outputs: DocLayers) -> List[Doc]:
        if not is_train:
            return []
        parts = [
            d_output[:, xp.asarray(is_word)]
            for d_output, is_word in zip(d_outputs, words.is_word)
        ]
        backprop_layers(xp.ascontiguousarray(xp.concatenate(parts, axis=1)))
        return []

    return to_docs(model, layers, words), backprop


def to_docs(
    model: Model[List[Doc], DocLayers], layers: Floats3d, words: Words
) -> DocLayers:
    """By doc and token. layers: of the words of all docs, one after the other."""
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
            is_alone = len(words.n_words) == 1
            output = xp.ascontiguousarray(part) if is_alone else part.copy()
        outputs.append(output)
        start += n_words
    return outputs


def groups(docs: Sequence[Doc], group_tokens: int) -> Iterator[List[Doc]]:
    """Docs of at most `group_tokens` tokens together, or one longer doc."""
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
