"""One pipeline in several threads, and in forked and spawned processes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
from helpers.pipelines import LISTENER, trainable
from spacy.language import Language

TEXTS = [f"Ann{i} saw the bank {i} times . Rome left ." for i in range(40)]


@pytest.fixture
def pipeline(weights: Path) -> Language:
    return trainable({"tagger": LISTENER}, weights)


def results(nlp: Language, texts: list[str], **settings: int) -> list[np.ndarray]:
    """Layers of each text, after a check that its head has run."""
    docs = list(nlp.pipe(texts, batch_size=4, **settings))
    assert all(token.tag_ for doc in docs for token in doc)
    return [doc._.elmo.layers for doc in docs]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_threads_share_a_pipeline(pipeline: Language) -> None:
    with ThreadPoolExecutor(8) as threads:
        # Started together, on new words, each in another order.
        orders = [TEXTS[i * 5 :] + TEXTS[: i * 5] for i in range(8)]
        found = list(threads.map(lambda texts: results(pipeline, texts), orders))
    expected = dict(zip(TEXTS, results(pipeline, TEXTS)))
    for texts, layers in zip(orders, found):
        assert_same(layers, [expected[text] for text in texts])


@pytest.fixture(params=["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no start method {request.param!r}")
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def test_processes_after_the_parent_has_computed(
    pipeline: Language, start_method: str
) -> None:
    """The child does not have the parent's threads, and may not have its caches."""
    expected = results(pipeline, TEXTS)
    assert_same(results(pipeline, TEXTS, n_process=2), expected)
