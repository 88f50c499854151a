"""What this processor has, and which of it the kernels use."""

import os
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor

try:
    from . import _char_cnn, _gemm, _lstm, _softmax  # noqa: F401
except ImportError as error:
    # Of a module that is missing, Python says that a circular import is likely.
    _is_missing = find_spec(f"{__package__}._char_cnn") is None
    _reason = "no compiler was found when spacy-elmo was installed"
    _not_built: Optional[str] = (
        f"they were not built ({_reason if _is_missing else error}); to get them, "
        "install spacy-elmo from source with GCC or Clang on x86-64"
    )
else:
    _not_built = None

VARIABLE = "SPACY_ELMO_CPU"
"""Environment variable that limits the instruction set: a name of `InstructionSet`, or
"none" to use PyTorch's operations."""


@dataclass(frozen=True)
class InstructionSet:
    """A set of SIMD instructions that the kernels are compiled for.

    name (str): Name, as in SPACY_ELMO_CPU.
    code (int): Its value in `simd.hh`.
    width (int): Floats per vector.
    multiplies_bfloat16 (bool): Whether it multiplies bfloat16 natively.
    """

    name: str
    code: int
    width: int
    multiplies_bfloat16: bool

    @cached_property
    def panel_columns(self) -> int:
        """Columns of a panel of packed weights: four vectors."""
        return 4 * self.width


SETS = (
    InstructionSet("avx2", 1, 8, False),
    InstructionSet("avx512", 2, 16, False),
    InstructionSet("avx512_bf16", 3, 16, True),
)


@dataclass(frozen=True)
class Arithmetic:
    """How the kernels compute matrix products that are asked for in a dtype.

    instructions (InstructionSet): Instruction set.
    dtype (torch.dtype): Dtype of the operands in memory, float32 or bfloat16.
    rounds (bool): Whether float32 operands are rounded to bfloat16: for products in
        bfloat16 on a processor without instructions for it.
    """

    instructions: InstructionSet
    dtype: torch.dtype
    rounds: bool

    @cached_property
    def code(self) -> int:
        """Code of the instruction set; one without bfloat16 for float32 operands."""
        code = self.instructions.code
        is_float32 = (
            self.instructions.multiplies_bfloat16 and self.dtype == torch.float32
        )
        return code - 1 if is_float32 else code

    @cached_property
    def per_unit(self) -> int:
        """Operands that are multiplied at a time: 2 in bfloat16."""
        return 2 if self.dtype == torch.bfloat16 else 1

    def panel_shape(self, n_in: int, n_out: int) -> Tuple[int, ...]:
        """Shape of a packed weight.

        n_in, n_out (int): Sizes of the weight.
        RETURNS (Tuple[int, ...]): (n_panels, n_in, columns), or for bfloat16, whose
            panels hold pairs of rows, (n_panels, n_in / 2, columns, 2), rounded up.
        """
        columns = self.instructions.panel_columns
        n_panels = -(-n_out // columns)
        if self.per_unit == 2:
            return n_panels, -(-n_in // 2), columns, 2
        return n_panels, n_in, columns

    def operands(self, tensor: Tensor) -> Tensor:
        """Convert a tensor to contiguous operands of matrix products."""
        if self.rounds:
            tensor = tensor.to(torch.bfloat16)
        return tensor.detach().to(self.dtype).contiguous()


_limit: ContextVar[Optional[str]] = ContextVar("limit", default=None)


def supported() -> List[InstructionSet]:
    """The instruction sets of this processor that the kernels can use, best last."""
    if _not_built is not None:
        return []
    return [each for each in SETS if _gemm.processor_has(each.code)]


def selected() -> Optional[InstructionSet]:
    """The instruction set that the kernels use; None if they are not to be used.

    RAISES: ValueError if SPACY_ELMO_CPU is not one that this processor has.
    """
    limit = _limit.get() or _environment()
    return _best() if limit is None else _find(limit)


@contextmanager
def limited_to(name: str) -> Iterator[None]:
    """Use another instruction set in this thread, for tests and measurements.

    name (str): A value of SPACY_ELMO_CPU.
    RAISES: ValueError if this processor does not have it.
    """
    _find(name)
    token = _limit.set(name)
    try:
        yield
    finally:
        _limit.reset(token)


def arithmetic(dtype: torch.dtype) -> Arithmetic:
    """How products are computed with the selected instructions.

    dtype (torch.dtype): Precision of the products, float32 or bfloat16.
    RAISES: RuntimeError if there are no kernels.
    """
    instructions = selected()
    if instructions is None:
        raise RuntimeError(f"Expected compiled kernels, found none: {why_absent()}.")
    if dtype == torch.float32:
        return Arithmetic(instructions, torch.float32, False)
    if instructions.multiplies_bfloat16:
        return Arithmetic(instructions, torch.bfloat16, False)
    return Arithmetic(instructions, torch.float32, True)


def why_absent() -> Optional[str]:
    """Why the kernels are not used here; None if they are."""
    if _not_built is not None:
        return _not_built
    if _best() is None:
        return "this processor has neither AVX-512 nor AVX2 with FMA"
    if selected() is None:
        return f"{VARIABLE} is none"
    return None


@cache
def _environment() -> Optional[str]:
    return os.environ.get(VARIABLE) or None


@cache
def _best() -> Optional[InstructionSet]:
    sets = supported()
    return sets[-1] if sets else None


@cache
def _find(name: str) -> Optional[InstructionSet]:
    if name == "none":
        return None
    names = [each.name for each in supported()]
    if name not in names:
        raise ValueError(
            f"{VARIABLE}: expected one of {', '.join(['none', *names])} on this "
            f"processor, found {name!r}. Unset it to use the best one."
        )
    return SETS[[each.name for each in SETS].index(name)]
