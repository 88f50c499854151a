"""Cached layers of docs in training and evaluation, if the biLM is frozen."""

from __future__ import annotations

import copy
import gc
import pickle
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model

from spacy_elmo import BiLM
from spacy_elmo.layers import elmo_model, layer_cache
from spacy_elmo.layers.elmo_model import build_elmo_model_v1, frozen_layers
from spacy_elmo.layers.layer_cache import LayerCache, key_of, narrow

OPEN_FILES = Path("/proc/self/fd")
TEXTS = ["She sat on the bank .", "A bank \n robbed", "", "The end .", "The end ."]


@pytest.fixture
def nlp() -> Language:
    return spacy.blank("en")


@pytest.fixture
def bilm(tiny_bilm: BiLM) -> BiLM:
    return copy.deepcopy(tiny_bilm)


@pytest.fixture
def docs(nlp: Language) -> list[Doc]:
    return [nlp.make_doc(text) for text in TEXTS]


def model_with(bilm: BiLM, layer_cache_mb: float) -> tuple[Model, list[list[str]]]:
    """Build an ElmoModel, and a list that receives each sentence its biLM reads."""
    model = build_elmo_model_v1(layer_cache_mb=layer_cache_mb)
    elmo_model.set_bilm(model, bilm)
    read: list[list[str]] = []
    bilm.register_forward_pre_hook(lambda module, inputs: read.extend(inputs[0]))
    return model, read


@pytest.mark.parametrize("layer_cache_mb", [1, 1e-5, 4e-4])
def test_each_sentence_is_read_once(
    docs: list[Doc], bilm: BiLM, layer_cache_mb: float
) -> None:
    """From memory, from the file, or from both."""
    model, read = model_with(bilm, layer_cache_mb)
    expected = model.predict(docs)
    read.clear()
    first = frozen_layers(model, docs, is_train=True)
    assert sorted(read) == sorted(
        [text.split() for text in ("She sat on the bank .", "A bank robbed")]
        + [["The", "end", "."]]
    )
    read.clear()
    again = frozen_layers(model, docs[::-1], is_train=True)[::-1]
    assert read == []
    for one, two, exact in zip(first, again, expected):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, exact, rtol=1e-3, atol=1e-6)
    cache = model.attrs["training_cache"]
    assert len(cache) == 3
    assert bool(cache.n_in_file) == (layer_cache_mb < 1)
    assert (len(cache) > cache.n_in_file) == (layer_cache_mb > 1e-5)


def assert_not_cached(
    model: Model, read: list[Any], docs: list[Doc], is_train: bool
) -> None:
    for _ in range(2):
        read.clear()
        layers = frozen_layers(model, docs, is_train=is_train)
        for found, expected in zip(layers, model.predict(docs)):
            np.testing.assert_array_equal(found, expected)
        assert len(read) == 2 * 4


def test_disabled_cache(docs: list[Doc], bilm: BiLM) -> None:
    assert_not_cached(*model_with(bilm, 0), docs, is_train=True)


def test_docs_without_words(nlp: Language, bilm: BiLM) -> None:
    model, _ = model_with(bilm, 1)
    empty, blank = frozen_layers(
        model, [nlp.make_doc(""), nlp.make_doc(" \n ")], is_train=True
    )
    assert empty.shape == (3, 0, 16)
    assert not blank.any()
    assert frozen_layers(model, [], is_train=True) == []


def test_changed_weights_clear_the_cache(docs: list[Doc], bilm: BiLM) -> None:
    model, _ = model_with(bilm, 1e-5)
    before = frozen_layers(model, docs, is_train=True)[0]
    with torch.no_grad():
        bilm.forward_layers[0].bias.add_(1.0)
    after = frozen_layers(model, docs, is_train=True)[0]
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(after, model.predict(docs)[0], rtol=1e-3, atol=1e-6)


def test_evaluated_docs_are_read_once_in_training(docs: list[Doc], bilm: BiLM) -> None:
    """Their layers are exact, not rounded to float16."""
    model, read = model_with(bilm, 1)
    expected = model.predict(docs)
    frozen_layers(model, docs[:1], is_train=True)
    read.clear()
    for n_read in (3, 0):
        found = frozen_layers(model, docs, is_train=False)
        assert len(read) == n_read
        for one, exact in zip(found, expected):
            np.testing.assert_allclose(one, exact, rtol=1e-5, atol=1e-7)
        found[0][:] = 0.0
        read.clear()


def test_without_training_nothing_is_kept_of_what_is_evaluated(
    docs: list[Doc], bilm: BiLM
) -> None:
    model, read = model_with(bilm, 1)
    assert_not_cached(model, read, docs, is_train=False)
    frozen_layers(model, docs, is_train=True)
    frozen_layers(model, docs, is_train=False)
    with torch.no_grad():
        bilm.forward_layers[0].bias.add_(1.0)
    read.clear()
    np.testing.assert_array_equal(
        frozen_layers(model, docs, is_train=False)[0], model.predict(docs)[0]
    )
    frozen_layers(model, docs, is_train=True)
    np.testing.assert_allclose(
        frozen_layers(model, docs, is_train=False)[0],
        model.predict(docs)[0],
        rtol=1e-5,
        atol=1e-7,
    )


