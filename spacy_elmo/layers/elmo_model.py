"""spacy_elmo.ElmoModel.v1: docs -> all layers of each token."""

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple, cast

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats3d

from ..bilm import BiLM
from ..bilm.batching import DEFAULT_BATCH_TOKENS
from ..bilm.model import DEFAULT_WORD_CACHE_MB
from ..bilm.precision import PRECISIONS
from .bilm_layer import NO_WEIGHTS, BiLMShim, build_torch_bilm
from .doc_sentences import group_docs, split_sentences
from .layer_cache import LayerCache, key_of, narrow

DocLayers = List[Floats3d]

DEFAULT_WINDOW = 128
DEFAULT_LAYER_CACHE_MB = 1024

GROUP_BATCHES = 4
"""Docs are sorted into batches in groups of this many batches. Larger groups fill the
batches better; smaller ones use less memory on top of the docs' own layers."""

EVALUATION_SHARE = 0.25
"""Share of the layer cache reserved for docs that training evaluates."""


@dataclass(frozen=True)
class DocReading:
    """How docs are read. Wrapped in an object because Thinc serializes plain attrs, and
    they would override the config on load.

    window (int): Maximum sentence length for docs without sentence boundaries.
    group_tokens (int): Maximum number of tokens that are sorted into batches together.
    precision (str): Precision of matrix products.
    """

    window: int
    group_tokens: int
    precision: str


