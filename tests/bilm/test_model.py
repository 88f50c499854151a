"""BiLM.encode, forward and encode_batch: order, batches, memory, gradients, state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spacy.lang.en import English
from torch import Tensor

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm import VocabularyCharacters
from spacy_elmo.bilm.batching import group_by_length

SENTENCES = [
    ["She", "sat", "on", "the", "river", "bank", "."],
    [],
    ["He", "robbed", "the", "bank", "."],
    [""],
    ["The", "the", "the", "x" * 300],
]


def test_shapes_and_order(tiny_bilm: BiLM) -> None:
    layers = tiny_bilm.encode(SENTENCES)
    assert [array.shape for array in layers] == [(3, len(s), 16) for s in SENTENCES]
    assert all(array.dtype == np.float32 for array in layers)


@pytest.mark.parametrize("sentences", [[], [[]], [[], []]])
def test_nothing_to_encode(tiny_bilm: BiLM, sentences: list[list[str]]) -> None:
    layers = tiny_bilm.encode(sentences)
    assert [array.shape for array in layers] == [(3, 0, 16)] * len(sentences)
    assert tiny_bilm(sentences).shape == (3, 0, 16)


def test_results_own_their_memory(tiny_bilm: BiLM) -> None:
    """Keeping one sentence must not keep its batch in memory."""
    kept = tiny_bilm.encode([["a", "b"]] * 50)[0]
    base = kept if kept.base is None else kept.base
    assert base.nbytes <= kept.nbytes * 2


@pytest.mark.parametrize("batch_tokens", [9, 14, 100])
def test_batches_are_filled_and_bounded(batch_tokens: int) -> None:
    rng = np.random.default_rng(0)
    sentences = [["w"] * n for n in rng.integers(0, 20, size=60)]
    batches = list(group_by_length(sentences, batch_tokens))
    numbers = [number for batch in batches for number in batch]
    assert sorted(numbers) == [n for n, s in enumerate(sentences) if s]
    lengths = [len(sentences[number]) for number in numbers]
    assert lengths == sorted(lengths, reverse=True)
    sizes = [sum(len(sentences[number]) + 2 for number in batch) for batch in batches]
    for batch, size, following in zip(batches, sizes, batches[1:]):
        assert size <= batch_tokens or len(batch) == 1
        assert size + len(sentences[following[0]]) + 2 > batch_tokens


def test_sentence_longer_than_a_batch(tiny_bilm: BiLM) -> None:
    words = [f"w{n % 97}" for n in range(3000)]
    whole, short = tiny_bilm.encode([words, ["a"]], batch_tokens=100)
    assert whole.shape == (3, 3000, 16)
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(short, tiny_bilm.encode([["a"]])[0], atol=1e-6)
    # Layer 0 shows the order; a prefix and a suffix check the two directions.
    np.testing.assert_allclose(whole[0, 97:194], whole[0, :97], atol=1e-6)
    head = tiny_bilm.encode([words[:50]])[0]
    np.testing.assert_allclose(whole[:, :50, :8], head[:, :, :8], atol=1e-5)
    tail = tiny_bilm.encode([words[-50:]])[0]
    np.testing.assert_allclose(whole[:, -50:, 8:], tail[:, :, 8:], atol=1e-5)


@pytest.mark.slow
def test_sentence_of_200_000_words(tiny_config: BiLMConfig) -> None:
    resource = pytest.importorskip("resource", reason="Unix only")
    bilm = BiLM(tiny_config.replace(n_layers=1))
    words = [f"w{n % 97}" for n in range(200_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    layers = bilm.encode([words])[0]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert layers.shape == (2, 200_000, 16)
    assert after - before < 500_000  # KiB on Linux; the result is 25 MiB
    head = bilm.encode([words[:50]])[0]
    np.testing.assert_allclose(layers[:, :50, :8], head[:, :, :8], atol=1e-5)
    tail = bilm.encode([words[-50:]])[0]
    np.testing.assert_allclose(layers[:, -50:, 8:], tail[:, :, 8:], atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [7, 4096])
def test_forward_equals_encode(tiny_bilm: BiLM, batch_tokens: int) -> None:
    together = tiny_bilm(SENTENCES, batch_tokens).detach().numpy()
    expected = np.concatenate(tiny_bilm.encode(SENTENCES), axis=1)
    np.testing.assert_allclose(together, expected, atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [7, 4096])
@pytest.mark.parametrize("skip", [False, True])
def test_gradients_reach_every_parameter(
    tiny_config: BiLMConfig, batch_tokens: int, skip: bool
) -> None:
    bilm = BiLM(tiny_config.replace(use_skip_connections=skip, activation="tanh"))
    layers = bilm(SENTENCES, batch_tokens)
    layers[-1].square().sum().backward()
    for name, parameter in bilm.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_gradients_equal_difference_quotients(tiny_config: BiLMConfig) -> None:
    """In a random direction for each parameter."""
    torch.manual_seed(0)
    bilm = BiLM(tiny_config.replace(activation="tanh")).double()
    sentences = [["She", "sat", "."], ["bank"]]
    weights = torch.randn(3, 4, 16, dtype=torch.float64)

    def loss() -> Tensor:
        return (bilm.encode_batch(sentences, dtype=torch.float64)[0] * weights).sum()

    loss().backward()
    for name, parameter in bilm.named_parameters():
        direction, step = torch.randn_like(parameter), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
                values.append(loss().item())
                parameter.sub_(direction, alpha=sign * step)
        assert parameter.grad is not None
        found = (parameter.grad * direction).sum().item()
        quotient = (values[0] - values[1]) / (2 * step)
        assert found == pytest.approx(quotient, rel=1e-5, abs=1e-7), name


@pytest.mark.parametrize("n_streams", [1, 3])
def test_state_of_another_batch_size_is_refused(
    tiny_bilm: BiLM, n_streams: int
) -> None:
    _, state = tiny_bilm.encode_batch([["a"]] * n_streams)
    with pytest.raises(ValueError, match=f"state.*expected.* 2 .*found.* {n_streams}"):
        tiny_bilm.encode_batch([["a"], ["b"]], state)


@pytest.mark.parametrize("method", ["encode", "forward"])
@pytest.mark.parametrize("sentences", [[], SENTENCES])
def test_wrong_arguments(tiny_bilm: BiLM, method: str, sentences: list) -> None:
    run = getattr(tiny_bilm, method)
    with pytest.raises(ValueError, match=r"batch_tokens: expected.*found 0"):
        run(sentences, batch_tokens=0)
    with pytest.raises(ValueError, match=r"precision: expected.*found 'half'"):
        run(sentences, precision="half")


class Labelled(list):
    """Iterates by position, but looks up by label, as a pandas Series does."""

    def __getitem__(self, label: Any) -> Any:
        raise KeyError(label)


@pytest.mark.parametrize("method", ["encode", "forward"])
@pytest.mark.parametrize(
    "make",
    [
        iter,
        lambda sentences: (iter(sentence) for sentence in sentences),
        Labelled,
        lambda sentences: dict(enumerate(sentences)).values(),
        lambda sentences: tuple(np.array(sentence) for sentence in sentences),
    ],
    ids=["iterator", "generators", "labelled", "dict view", "arrays"],
)
def test_any_iterables_are_read_once_and_by_position(
    tiny_bilm: BiLM, method: str, make: Any
) -> None:
    sentences = [["She", "sat"], ["Rain"], ["the", "river", "bank"]]
    run = getattr(tiny_bilm, method)
    expected, result = run(sentences), run(make(sentences))
    for left, right in zip(expected, result):
        np.testing.assert_allclose(
            torch.as_tensor(right).detach(), torch.as_tensor(left).detach(), atol=1e-5
        )


@pytest.mark.parametrize("method", ["encode", "forward"])
@pytest.mark.parametrize(
    ("sentences", "found"),
    [
        ("She sat", "sentences: expected a list of words"),
        (["She", "sat"], "item 0: expected a list of words.*found str 'She'"),
        ([["She"], "sat"], "item 1: expected a list of words.*found str 'sat'"),
        ([["She"], {"sat"}], "item 1: .*found set"),
        ([{"She": 1}], "item 0: .*found dict"),
        ([["She", None]], "item 0: .*found list"),
        ([["She"], 3], "item 1: .*found int 3"),
        ([English()("She sat")], "item 0: .*found Doc She sat.*token.text"),
    ],
)
def test_what_is_no_sentence_is_refused(
    tiny_bilm: BiLM, method: str, sentences: Any, found: str
) -> None:
    with pytest.raises(TypeError, match=found):
        getattr(tiny_bilm, method)(sentences)


def test_vocabulary_scheme_requires_a_vocabulary(tiny_config: BiLMConfig) -> None:
    config = tiny_config.replace(characters="vocabulary", n_characters=7)
    with pytest.raises(ValueError, match=r"VocabularyCharacters.*found None"):
        BiLM(config)
    tokens = ("<bow>", "<eow>", "<oov>", "<pad>", "<bos>", "<eos>", "a")
    scheme = VocabularyCharacters({token: n for n, token in enumerate(tokens)}, {}, 50)
    a, b, c = BiLM(config, scheme).encode([["a"], ["b"], ["c"]])
    np.testing.assert_allclose(b, c, atol=1e-6)
    assert not np.allclose(a, b)


def test_n_parameters(tiny_bilm: BiLM) -> None:
    cnn = 262 * 4 + 4 * (1 * 4 + 1) + 8 * (2 * 4 + 1) + 8 * (3 * 4 + 1)
    highway, projection = 2 * (20 * 20 + 20), 20 * 8 + 8
    lstm = 4 * 24 * (8 + 8) + 4 * 24 + 24 * 8
    assert tiny_bilm.n_parameters == cnn + highway + projection + 4 * lstm


def test_vectors_that_are_not_finite_are_refused(
    tiny_config: BiLMConfig,
) -> None:
    """Finite weights may still overflow."""
    bilm = BiLM(tiny_config)
    with torch.no_grad():
        bilm.character_encoder.projection.weight.fill_(3e38)
    with pytest.raises(ValueError, match=r"found infinity or NaN: the weights"):
        bilm.encode([["a", "b"]])
