"""A whole biLM by the compiled kernels and by PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm.backends import cpu
from spacy_elmo.bilm.backends.cpu.instructions import InstructionSet

SENTENCES = [["word"] * n + ["é", "x" * n] for n in (3, 17, 1, 30, 8, 8)]


def make_bilm(dim: int, width: int) -> BiLM:
    """A biLM whose clips are reached."""
    torch.manual_seed(0)
    config = BiLMConfig(
        char_dim=5,
        filters=((1, 8), (2, 16), (3, 21)),
        dim=dim,
        projection_dim=width,
        cell_clip=0.5,
        proj_clip=0.2,
    )
    bilm = BiLM(config)
    with torch.no_grad():
        for weight in bilm.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    return bilm


def gradients(bilm: BiLM) -> list[Tensor]:
    torch.manual_seed(1)
    layers = bilm(SENTENCES)
    return list(
        torch.autograd.grad(
            (layers * torch.randn_like(layers)).sum(), bilm.parameters()
        )
    )


@pytest.mark.parametrize(("dim", "width"), [(128, 64), (37, 20), (24, 24)])
def test_layers_and_gradients(
    dim: int, width: int, instruction_set: InstructionSet
) -> None:
    found = make_bilm(dim, width)
    with cpu.limited_to("none"):
        reference = make_bilm(dim, width)
        expected = reference.encode(SENTENCES)
        expected_gradients = gradients(reference)
    for batch_tokens in (4096, 10, 4096):
        layers = found.encode(SENTENCES, batch_tokens=batch_tokens)
        for one, other in zip(layers, expected):
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
    for one, other in zip(gradients(found), expected_gradients):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_bfloat16_without_native_instructions() -> None:
    """Rounded operands in float32 differ from native bfloat16 by rounding alone."""
    if "avx512_bf16" not in [each.name for each in cpu.supported()]:
        pytest.skip("needs AVX512-BF16")
    layers = []
    for name in ("avx512_bf16", "avx512", "avx2"):
        with cpu.limited_to(name):
            layers.append(make_bilm(64, 32).encode(SENTENCES, precision="bfloat16"))
    with cpu.limited_to("avx2"):
        exact = make_bilm(64, 32).encode(SENTENCES)
    for native, wide, narrow, float32 in zip(*layers, exact):
        np.testing.assert_allclose(native, wide, rtol=0, atol=5e-3)
        np.testing.assert_allclose(wide, narrow, rtol=0, atol=5e-3)
        assert np.abs(native - float32).max() > 1e-4