def build_elmo_model_v1(
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    window: int = DEFAULT_WINDOW,
    precision: str = "float32",
    word_cache_mb: float = DEFAULT_WORD_CACHE_MB,
    layer_cache_mb: float = DEFAULT_LAYER_CACHE_MB,
) -> Model[List[Doc], DocLayers]:
    """Build a biLM over docs. Its sizes come with the weights.

    batch_tokens (int): Maximum number of tokens per batch. Bounds memory.
    window (int): Maximum sentence length for docs without sentence boundaries.
    precision (str): "float32"; "bfloat16"; "int8", for a frozen biLM on a CPU; "auto"
        for bfloat16 if it is native; or "fastest" for int8 if possible, else "auto".
    word_cache_mb (float): MiB for the context-independent vectors of words seen before.
        0 disables the cache.
    layer_cache_mb (float): MiB for layers that a frozen biLM would compute again in
        every epoch. Three quarters are for training docs: rounded to float16, with a
        temporary file for what does not fit. A quarter is for docs that training
        evaluates, in float32. 0 disables the cache.
    RETURNS (Model[List[Doc], List[Floats3d]]): Maps docs to layers of shape
        (n_layers + 1, n_tokens, width), zeros for whitespace tokens.
    RAISES: ValueError if a number is too small or `precision` is unknown.
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
        layers=[build_torch_bilm(batch_tokens, precision, word_cache_mb)],
        dims={"nO": None},
        attrs={
            "reading": DocReading(window, GROUP_BATCHES * batch_tokens, precision),
            "training_cache": LayerCache(layer_cache_mb * (1 - EVALUATION_SHARE)),
            "evaluation_cache": LayerCache(
                layer_cache_mb * EVALUATION_SHARE, spills=False
            ),
        },
    )


def forward(
    model: Model[List[Doc], DocLayers], docs: Sequence[Doc], is_train: bool
) -> Tuple[DocLayers, Callable]:
    find_bilm(model)
    reading: DocReading = model.attrs["reading"]
    if not is_train:
        outputs: DocLayers = []
        for group in group_docs(docs, reading.group_tokens):
            batch = split_sentences(group, reading.window)
            layers = model.layers[0].predict(batch.sentences)
            outputs += batch.to_docs(model.ops, layers)
        return outputs, lambda d_outputs: []
    batch = split_sentences(docs, reading.window)
    # Without words there is nothing to learn, and autograd has no graph.
    layers, backprop_layers = model.layers[0](batch.sentences, bool(batch.sentences))

    def backprop(d_outputs: DocLayers) -> List[Doc]:
        if batch.sentences:
            backprop_layers(batch.from_docs(model.ops, d_outputs))
        return []

    return batch.to_docs(model.ops, layers), backprop


def find_bilm(model: Model[List[Doc], DocLayers]) -> Optional[BiLM]:
    """Get the biLM inside. If there is none yet, load the weights that the model's attr
    `default_weights` finds.

    RETURNS (Optional[BiLM]): The biLM; None if there are no weights.
    """
    shim = cast(BiLMShim, model.layers[0].shims[0])
    if shim.bilm is None and "default_weights" in model.attrs:
        loader = model.attrs["default_weights"]()
        if loader is not None:
            set_bilm(model, loader(), loader)
    return shim.bilm


def get_bilm(model: Model[List[Doc], DocLayers]) -> BiLM:
    """Get the biLM inside, as `find_bilm` does.

    RAISES: ValueError if there are no weights.
    """
    bilm = find_bilm(model)
    if bilm is None:
        raise ValueError(NO_WEIGHTS)
    return bilm


def get_source(
    model: Model[List[Doc], DocLayers],
) -> Optional[Callable[[], BiLM]]:
    """Get the loader that the biLM inside comes from, if any."""
    return cast(BiLMShim, model.layers[0].shims[0]).source


def set_bilm(
    model: Model[List[Doc], DocLayers],
    bilm: BiLM,
    source: Optional[Callable[[], BiLM]] = None,
) -> None:
    """Put a biLM inside, replacing the current one if there is any.

    source (Optional[Callable]): The loader that it comes from, if any.
    """
    shim = cast(BiLMShim, model.layers[0].shims[0])
    shim.bilm = bilm
    shim.source = source
    model.set_dim("nO", bilm.config.width, force=True)


def frozen_layers(
    model: Model[List[Doc], DocLayers], docs: Sequence[Doc], is_train: bool
) -> DocLayers:
    """Compute layers as `predict` does, but read each sentence only once while heads
    are trained on a frozen biLM.

    In training, all layers are rounded to float16, whether or not they were cached.
    In evaluation, layers are exact. They are cached only if heads were just trained on
    the same weights: `spacy train` then evaluates the same docs again and again.
    """
    cache: LayerCache = model.attrs["training_cache"]
    copy: Callable[[np.ndarray], np.ndarray] = narrow
    # A pipeline that was never trained need not compute its weights' fingerprint.
    if (not cache.enabled) if is_train else (not len(cache)):
        return model.predict(list(docs))
    weights = get_bilm(model).fingerprint()
    if not is_train:
        if not cache.holds(weights):
            return model.predict(list(docs))
        cache, copy = model.attrs["evaluation_cache"], np.array
    cache.follow(weights)
    reading: DocReading = model.attrs["reading"]
    outputs: DocLayers = []
    for group in group_docs(docs, reading.group_tokens):
        batch = split_sentences(group, reading.window)
        if batch.sentences:
            layers = _read_once(model, batch.sentences, cache, copy)
        else:
            layers = model.layers[0].predict([])
        outputs += batch.to_docs(model.ops, layers)
    return outputs


def _read_once(
    model: Model[List[Doc], DocLayers],
    sentences: List[List[str]],
    cache: LayerCache,
    copy: Callable[[np.ndarray], np.ndarray],
) -> Floats3d:
    """Compute the layers of sentences that are not cached yet.

    copy (Callable): Makes an independent array of a sentence's layers, to be cached.
    RETURNS (Floats3d): Shape (n_layers + 1, n_words, width).
    """
    keys = [key_of(sentence) for sentence in sentences]
    cached: Dict[bytes, Optional[np.ndarray]] = {key: cache.get(key) for key in keys}
    missing = {
        key: sentence for key, sentence in zip(keys, sentences) if cached[key] is None
    }
    if missing:
        new = model.ops.to_numpy(model.layers[0].predict(list(missing.values())))
        ends = np.cumsum([len(sentence) for sentence in missing.values()])
        for key, part in zip(missing, np.split(new, ends[:-1], axis=1)):
            cached[key] = layers = copy(part)
            cache.put(key, layers)
    parts = cast(List[np.ndarray], [cached[key] for key in keys])
    joined = np.concatenate(parts, axis=1, dtype=np.float32)
    return cast(Floats3d, model.ops.xp.asarray(joined))
