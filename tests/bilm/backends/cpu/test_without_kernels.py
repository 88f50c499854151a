"""Where the compiled kernels were not built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm.backends import cpu as kernels

CODE = """
import sys
sys.modules["spacy_elmo.bilm.backends.cpu._MODULE"] = None
import numpy, torch
from spacy_elmo import BiLM, BiLMConfig
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.bilm.backends import CPUBackend
assert kernels.why_absent().startswith("they were not built ("), kernels.why_absent()
assert kernels.lanes() == 0
assert CPUBackend.why_absent().startswith("they were not built (")
torch.manual_seed(0)
bilm = BiLM(BiLMConfig(filters=((1, 64), (2, 64)), dim=128, projection_dim=64))
numpy.save(sys.argv[1], bilm.encode([["one", "two"], ["three"]])[0])
bilm([["one", "two"]]).sum().backward()
"""


@pytest.mark.parametrize("module", ["lstm", "char_cnn", "softmax", "gemm"])
def test_pytorch_computes_the_same(module: str, tmp_path: Path) -> None:
    """Where any of them is missing, none is used."""
    target = tmp_path / "layers.npy"
    code = CODE.replace("MODULE", module)
    subprocess.run([sys.executable, "-c", code, str(target)], check=True)
    torch.manual_seed(0)
    config = BiLMConfig(filters=((1, 64), (2, 64)), dim=128, projection_dim=64)
    bilm = BiLM(config)
    expected = bilm.encode([["one", "two"], ["three"]])[0]
    np.testing.assert_allclose(np.load(target), expected, rtol=0, atol=1e-6)


def test_turned_off_they_are_still_there() -> None:
    before = kernels.why_absent()
    with kernels.flags(enabled=False):
        assert kernels.why_absent() == before
