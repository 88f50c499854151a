"""The English weights that ship with the package."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import spacy
import torch

from spacy_elmo import load_bundled
from spacy_elmo.formats.bundled import BUNDLED
from spacy_elmo.layers import weight_loaders
from spacy_elmo.layers.weight_loaders import bundled_weights_v1
from spacy_elmo.scoring.scorer import Scorer
from spacy_elmo.text.tokenization import Tokenization, read_tokenization

pytestmark = pytest.mark.skipif(
    not BUNDLED["md"].is_dir(), reason=f"{BUNDLED['md']}: this version ships no weights"
)
RIVERS = [
    "They sat on the bank of the river and watched the water.",
    "We rowed to the other bank of the lake.",
    "The house stands on the left bank of the Rhine.",
    "Trees grew along the muddy bank of the stream.",
]
MONEY = [
    "She works for a large bank that lends money to companies.",
    "The bank was closed, so he could not pay in his cheque.",
    "He robbed a bank and stole the money.",
    "The bank gave her a loan for the house.",
]


def test_size_and_loading_time() -> None:
    assert sum(path.stat().st_size for path in BUNDLED["md"].iterdir()) < 64e6
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        bundled_weights_v1()()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


def test_small_weights() -> None:
    folder = BUNDLED["sm"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    assert read_tokenization(folder) == Tokenization("en", "lines")
    nlp = spacy.blank("en")
    block = {"@callbacks": "spacy_elmo.BundledWeights.v1", "size": "sm"}
    nlp.config["initialize"]["components"]["elmo"] = {"weights": block}
    elmo = nlp.add_pipe("elmo", config={"mix": "top"})
    nlp.initialize()
    assert elmo.bilm.config == load_bundled("sm").config
    vectors = {word: nlp(f"He {word} home .")[1] for word in ("walked", "talked", "to")}
    walked, talked, to = vectors.values()
    assert walked.similarity(talked) > walked.similarity(to)
    nlp = spacy.blank("en")
    nlp.config["initialize"]["components"]["elmo"] = {"weights": block}
    nlp.add_pipe("elmo", config={"score": True})
    with pytest.raises(ValueError, match=r"weights.sm: expected .* output layer"):
        nlp.initialize()


def test_blank_pipeline_with_default_weights() -> None:
    code = (
        "import spacy, sys; nlp = spacy.blank('en'); nlp.add_pipe('elmo'); "
        "doc = nlp('It works.'); print(doc._.elmo.layers.shape, bool(doc.vector.any()))"
        # PyTorch's compiler, whose import takes a second.
        "; print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    width = 2 * load_bundled().config.projection_dim
    assert done.stdout == f"(3, 3, {width}) True\nFalse\n"


def test_tokenization() -> None:
    assert read_tokenization(BUNDLED["md"]) == Tokenization("en", "lines")


def test_probabilities_of_words() -> None:
    scorer = Scorer.load()
    assert len(scorer.words) <= 50_000
    hidden = scorer.bilm.encode([RIVERS[0].split()])[0][-1, :, :256]
    targets = torch.arange(len(scorer.words))
    rows = torch.as_tensor(hidden[:1]).expand(len(targets), -1)
    log_probs = scorer.output_layer.prepare().score(rows, targets).log_probs
    assert float(log_probs.double().exp().sum()) == pytest.approx(1, abs=1e-5)
    right = ["The", "keys", "to", "the", "cabinet", "are", "on", "the", "table", "."]
    wrong = ["The", "keys", "to", "the", "cabinet", "is", "on", "the", "table", "."]
    shuffled = ["the", "on", "cabinet", "The", "are", "to", "keys", "table", "the", "."]
    totals = [each.forward_total for each in scorer.log_probs([right, wrong, shuffled])]
    assert totals[0] > totals[1] > totals[2]


def test_scores_in_a_pipeline() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo", config={"score": True})
    doc = nlp("The bank was closed , so he zorgled .")
    assert [token.text for token in doc if not token._.known] == ["zorgled"]
    assert 1 < doc._.perplexity < 1000
    assert doc[2]._.surprisal < doc[3]._.surprisal


def test_the_output_layer_is_read_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(weight_loaders, "read_output_layer", fail)
    nlp = spacy.blank("en")
    elmo = nlp.add_pipe("elmo")
    assert nlp(RIVERS[0]).vector.any()
    nlp.to_bytes()
    assert elmo.scorer is None


def test_word_senses() -> None:
    """The nearest "bank" has the same sense."""
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo", config={"mix": "top"})
    banks = [
        next(token for token in nlp(text) if token.text == "bank")
        for text in RIVERS + MONEY
    ]
    for number, bank in enumerate(banks):
        nearest = max(set(banks) - {bank}, key=bank.similarity)
        assert (number < len(RIVERS)) == (banks.index(nearest) < len(RIVERS)), bank.doc
        assert np.isfinite(bank.vector).all()
    # The layer without context is equal.
    layers = [token.doc._.elmo.layers[0, token.i] for token in (banks[0], banks[-1])]
    np.testing.assert_allclose(layers[0], layers[1], rtol=1e-5, atol=1e-6)


def test_parts_of_speech() -> None:
    """A verb is closer to a verb than to an adverb."""
    bilm = load_bundled()
    sentences = ("He walked home .", "He talked again .")
    layers = bilm.encode([sentence.split() for sentence in sentences])
    walked, talked = (sentence[1, 1] for sentence in layers)
    home = layers[0][1, 2]

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(walked, talked) > cosine(walked, home)