def test_memory_of_the_evaluation_cache(docs: list[Doc], bilm: BiLM) -> None:
    """It has no file, because a trained pipeline reads any number of docs."""
    n_bytes = 4 * 3 * 6 * 16  # of the first sentence
    model, read = model_with(bilm, 4 * n_bytes / 2**20)
    frozen_layers(model, docs, is_train=True)
    for n_read in (3, 2):
        read.clear()
        frozen_layers(model, docs, is_train=False)
        assert len(read) == n_read
    cache = model.attrs["evaluation_cache"]
    assert len(cache) == 1
    assert not cache.n_in_file


def test_values_that_overflow_float16() -> None:
    small, large = np.full((1, 1, 2), 1.0, "f4"), np.full((1, 1, 2), 1e6, "f4")
    assert narrow(small).dtype == np.float16
    assert narrow(large).dtype == np.float32
    np.testing.assert_array_equal(
        np.concatenate([narrow(small), narrow(large)], axis=1),
        np.concatenate([small, large], axis=1),
    )


def test_keys_identify_sentences() -> None:
    sentences = [["a", "b"], ["ab"], ["a b"], ["a", "b", ""], ["b", "a"], ["\ud800"]]
    assert len({key_of(sentence) for sentence in sentences}) == len(sentences)
    assert key_of(["a", "b"]) == key_of(["a", "b"])


def test_full_disk(
    docs: list[Doc], bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def seek(self, *args: int) -> int:
            return 0

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr(layer_cache.tempfile, "TemporaryFile", lambda **kwargs: Full())
    model, read = model_with(bilm, 1e-5)
    with pytest.warns(UserWarning, match="No space left.*TMPDIR") as caught:
        first = frozen_layers(model, docs, is_train=True)
    # Other warnings may occur, for example about an unclosed file.
    assert len([each for each in caught if "No space left" in str(each.message)]) == 1
    read.clear()
    for one, two in zip(first, frozen_layers(model, docs, is_train=True)):
        np.testing.assert_allclose(one, two, rtol=1e-3)
    assert len(read) == 3


def test_no_temporary_folder(
    docs: list[Doc], bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise FileNotFoundError("No usable temporary directory found")

    for name in ("TemporaryFile", "gettempdir"):
        monkeypatch.setattr(layer_cache.tempfile, name, fail)
    model, _ = model_with(bilm, 1e-5)
    with pytest.warns(UserWarning, match="No usable temporary directory.*TMPDIR"):
        frozen_layers(model, docs, is_train=True)
    assert not model.attrs["training_cache"].n_in_file


def test_reserved_disk_space(
    docs: list[Doc], bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(1 << 40, 0, (1 << 30) + 1)
    monkeypatch.setattr(layer_cache.shutil, "disk_usage", lambda path: usage)
    model, _ = model_with(bilm, 1e-5)
    with pytest.warns(UserWarning, match="1024 MiB are free, of which 1024"):
        frozen_layers(model, docs, is_train=True)
    assert not model.attrs["training_cache"].n_in_file


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs /proc")
def test_number_of_file_descriptors() -> None:
    cache = LayerCache(1e-6)
    arrays = [np.full((2, 3, 4), i, "f2") for i in range(50)]
    for i, array in enumerate(arrays):
        cache.put(bytes([i]), array)
    assert cache.n_in_file == 50
    n_open = len(list(OPEN_FILES.iterdir()))
    found = [cache.get(bytes([i])) for i in range(50)]
    assert len(list(OPEN_FILES.iterdir())) - n_open < 5
    for one, other in zip(found, arrays):
        np.testing.assert_array_equal(one, other)
    cache.put(b"more", arrays[7])
    np.testing.assert_array_equal(cache.get(b"more"), arrays[7])
    cache.clear()
    np.testing.assert_array_equal(found[3], arrays[3])


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("error::ResourceWarning")
def test_the_file_is_closed_with_the_cache() -> None:
    cache = LayerCache(1e-6)
    cache.put(b"key", np.ones((2, 3, 4), "f2"))
    assert cache.n_in_file == 1
    del cache
    gc.collect()


def test_copies_are_empty(tmp_path: Path) -> None:
    cache = LayerCache(1e-6, spills=True)
    cache.put(b"key", np.ones((1, 1, 2), dtype=np.float16))
    copies: list[Any] = [copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))]
    for other in copies:
        assert len(other) == 0
        assert other.memory_mb == 1e-6
        assert other.spills
    assert not pickle.loads(pickle.dumps(LayerCache(1, spills=False))).spills
    assert len(cache) == 1
