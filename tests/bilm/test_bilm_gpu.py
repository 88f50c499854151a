"""The network on a GPU against the CPU. Run with -m gpu."""

from __future__ import annotations

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm.backends import torch_gates

pytestmark = pytest.mark.gpu

SENTENCES = [
    ["She", "sat", "on", "the", "river", "bank", "."],
    ["He", "robbed", "the", "bank"],
    [],
    ["Donaudampfschifffahrtsgesellschaft" * 3],
    [f"word{n % 40}" for n in range(700)],
]


@pytest.fixture(scope="module")
def cpu() -> BiLM:
    torch.manual_seed(0)
    config = BiLMConfig(
        filters=((1, 16), (2, 16), (5, 32)), dim=128, projection_dim=32, n_highway=2
    )
    return BiLM(config).eval()


@pytest.fixture
def gpu(cpu: BiLM) -> BiLM:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that PyTorch sees")
    return copy.deepcopy(cpu).to("cuda")


@pytest.fixture(autouse=True)
def _exact_products() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False


def test_encode_agrees_cold_and_warm(cpu: BiLM, gpu: BiLM) -> None:
    expected = cpu.encode(SENTENCES)
    for _ in range(2):
        for found, exact in zip(gpu.encode(SENTENCES), expected):
            np.testing.assert_allclose(found, exact, atol=1e-4)
    gpu.word_cache_mb = 0
    for found, exact in zip(gpu.encode(SENTENCES, batch_tokens=50), expected):
        np.testing.assert_allclose(found, exact, atol=1e-4)


def test_captured_steps_serve_other_batches(cpu: BiLM, gpu: BiLM) -> None:
    """Batches of fewer, more, shorter and longer sequences, repeatedly."""
    words = [word for sentence in SENTENCES for word in sentence]
    batches = [
        [words[n : n + 3 + n % 23] for n in range(0, size)] for size in (5, 40, 3, 600)
    ]
    for batch in (*batches, *batches):
        for found, exact in zip(gpu.encode(batch, 20_000), cpu.encode(batch)):
            np.testing.assert_allclose(found, exact, atol=1e-4)


def test_steps_are_compiled_and_captured_without_warnings(gpu: BiLM) -> None:
    """Warnings would report a fallback."""
    torch_gates._compile.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gpu.encode(SENTENCES)
    compiled = torch_gates.compiled_gates(gpu.device, torch.float32, False)
    assert compiled is not torch_gates.PLAIN


def test_inference_mode(cpu: BiLM, gpu: BiLM) -> None:
    expected = cpu.encode(SENTENCES)
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            for found, exact in zip(gpu.encode(SENTENCES), expected):
                np.testing.assert_allclose(found, exact, atol=1e-4)


def test_changed_weights_are_captured_again(cpu: BiLM, gpu: BiLM) -> None:
    gpu.encode(SENTENCES)
    other = copy.deepcopy(cpu)
    for bilm in (other, gpu):
        with torch.no_grad():
            for layer in bilm.forward_layers:
                layer.bias.add_(0.5)
    for found, exact in zip(gpu.encode(SENTENCES), other.encode(SENTENCES)):
        np.testing.assert_allclose(found, exact, atol=1e-4)


def test_threads(cpu: BiLM, gpu: BiLM) -> None:
    expected = cpu.encode(SENTENCES)
    models = [gpu, copy.deepcopy(gpu), gpu, copy.deepcopy(gpu)]
    with ThreadPoolExecutor(len(models)) as pool:
        results = list(pool.map(lambda bilm: bilm.encode(SENTENCES), models))
    for result in results:
        for found, exact in zip(result, expected):
            np.testing.assert_allclose(found, exact, atol=1e-4)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_second_gpu(cpu: BiLM, gpu: BiLM) -> None:
    gpu.encode(SENTENCES)
    second = copy.deepcopy(cpu).to("cuda:1")
    for _ in range(2):
        for found, exact in zip(second.encode(SENTENCES), cpu.encode(SENTENCES)):
            np.testing.assert_allclose(found, exact, atol=1e-4)


def test_bfloat16_is_close(cpu: BiLM, gpu: BiLM) -> None:
    expected = np.concatenate(cpu.encode(SENTENCES), axis=1)
    found = np.concatenate(gpu.encode(SENTENCES, precision="bfloat16"), axis=1)
    cosine = (found * expected).sum(2) / (
        np.linalg.norm(found, axis=2) * np.linalg.norm(expected, axis=2)
    )
    assert cosine.min() > 0.99
    assert np.abs(found - expected).max() > 1e-5


def test_gradients_agree(cpu: BiLM, gpu: BiLM) -> None:
    gradients = []
    for bilm in (copy.deepcopy(cpu), gpu):
        bilm.train()
        layers = bilm(SENTENCES)
        (layers.sin().sum() / layers.numel()).backward()
        gradients.append(
            [p.grad.cpu() for p in bilm.parameters() if p.grad is not None]
        )
    assert len(gradients[0]) == len(gradients[1]) > 0
    for exact, found in zip(*gradients):
        torch.testing.assert_close(found, exact, atol=1e-5, rtol=1e-3)
