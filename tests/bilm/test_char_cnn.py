"""CharacterEncoder and its highways."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm import ByteCharacters
from spacy_elmo.bilm.backends import TorchBackend
from spacy_elmo.bilm.char_cnn import CharacterEncoder, Highway, make_embedding
from spacy_elmo.bilm.operations import bind

WORDS = ["", "a", "bank", "Donaudampfschiff", "<S>", "日本語", "x" * 60]


def encoder(**changes: object) -> CharacterEncoder:
    """A small encoder in float64 in which every parameter matters."""
    values: dict[str, object] = {
        "char_dim": 4,
        "filters": ((1, 3), (2, 4), (5, 6)),
        "n_highway": 2,
        "max_characters_per_token": 20,
        "dim": 12,
        "projection_dim": 8,
    }
    torch.manual_seed(0)
    module = CharacterEncoder(BiLMConfig(**{**values, **changes})).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return module


def encode(module: CharacterEncoder, ids: Tensor, longest: int) -> Tensor:
    return encode_words(module, ids, torch.zeros(len(ids), dtype=torch.long), longest)


def encode_words(
    module: CharacterEncoder, ids: Tensor, words: Tensor, longest: int = 20
) -> Tensor:
    backend = TorchBackend(torch.device("cpu"), torch.float64)
    char_cnn, linear, _ = bind(backend, module, [])
    return module(ids, words, [longest] * len(ids), char_cnn, linear)


def apply(layer: torch.nn.Linear, inputs: Tensor) -> Tensor:
    return layer(inputs)


def word_ids(*words: str, max_characters: int = 20) -> Tensor:
    return torch.from_numpy(ByteCharacters(max_characters)(words))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_omitted_padding_changes_nothing(word: str, activation: str) -> None:
    module, ids = encoder(activation=activation), word_ids(word)
    used = int((ids != ByteCharacters.padding).sum())
    whole = encode(module, ids, longest=20)
    for longest in {used, min(used + 1, 20), 20}:
        torch.testing.assert_close(encode(module, ids, longest), whole)


def test_windows_of_padding_take_part_in_the_maximum() -> None:
    """Padding counts if its windows give the maximum."""
    module, ids = encoder(n_highway=0, projection_dim=12, dim=13), word_ids("ab")
    module.projection = None
    with torch.no_grad():
        module.char_embedding.weight.zero_()
        module.char_embedding.weight[ByteCharacters.padding] = 1.0
        for convolution in module.convolutions:
            convolution.weight.fill_(1.0)
            convolution.bias.zero_()
    expected = [4.0] * 3 + [8.0] * 4 + [20.0] * 6
    assert encode(module, ids, longest=4).tolist() == [expected]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_convolution_maximum_bias_activation(activation: str) -> None:
    module = encoder(n_highway=0, activation=activation)
    module.projection = None
    ids = word_ids("bank")
    table = module.char_embedding.weight.detach().numpy()
    characters = table[ids[0].numpy()]
    features = []
    for convolution in module.convolutions:
        kernel = convolution.weight.detach().numpy()
        width = kernel.shape[2]
        windows = [
            np.einsum("wd,ndw->n", characters[start : start + width], kernel)
            for start in range(20 - width + 1)
        ]
        best = np.max(windows, axis=0) + convolution.bias.detach().numpy()
        features.append(np.maximum(best, 0) if activation == "relu" else np.tanh(best))
    found = encode(module, ids, longest=6)[0].detach().numpy()
    np.testing.assert_allclose(found, np.concatenate(features), rtol=1e-12)


def test_highway_formula() -> None:
    torch.manual_seed(0)
    module, x = Highway(5).double(), np.random.default_rng(0).normal(size=(3, 5))
    weights = {name: p.detach().numpy() for name, p in module.named_parameters()}
    gate = sigmoid(x @ weights["gate.weight"].T + weights["gate.bias"])
    new = np.maximum(x @ weights["transform.weight"].T + weights["transform.bias"], 0)
    found = module(torch.from_numpy(x), apply).detach().numpy()
    np.testing.assert_allclose(found, gate * new + (1 - gate) * x, rtol=1e-12)


def test_no_projection_if_the_number_of_filters_fits() -> None:
    assert encoder(projection_dim=12, filters=((1, 5), (2, 7))).projection is None
    assert encoder(projection_dim=8).projection is not None


def test_word_embedding_comes_before_the_characters() -> None:
    module = encoder(n_highway=0, word_dim=3, n_words=5)
    ids, words = word_ids("a", "b"), torch.tensor([4, 2])
    with_words = encode_words(module, ids, words)
    assert module.word_embedding is not None
    assert module.projection is not None
    with torch.no_grad():
        module.projection.weight[:, 3:] = 0
        module.projection.bias.zero_()
    alone = encode_words(module, ids, words)
    expected = module.word_embedding.weight[words] @ module.projection.weight[:, :3].T
    torch.testing.assert_close(alone, expected)
    assert not torch.allclose(with_words, alone)


def test_embedding_equals_pytorchs() -> None:
    torch.manual_seed(3)
    expected = torch.nn.Embedding(7, 4)
    torch.manual_seed(3)
    found = make_embedding(7, 4)
    assert torch.equal(found.weight, expected.weight)
    assert found.weight.requires_grad
    assert torch.equal(found.state_dict()["weight"], expected.weight)
    assert (found.num_embeddings, found.embedding_dim) == (7, 4)
    with torch.device("meta"):
        assert make_embedding(7, 4).weight.is_meta
