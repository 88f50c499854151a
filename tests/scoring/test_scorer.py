"""Scores of words: exact, normalized, independent of the batch."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.language_models import make_model, make_text, random_sentences

from spacy_elmo.pretraining.distributed import Group
from spacy_elmo.pretraining.evaluation import evaluate
from spacy_elmo.scoring.scorer import Scorer, SentenceScores, perplexity

WORDS = ["</S>", "<S>", "<UNK>", *(f"w{i}" for i in range(20))]
SENTENCES = [["w1", "w2", "unseen", "w3"], ["w4"], [], ["w5", "w1"], ["w0"] * 9]
ARRAYS = ("forward", "backward", "forward_entropy", "backward_entropy", "known")


def make_scorer(softmax: str = "full") -> Scorer:
    model = make_model(len(WORDS), softmax).requires_grad_(False)
    return Scorer(model.bilm, model.softmax, WORDS)


@pytest.fixture(params=["full", "sampled", "adaptive"])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    """A small random language model with each kind of output layer."""
    return make_scorer(request.param)


def assert_equal(left: SentenceScores, right: SentenceScores) -> None:
    for field in fields(SentenceScores):
        np.testing.assert_allclose(
            getattr(left, field.name), getattr(right, field.name), rtol=0, atol=1e-5
        )


def test_distributions_sum_to_one(scorer: Scorer) -> None:
    hidden = torch.randn(50, scorer.bilm.config.projection_dim) * 3
    targets = torch.arange(len(WORDS)).repeat(len(hidden))
    rows = hidden.repeat_interleave(len(WORDS), dim=0)
    log_probs = scorer.output_layer.prepare().score(rows, targets).log_probs
    totals = log_probs.exp().view(len(hidden), -1).sum(dim=1)
    np.testing.assert_allclose(totals, 1, atol=1e-5)


def test_sentence_alone_scores_as_in_any_batch(scorer: Scorer) -> None:
    together = scorer.log_probs(SENTENCES)
    for sentence, scores in zip(SENTENCES, together):
        assert_equal(scorer.log_probs([sentence])[0], scores)
    small_batches = scorer.log_probs(iter(SENTENCES), batch_tokens=4)
    for left, right in zip(small_batches, together):
        assert_equal(left, right)


def test_changed_weights_are_noticed() -> None:
    scorer = make_scorer()
    before = scorer.log_probs(SENTENCES)[0]
    with torch.no_grad():
        scorer.output_layer.bias[WORDS.index("w1")] += 2
    after = scorer.log_probs(SENTENCES)[0]
    assert after.forward[0] > before.forward[0] + 0.5
    fresh = Scorer(scorer.bilm, scorer.output_layer, WORDS).log_probs(SENTENCES)[0]
    assert_equal(after, fresh)


def test_scores_reproduce_held_out_perplexity(tmp_path: Path) -> None:
    """`evaluate` reads a single sentence without context too, so both must agree."""
    for number, sentence in enumerate(random_sentences(8, n_types=12)):
        text = make_text(tmp_path / str(number), [sentence], max_size=8)
        model = make_model(len(text.vocabulary)).requires_grad_(False)
        held_out = evaluate(
            model,
            text.shards,
            text.table,
            text.vocabulary,
            group=Group(0, 1, torch.device("cpu")),
        )
        scorer = Scorer(model.bilm, model.softmax, text.vocabulary.words)
        scored = perplexity(scorer.log_probs([sentence]))
        np.testing.assert_allclose(scored, held_out, rtol=1e-4)


def test_each_word_is_predicted_from_one_side_only() -> None:
    """The forward score of a word depends on what precedes it, and on nothing else."""
    scorer = make_scorer()
    first, second = scorer.log_probs([["w1", "w2", "w3"], ["w1", "w2", "w9"]])
    np.testing.assert_allclose(first.forward[:2], second.forward[:2], atol=1e-6)
    assert abs(first.forward[2] - second.forward[2]) > 1e-3
    assert (first.backward[:2] != second.backward[:2]).all()
    np.testing.assert_allclose(first.forward_entropy, second.forward_entropy, atol=1e-6)
    first, second = scorer.log_probs([["w1", "w2", "w3"], ["w9", "w2", "w3"]])
    np.testing.assert_allclose(first.backward[1:], second.backward[1:], atol=1e-6)
    assert (first.end, first.begin) != (second.end, second.begin)


def test_unknown_words_are_flagged_and_scored_as_unk() -> None:
    scorer = make_scorer()
    unseen, unk = scorer.log_probs([["w1", "unseen"], ["w1", "<UNK>"]])
    assert unseen.known.tolist() == unk.known.tolist() == [True, False]
    # Both are the target <UNK> after the same words.
    assert unseen.forward[1] == unk.forward[1]


def test_totals_entropy_reduction_and_bits() -> None:
    (scores,) = make_scorer().log_probs([["w1", "w2"]])
    assert scores.forward_total == pytest.approx(scores.forward.sum() + scores.end)
    assert scores.backward_total == pytest.approx(scores.backward.sum() + scores.begin)
    entropies = [*scores.forward_entropy, scores.end_entropy]
    np.testing.assert_allclose(scores.entropy_reduction, -np.diff(entropies), atol=1e-6)
    assert 0 < max(entropies) <= math.log(len(WORDS)) + 1e-5
    bits = scores.in_bits()
    np.testing.assert_allclose(bits.forward * math.log(2), scores.forward, rtol=1e-6)
    assert bits.end == pytest.approx(scores.end / math.log(2))
    np.testing.assert_array_equal(bits.known, scores.known)


def test_empty_input() -> None:
    scorer = make_scorer()
    assert scorer.log_probs([]) == []
    (scores,) = scorer.log_probs([[]])
    assert [getattr(scores, name).shape for name in ARRAYS] == [(0,)] * 5
    assert max(scores.end, scores.begin) < 0
    with pytest.raises(ValueError, match="expected at least one sentence"):
        perplexity([])


def test_bad_input_is_refused() -> None:
    scorer = make_scorer()
    with pytest.raises(TypeError, match="found str"):
        scorer.log_probs(["not a list"])
    with pytest.raises(ValueError, match="precision"):
        scorer.log_probs([["w1"]], precision="float31")
    with pytest.raises(ValueError, match="found 22 words"):
        Scorer(scorer.bilm, scorer.output_layer, WORDS[:-1])
    with pytest.raises(ValueError, match="without <UNK>"):
        Scorer(scorer.bilm, scorer.output_layer, [*WORDS[:2], "x", *WORDS[3:]])
