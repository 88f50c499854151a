"""The English weights that ship with the package."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import spacy

from spacy_elmo import load_bilm
from spacy_elmo.layers.weights import BUNDLED, bundled_weights_v1

pytestmark = pytest.mark.skipif(
    not BUNDLED.is_dir(), reason=f"{BUNDLED}: this version ships no weights"
)
RIVER = "They sat on the bank of the river and watched the water."
MONEY = "She works for a large bank that lends money to companies."
OTHER = "The bank was closed, so he could not pay in his cheque."


def test_size_and_loading_time() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 30e6
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        bundled_weights_v1()()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


def test_blank_pipeline_with_default_weights() -> None:
    code = (
        "import spacy, sys; nlp = spacy.blank('en'); nlp.add_pipe('elmo'); "
        "doc = nlp('It works.'); print(doc._.elmo.layers.shape, bool(doc.vector.any()))"
        # PyTorch's compiler, whose import takes a second.
        "; print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    width = 2 * load_bilm(BUNDLED).config.projection_dim
    assert done.stdout == f"(3, 3, {width}) True\nFalse\n"


def test_word_senses() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo", config={"mix": "top"})
    docs = [nlp(text) for text in (RIVER, MONEY, OTHER)]
    river, money, other = (
        next(token for token in doc if token.text == "bank") for doc in docs
    )
    assert money.similarity(other) > money.similarity(river)
    assert money.similarity(other) > other.similarity(river)
    for token in (river, money, other):
        assert np.isfinite(token.vector).all()
    # The layer without context is equal.
    layers = [token.doc._.elmo.layers[0, token.i] for token in (river, money)]
    np.testing.assert_allclose(layers[0], layers[1], rtol=1e-5, atol=1e-6)


def test_parts_of_speech() -> None:
    """A verb is closer to a verb than to an adverb."""
    bilm = load_bilm(BUNDLED)
    sentences = ("He walked home .", "He talked again .")
    layers = bilm.encode([sentence.split() for sentence in sentences])
    walked, talked = (sentence[1, 1] for sentence in layers)
    home = layers[0][1, 2]

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(walked, talked) > cosine(walked, home)
