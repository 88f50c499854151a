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


ONE_THREAD = """
from spacy_elmo.bilm.backends.cpu import _gemm
_gemm.has_threads = lambda: False
"""


def run(
    limit: str | None, *missing: str, before: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    environment.pop(instructions.VARIABLE, None)
    if limit is not None:
        environment[instructions.VARIABLE] = limit
    return subprocess.run(
        [sys.executable, "-c", before + CODE, *missing],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_the_environment_limits_the_instruction_set() -> None:
    names = [each.name for each in instructions.supported()]
    result = run("avx2")
    if "avx2" in names:
        assert result.stdout.strip() == "avx2"
    else:
        assert "expected one of none" in result.stderr


def test_unknown_instruction_set() -> None:
    result = run("sse")
    assert result.returncode != 0
    assert "SPACY_ELMO_CPU: expected one of none" in result.stderr
    assert "on this processor, found 'sse'. Unset it" in result.stderr


def test_a_missing_module_means_no_kernels() -> None:
    result = run(None, "_char_cnn")
    assert result.stdout.startswith("they were not built (no compiler"), result.stderr
    assert "install spacy-elmo from source" in result.stdout


def test_kernels_of_one_thread_are_used_on_request_alone() -> None:
    if not instructions.supported():
        pytest.skip(f"no kernels: {instructions.why_absent()}")
    best = instructions.supported()[-1].name
    told = run(None, before=ONE_THREAD).stdout
    assert told.startswith("they were compiled without OpenMP"), told
    assert f"SPACY_ELMO_CPU={best}" in told
    assert run(best, before=ONE_THREAD).stdout.strip() == best
    assert run("none", before=ONE_THREAD).stdout.strip() == "SPACY_ELMO_CPU is none"


def test_the_best_instruction_set_is_the_default() -> None:
    if instructions.VARIABLE not in os.environ:
        supported = instructions.supported()
        assert instructions.selected() == (supported[-1] if supported else None)


@pytest.mark.parametrize("each", instructions.SETS, ids=lambda each: each.name)
def test_limited_to_an_instruction_set(each: instructions.InstructionSet) -> None:
    before = cpu.selected()
    if each in cpu.supported():
        with cpu.limited_to(each.name):
            assert cpu.selected() == each
            float32 = instructions.arithmetic(torch.float32)
            bfloat16 = instructions.arithmetic(torch.bfloat16)
        assert float32.dtype == torch.float32
        assert not float32.rounds
        assert bfloat16.rounds is not each.multiplies_bfloat16
    else:
        with pytest.raises(ValueError, match=each.name), cpu.limited_to(each.name):
            pass
    assert cpu.selected() == before


def test_limited_to_none() -> None:
    with cpu.limited_to("none"):
        assert cpu.selected() is None
        assert cpu.why_absent() is not None
        with pytest.raises(RuntimeError, match="Expected compiled kernels"):
            instructions.arithmetic(torch.float32)
