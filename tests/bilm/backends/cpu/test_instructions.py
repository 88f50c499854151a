"""The choice of an instruction set, and the absence of kernels."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from spacy_elmo.bilm.backends import cpu
from spacy_elmo.bilm.backends.cpu import instructions

CODE = """
import sys
if len(sys.argv) > 1:
    sys.modules["spacy_elmo.bilm.backends.cpu." + sys.argv[1]] = None
from spacy_elmo.bilm.backends import cpu
print(cpu.selected().name if cpu.selected() else cpu.why_absent())
"""


def run(limit: str | None, *missing: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    environment.pop(instructions.VARIABLE, None)
    if limit is not None:
        environment[instructions.VARIABLE] = limit
    return subprocess.run(
        [sys.executable, "-c", CODE, *missing],
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", ["avx2", "avx512", "avx512_bf16", "none"])
def test_the_environment_limits_the_instruction_set(name: str) -> None:
    names = [each.name for each in instructions.supported()]
    result = run(name)
    if name == "none":
        assert result.stdout.strip() in ("SPACY_ELMO_CPU is none", cpu.why_absent())
    elif name in names:
        assert result.stdout.strip() == name
    else:
        assert "expected one of none" in result.stderr
        assert f"found {name!r}. Unset it" in result.stderr


def test_unknown_instruction_set() -> None:
    result = run("sse")
    assert result.returncode != 0
    assert "SPACY_ELMO_CPU: expected one of none" in result.stderr
    assert "on this processor, found 'sse'" in result.stderr


@pytest.mark.skipif(not instructions.supported(), reason="no kernels here")
def test_the_best_instruction_set_is_the_default() -> None:
    expected = instructions.supported()[-1].name
    assert run(None).stdout.strip() == expected
    assert run("").stdout.strip() == expected


@pytest.mark.parametrize("module", ["_lstm", "_char_cnn", "_softmax", "_gemm"])
def test_a_missing_module_means_no_kernels(module: str) -> None:
    result = run(None, module)
    assert result.stdout.startswith("they were not built ("), result.stderr
    assert "install spacy-elmo from source" in result.stdout


def test_limited_to_is_undone() -> None:
    before = cpu.selected()
    with cpu.limited_to("none"):
        assert cpu.selected() is None
        with pytest.raises(RuntimeError, match="Expected compiled kernels"):
            instructions.arithmetic(torch.float32)
    assert cpu.selected() == before
    with pytest.raises(ValueError, match="found 'avx10'"), cpu.limited_to("avx10"):
        pass
