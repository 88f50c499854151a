"""Fixtures shared by the tests of the kernels."""

from __future__ import annotations

import platform
from typing import Iterator

import pytest
import torch

from spacy_elmo.bilm.backends.cpu import instructions
from spacy_elmo.bilm.backends.cpu.instructions import SETS, InstructionSet

ON_ARM = platform.machine() in ("aarch64", "arm64")
OF_PLATFORM = [each for each in SETS if each.name.startswith("neon") == ON_ARM]
FOR_FLOATS = [each for each in OF_PLATFORM if each.name[-4:] not in ("vnni", "prod")]


@pytest.fixture(params=FOR_FLOATS, ids=lambda each: each.name)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[InstructionSet]:
    """Each instruction set that this processor has, in use, except those that
    only add products in int8."""
    yield from use(request)


@pytest.fixture(params=OF_PLATFORM, ids=lambda each: each.name)
def int8_instruction_set(request: pytest.FixtureRequest) -> Iterator[InstructionSet]:
    """Each instruction set of this processor that multiplies int8, in use."""
    if instructions.why_no_int8() is not None:
        pytest.skip(f"no kernels for int8: {instructions.why_no_int8()}")
    yield from use(request)


def use(request: pytest.FixtureRequest) -> Iterator[InstructionSet]:
    if request.param not in instructions.supported():
        why = instructions.why_absent() or "this processor does not have it"
        pytest.skip(f"no kernels for {request.param.name}: {why}")
    with instructions.limited_to(request.param.name):
        yield request.param


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
