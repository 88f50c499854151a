"""The word cache and packed weights of a biLM never change its results."""

from __future__ import annotations

import copy
import pickle
from itertools import chain
from pathlib import Path
from random import Random
from threading import Barrier, Thread
from typing import Callable

import numpy as np
import pytest
import torch

from spacy_elmo import BiLM, BiLMConfig, load_bilm, save_bilm

SENTENCES = [
    ["She", "sat", "on", "the", "river", "bank", "."],
    [],
    ["He", "robbed", "the", "bank", "."],
    [""],
    ["naïve", "The", "the", "x" * 70],
]
OTHERS = [[f"w{n}" for n in range(start, start + 9)] for start in (0, 5, 40)]
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "bfloat16"])
MIB_PER_WORD = 4 * 8 / 2**20


def fresh(bilm: BiLM) -> BiLM:
    """Return a biLM with the same weights and empty caches."""
    copy = BiLM(bilm.config, bilm.characters)
    copy.load_state_dict(bilm.state_dict())
    return copy.to(bilm.device, next(bilm.parameters()).dtype)


def difference(results: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the largest difference relative to the largest value of its layer."""
    worst = 0.0
    for one, other in zip(results, expected):
        assert one.shape == other.shape
        scale = np.abs(other).max(axis=(1, 2), keepdims=True, initial=1e-9)
        worst = max(worst, float((np.abs(one - other) / scale).max(initial=0.0)))
    assert len(results) == len(expected)
    return worst


def check(bilm: BiLM, precision: str = "float32") -> None:
    expected = fresh(bilm).encode(SENTENCES, precision=precision)
    found = bilm.encode(SENTENCES, precision=precision)
    # In bfloat16, the last bit may depend on the shape of the product.
    assert difference(found, expected) < (1e-6 if precision == "float32" else 0.02)


@PRECISIONS
@pytest.mark.parametrize("capacity", [0, 1, 3, 5, 12, 10_000])
def test_earlier_calls_do_not_matter(bilm: BiLM, capacity: int, precision: str) -> None:
    """Cold, warm, and with a cache smaller than a batch."""
    bilm.word_cache_mb = (capacity + 0.5) * MIB_PER_WORD
    for _ in range(2):
        check(bilm, precision)
    for sentences in (OTHERS, [], [[]], SENTENCES[:2], OTHERS[:1], [["a"]]):
        bilm.encode(sentences, precision=precision)
        check(bilm, precision)
    assert bilm.prepared is not None
    words = bilm.prepared.words
    assert words.capacity == capacity
    distinct = {"<S>", "</S>", "a", *chain(*SENTENCES, *OTHERS)}
    assert len(words) == min(capacity, len(distinct))


@pytest.mark.parametrize("batch_tokens", [1, 12, 4096])
def test_batches_share_cached_words(bilm: BiLM, batch_tokens: int) -> None:
    bilm.word_cache_mb = 4.5 * MIB_PER_WORD
    rng = Random(batch_tokens)
    expected = dict(enumerate(fresh(bilm).encode([*SENTENCES, *OTHERS])))
    for _ in range(8):
        order = rng.sample(sorted(expected), len(expected))
        sentences = [(*SENTENCES, *OTHERS)[number] for number in order]
        found = bilm.encode(sentences, batch_tokens)
        assert difference(found, [expected[number] for number in order]) < 1e-5


def test_words_are_encoded_once(bilm: BiLM, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = bilm._encode_words

    def spy(words: list[str], *args: object) -> torch.Tensor:
        read.extend(words)
        return original(words, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(bilm, "_encode_words", spy)
    bilm.encode(SENTENCES)
    assert sorted(read) == sorted({"<S>", "</S>", *chain(*SENTENCES)})
    read.clear()
    bilm.encode([["the", "bank", "burns"]])
    assert read == ["burns"]
    with torch.no_grad():
        bilm([["the", "bank", "burns", "."]])
        bilm.encode_words(["burns", "down"])
    assert read == ["burns", "down"]
    read.clear()
    bilm([["the", "bank"]])
    assert sorted(read) == ["</S>", "<S>", "bank", "the"]


def test_changed_cache_size_takes_effect(bilm: BiLM) -> None:
    for capacity in (5, 2, 0, 9):
        bilm.word_cache_mb = (capacity + 0.5) * MIB_PER_WORD
        check(bilm)
        assert bilm.prepared is not None
        assert bilm.prepared.words.capacity == capacity
        assert len(bilm.prepared.words) == capacity


def test_precisions_do_not_mix(bilm: BiLM) -> None:
    exact, rough = (
        fresh(bilm).encode(SENTENCES, precision=p) for p in ("float32", "bfloat16")
    )
    assert difference(rough, exact) > 1e-4
    for _ in range(3):
        assert difference(bilm.encode(SENTENCES), exact) < 1e-6
        assert difference(bilm.encode(SENTENCES, precision="bfloat16"), rough) == 0


def test_autocast_does_not_leak_into_the_cache(bilm: BiLM) -> None:
    expected = fresh(bilm).encode(SENTENCES)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = bilm.encode(SENTENCES)
        assert difference(rough, expected) < 0.3
        assert difference(bilm.encode(SENTENCES), expected) < 1e-6


@pytest.mark.parametrize("first", [True, False])
@PRECISIONS
def test_inference_mode(bilm: BiLM, first: bool, precision: str) -> None:
    """Inside and outside, in either order, then with gradients."""
    for number, mode in enumerate((first, not first, first)):
        with torch.inference_mode(mode):
            check(bilm, precision)
            bilm.encode([[f"new{number}", "a"]], precision=precision)
    layers = bilm(SENTENCES, precision=precision)
    layers.sum().backward()
    assert all(parameter.grad is not None for parameter in bilm.parameters())
    check(bilm, precision)


def test_bilm_made_in_inference_mode(tiny_bilm: BiLM) -> None:
    with torch.inference_mode():
        bilm = fresh(tiny_bilm)
        check(bilm)
    check(bilm)


def _deepcopy(bilm: BiLM, folder: Path) -> BiLM:
    return copy.deepcopy(bilm)


def _pickle(bilm: BiLM, folder: Path) -> BiLM:
    return pickle.loads(pickle.dumps(bilm))


def _torch_save(bilm: BiLM, folder: Path) -> BiLM:
    torch.save(bilm, folder / "bilm.pt")
    return torch.load(folder / "bilm.pt", weights_only=False)


def _save(bilm: BiLM, folder: Path) -> BiLM:
    save_bilm(bilm, folder)
    return load_bilm(folder)


@pytest.mark.parametrize("way", [_deepcopy, _pickle, _torch_save, _save])
def test_copies_are_independent(
    bilm: BiLM, tmp_path: Path, way: Callable[[BiLM, Path], BiLM]
) -> None:
    bilm.word_cache_mb = 1
    expected = bilm.encode(SENTENCES)
    other = way(bilm, tmp_path)
    assert other.prepared is None
    assert other.word_cache_mb == (64 if way is _save else 1)
    assert difference(other.encode(SENTENCES), expected) < 1e-6
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    check(other)
    assert difference(bilm.encode(SENTENCES), expected) == 0
    with torch.no_grad():
        bilm.forward_layers[0].bias.add_(1)
    check(bilm)
    check(other)


def test_caches_are_not_pickled(tiny_config: BiLMConfig) -> None:
    bilm = BiLM(tiny_config)
    before = len(pickle.dumps(bilm))
    bilm.encode(OTHERS)
    assert len(pickle.dumps(bilm)) == before
    assert bilm.prepared is not None


def test_threads(bilm: BiLM) -> None:
    """Concurrently through a small cache; the first thread packs the weights."""
    bilm.word_cache_mb = 6.5 * MIB_PER_WORD
    everything = [*SENTENCES, *OTHERS]
    expected = fresh(bilm).encode(everything)
    barrier, worst = Barrier(4), [1.0] * 4

    def run(number: int) -> None:
        rng = Random(number)
        barrier.wait()
        found = []
        for _ in range(12):
            picked = [rng.randrange(len(everything)) for _ in range(4)]
            layers = bilm.encode([everything[n] for n in picked], batch_tokens=12)
            found.append(difference(layers, [expected[n] for n in picked]))
        worst[number] = max(found)

    threads = [Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) < 1e-5
