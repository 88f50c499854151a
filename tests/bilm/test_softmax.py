"""The language model's output layers: full, sampled, adaptive."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from spacy_elmo.bilm import softmax as softmax_module
from spacy_elmo.bilm.backends import TorchBackend
from spacy_elmo.bilm.softmax import (
    AdaptiveSoftmax,
    FullSoftmax,
    SampledSoftmax,
    make_output_layer,
    sampled_loss,
)

N_WORDS, WIDTH = 40, 6


@pytest.fixture
def batch() -> "tuple[torch.Tensor, torch.Tensor]":
    torch.manual_seed(0)
    return torch.randn(9, WIDTH), torch.randint(0, N_WORDS, (9,))


def test_full_is_cross_entropy(batch: "tuple[torch.Tensor, torch.Tensor]") -> None:
    hidden, targets = batch
    layer = FullSoftmax(N_WORDS, WIDTH)
    with torch.no_grad():
        layer.bias.normal_()
    logits = (
        (hidden @ layer.weight.t() + layer.bias[:, 0])
        .detach()
        .numpy()
        .astype("float64")
    )
    likelihood = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(likelihood[np.arange(9), targets.numpy()])
    np.testing.assert_allclose(layer(hidden, targets).detach(), expected, rtol=1e-5)


def test_likelihood_of_a_sampled_softmax_is_exact(
    batch: "tuple[torch.Tensor, torch.Tensor]",
) -> None:
    layer = SampledSoftmax(N_WORDS, WIDTH, n_samples=5)
    expected = layer(*batch)
    torch.testing.assert_close(layer.prepare().nll(*batch), expected.detach())


@pytest.mark.parametrize("n_rows", [1, 4, 9])
def test_adaptive_scores_in_chunks(
    batch: "tuple[torch.Tensor, torch.Tensor]",
    monkeypatch: pytest.MonkeyPatch,
    n_rows: int,
) -> None:
    monkeypatch.setattr(softmax_module, "_MAX_LOGITS", n_rows * N_WORDS)
    prepared = AdaptiveSoftmax(N_WORDS, WIDTH, [4]).prepare()
    scores = prepared.score(*batch)
    torch.testing.assert_close(scores.log_probs, -prepared.nll(*batch))
    log_probs = prepared._softmax.log_prob(batch[0]).detach()
    expected = torch.distributions.Categorical(logits=log_probs).entropy()
    torch.testing.assert_close(scores.entropies, expected)


def test_words_are_sampled_log_uniformly() -> None:
    """The observed frequency of each word equals the one the loss corrects for."""
    layer = SampledSoftmax(N_WORDS, WIDTH, n_samples=8)
    torch.manual_seed(1)
    draws = [layer.sample() for _ in range(20_000)]
    assert all(len(set(draw.words.tolist())) == 8 for draw in draws)
    found = torch.bincount(torch.cat([draw.words for draw in draws])) / len(draws)
    everywhere = torch.arange(N_WORDS)
    expected = torch.stack(
        [layer.log_expected_count(everywhere, draw.n_tries).exp() for draw in draws]
    ).mean(dim=0)
    # Given the number of tries, about the probabilities of that many free draws.
    np.testing.assert_allclose(found, expected, rtol=0.1)
    one = SampledSoftmax(N_WORDS, WIDTH, n_samples=1)
    found = torch.bincount(torch.cat([one.sample().words for _ in range(50_000)]))
    ranks = np.arange(N_WORDS)
    chances = np.log((ranks + 2) / (ranks + 1)) / math.log(N_WORDS + 1)
    assert chances.sum() == pytest.approx(1)
    np.testing.assert_allclose(found / 50_000, chances, atol=0.006)
    np.testing.assert_allclose(
        one.log_expected_count(everywhere, 1).exp(), chances, rtol=1e-5
    )


def test_sampling_all_words_gives_the_full_softmax(
    batch: "tuple[torch.Tensor, torch.Tensor]",
) -> None:
    """Loss and gradient are equal."""
    hidden, targets = batch
    layer = SampledSoftmax(N_WORDS, WIDTH, n_samples=N_WORDS)
    draw = layer.sample()
    assert draw.words.tolist() == list(range(N_WORDS))
    correction = layer.log_expected_count(draw.words, draw.n_tries)
    loss = sampled_loss(
        TorchBackend(torch.device("cpu"), torch.float32),
        hidden,
        layer.weight,
        layer.bias - correction[:, None],
        targets,
        draw.words,
        targets + 1,
    )
    logits = hidden @ layer.weight.t() + layer.bias[:, 0]
    full = F.cross_entropy(logits, targets, reduction="none")
    weights = [layer.weight, layer.bias]
    torch.testing.assert_close(loss, full)
    expected = torch.autograd.grad(full.sum(), weights)
    for found, gradient in zip(torch.autograd.grad(loss.sum(), weights), expected):
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-6)


def test_no_correction_if_all_words_are_sampled() -> None:
    """Every word is certain to be sampled, however many tries that took."""
    everywhere = torch.arange(N_WORDS)
    for n_samples, expected in ((N_WORDS, True), (N_WORDS - 1, False)):
        layer = SampledSoftmax(N_WORDS, WIDTH, n_samples)
        correction = layer.log_expected_count(everywhere, layer.sample().n_tries)
        assert correction.dtype == torch.float32
        assert (not correction.any()) == expected


def test_adaptive_is_a_distribution(batch: "tuple[torch.Tensor, torch.Tensor]") -> None:
    hidden, targets = batch
    layer = AdaptiveSoftmax(N_WORDS, WIDTH, cutoffs=[5, 15, 100], div_value=2.0)
    everywhere = [
        torch.exp(-layer(hidden, torch.full((9,), word))) for word in range(N_WORDS)
    ]
    torch.testing.assert_close(torch.stack(everywhere).sum(dim=0), torch.ones(9))
    expected = F.nll_loss(layer.softmax.log_prob(hidden), targets, reduction="none")
    torch.testing.assert_close(layer.prepare().nll(hidden, targets), expected.detach())
    assert layer.n_words == N_WORDS


def test_narrowest_cluster_has_width_1() -> None:
    layer = AdaptiveSoftmax(9, 4, [3, 5, 100], 2.0)
    assert [len(tail[0].weight) for tail in layer.softmax.tail] == [2, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FullSoftmax(1, WIDTH), "n_words: expected at least 2, found 1"),
        (lambda: SampledSoftmax(9, WIDTH, 0), "n_samples: expected at least 1"),
        (lambda: SampledSoftmax(9, WIDTH, 10), "at most the 9 words"),
        (lambda: AdaptiveSoftmax(9, WIDTH, []), "cutoffs: expected increasing"),
        (lambda: AdaptiveSoftmax(9, WIDTH, [9]), "cutoffs: expected increasing"),
        (
            lambda: AdaptiveSoftmax(9, WIDTH, [5, 2]),
            "cutoffs: expected increasing",
        ),
        (lambda: AdaptiveSoftmax(9, WIDTH, [3, 5]), r"6 / 4\.0\^2, .*\[3, 5\]"),
        (lambda: AdaptiveSoftmax(9, WIDTH, [3, 5], 1e200), r"6 / 1e\+200\^1, "),
    ],
)
def test_invalid_sizes_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_make_output_layer() -> None:
    settings = {"n_samples": 9, "cutoffs": (4, 9), "div_value": 2.0}
    full = make_output_layer(30, 4, type="full", **settings)
    assert type(full) is FullSoftmax
    assert full.weight.shape == (30, 4)
    sampled = make_output_layer(30, 4, type="sampled", **settings)
    assert isinstance(sampled, SampledSoftmax)
    assert (sampled.n_words, sampled.n_samples) == (30, 9)
    adaptive = make_output_layer(30, 4, type="adaptive", **settings)
    assert isinstance(adaptive, AdaptiveSoftmax)
    assert adaptive.softmax.cutoffs == [4, 9, 30]
    assert adaptive.softmax.div_value == 2.0
    with pytest.raises(ValueError, match="found 'hierarchical'"):
        make_output_layer(30, 4, type="hierarchical", **settings)
