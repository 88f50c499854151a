"""What a biLM that stays as it is gives while heads are trained on it: each sentence is
read once, and not once an epoch or evaluation."""

from typing import Callable, Dict, List, Sequence

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model

from ..bilm.ready import fingerprint
from .elmo_model import DocLayers, Reading, get_bilm, groups, to_docs
from .layer_cache import LayerCache, join, key_of, narrow
from .spans import get_words


def training_layers(
    model: Model[List[Doc], DocLayers], docs: Sequence[Doc]
) -> DocLayers:
    """As `predict`, but a sentence is read once for as long as the weights are the
    same. All is rounded to float16, whether or not it was kept."""
    cache: LayerCache = model.attrs["training_cache"]
    if not cache.is_used:
        return model.predict(list(docs))
    cache.follow(fingerprint(get_bilm(model)))
    return _read_once(model, docs, cache, narrow)


def evaluation_layers(
    model: Model[List[Doc], DocLayers], docs: Sequence[Doc]
) -> DocLayers:
    """`predict`. Where heads were trained on these weights just before, `spacy train`
    will evaluate the same docs again and again: their layers are kept, unrounded."""
    training: LayerCache = model.attrs["training_cache"]
    # A pipeline that was never trained need not ask for its weights' fingerprint.
    if not len(training) or not training.holds(fingerprint(get_bilm(model))):
        return model.predict(list(docs))
    cache: LayerCache = model.attrs["evaluation_cache"]
    cache.follow(fingerprint(get_bilm(model)))
    reading: Reading = model.attrs["reading"]
    return [
        layers
        for group in groups(docs, reading.group_tokens)
        for layers in _read_once(model, group, cache, np.array)
    ]


def _read_once(
    model: Model[List[Doc], DocLayers],
    docs: Sequence[Doc],
    cache: LayerCache,
    copy: Callable[[np.ndarray], np.ndarray],
) -> DocLayers:
    """copy: makes of a sentence's layers what is kept."""
    words = get_words(docs, model.attrs["reading"].window)
    if not words.sentences:
        return model.predict(list(docs))
    keys = [key_of(sentence) for sentence in words.sentences]
    found: Dict[bytes, np.ndarray] = {}
    missing: Dict[bytes, List[str]] = {}
    for key, sentence in zip(keys, words.sentences):
        layers = cache.get(key)
        if layers is None:
            missing[key] = sentence
        else:
            found[key] = layers
    if missing:
        new = model.ops.to_numpy(model.layers[0].predict(list(missing.values())))
        ends = np.cumsum([len(sentence) for sentence in missing.values()])
        for key, part in zip(missing, np.split(new, ends[:-1], axis=1)):
            found[key] = copy(part)
            cache.put(key, found[key])
    joined = model.ops.xp.asarray(join([found[key] for key in keys]))
    return to_docs(model, joined, words)
