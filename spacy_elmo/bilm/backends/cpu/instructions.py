"""What this processor has, and which of it the kernels use."""

import os
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor

try:
    from . import _char_cnn, _gemm, _lstm, _softmax  # noqa: F401
except ImportError as error:
    # Python's message for a missing module suspects a circular import.
    _is_missing = find_spec(f"{__package__}._char_cnn") is None
    _reason = "no compiler was found, or the wheel is the one without them"
    _not_built: Optional[str] = (
        f"they were not built ({_reason if _is_missing else error}); to get them, "
        "install spacy-elmo from source with GCC or Clang on x86-64 or 64-bit ARM"
    )
    if sys.platform == "win32":
        _not_built = "they need GCC or Clang, and are not built on Windows"
else:
    _not_built = None

VARIABLE = "SPACY_ELMO_CPU"
"""Environment variable that limits the instruction set: a name of `InstructionSet`, or
"none" to use PyTorch's operations."""


@dataclass(frozen=True)
class InstructionSet:
    """A set of SIMD instructions that the kernels are compiled for.

    name (str): Name, as in SPACY_ELMO_CPU.
    code (int): Its value in `x86.hh` or `arm.hh`.
    width (int): Floats per vector.
    multiplies_bfloat16 (bool): Whether it multiplies bfloat16 natively.
    float32_code (int): Its value for products in float32.
    int8_code (Optional[int]): Its value for products in int8. None if AVX2's is used.
    half_code (int): Its value for products in float32 with weights in float16.
    """

    name: str
    code: int
    width: int
    multiplies_bfloat16: bool
    float32_code: int
    int8_code: Optional[int]
    half_code: int

    @cached_property
    def panel_columns(self) -> int:
        """Columns of a panel of packed weights: four vectors."""
        return 4 * self.width


QUANTIZED_BLOCK = 256
"""Numbers of a row that share a scale in int8, as in `int8.hh`."""

AVX2 = InstructionSet("avx2", 1, 8, False, 1, 4, 11)

SETS = (
    AVX2,
    InstructionSet("avx_vnni", 5, 8, False, 1, 5, 11),
    InstructionSet("avx512", 2, 16, False, 2, None, 12),
    InstructionSet("avx512_vnni", 6, 16, False, 2, 6, 12),
    InstructionSet("avx512_bf16", 3, 16, True, 2, 6, 12),
    InstructionSet("neon", 7, 4, False, 7, 8, 13),
    InstructionSet("neon_dotprod", 9, 4, False, 7, 9, 13),
    InstructionSet("neon_bf16", 10, 4, True, 7, 9, 13),
)
"""The instruction sets of x86-64, then of 64-bit ARM, each best last."""


@dataclass(frozen=True)
class Arithmetic:
    """How the kernels compute matrix products that are asked for in a dtype.

    instructions (InstructionSet): Instruction set.
    dtype (torch.dtype): Dtype of the operands in memory, float32, bfloat16 or int8.
    rounds (bool): Whether float32 operands are rounded to bfloat16: for products in
        bfloat16 on a processor without instructions for it.
    block (int): Numbers of a row that share a scale in int8; a multiple of `per_unit`.
    has_half_weights (bool): Whether weights are stored in float16, and converted to
        float32 as they are read.
    """

    instructions: InstructionSet
    dtype: torch.dtype
    rounds: bool
    block: int = QUANTIZED_BLOCK
    has_half_weights: bool = False

    @cached_property
    def code(self) -> int:
        """Code of the instruction set for operands of this dtype."""
        if self.is_int8:
            assert self.instructions.int8_code is not None
            return self.instructions.int8_code
        if self.dtype == torch.float32:
            return self.instructions.float32_code
        return self.instructions.code

    @cached_property
    def weight_code(self) -> int:
        """Code of the instruction set for weights as they are stored."""
        return self.instructions.half_code if self.has_half_weights else self.code

    @cached_property
    def weight_dtype(self) -> torch.dtype:
        """Dtype of packed weights."""
        return torch.float16 if self.has_half_weights else self.dtype

    @cached_property
    def per_unit(self) -> int:
        """Operands that are multiplied at a time."""
        return {torch.bfloat16: 2, torch.int8: 4}.get(self.dtype, 1)

    @cached_property
    def is_int8(self) -> bool:
        return self.dtype == torch.int8

    def stride(self, n: int) -> int:
        """Operands of a row of n numbers: whole units, and with int8 the four bytes of
        each block's scale."""
        per_unit = self.per_unit
        n_scales = -(-n // self.block) if self.is_int8 else 0
        return -(-n // per_unit) * per_unit + 4 * n_scales

    def panel_shape(self, n_in: int, n_out: int) -> Tuple[int, ...]:
        """Shape of a packed weight.

        n_in, n_out (int): Sizes of the weight.
        RETURNS (Tuple[int, ...]): (n_panels, n_in, columns). Panels of bfloat16 hold
            pairs of rows, (n_panels, n_in / 2, columns, 2), rounded up, and panels of
            int8 quads of rows, (n_panels, n_in / 4 + headers, columns, 4).
        """
        columns, per_unit = self.instructions.panel_columns, self.per_unit
        n_panels, n_units = -(-n_out // columns), -(-n_in // per_unit)
        if self.is_int8:
            n_units += 2 * -(-n_in // self.block)
        shape = n_panels, n_units, columns
        return shape if per_unit == 1 else (*shape, per_unit)

    def operands(self, tensor: Tensor) -> Tensor:
        """Convert a tensor to contiguous operands of matrix products, which are not
        int8."""
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

    dtype (torch.dtype): Precision of the products, float32, bfloat16 or int8.
    RAISES: RuntimeError if there are no kernels.
    """
    instructions = selected()
    why = why_no_int8() if dtype == torch.int8 else why_absent()
    if instructions is None or why is not None:
        raise RuntimeError(f"Expected compiled kernels, found none: {why}.")
    if dtype == torch.int8:
        return Arithmetic(_for_int8(instructions), torch.int8, False)
    if dtype == torch.float32:
        return Arithmetic(instructions, torch.float32, False)
    if instructions.multiplies_bfloat16:
        return Arithmetic(instructions, torch.bfloat16, False)
    return Arithmetic(instructions, torch.float32, True)


def with_half_weights(arithmetic: Arithmetic) -> Optional[Arithmetic]:
    """The same products with weights that are stored in float16, or None if there are
    no kernels for that.

    arithmetic (Arithmetic): Arithmetic in float32.
    """
    if arithmetic.dtype != torch.float32 or arithmetic.rounds:
        return None
    if not _gemm.processor_has(arithmetic.instructions.half_code):
        return None
    return replace(arithmetic, has_half_weights=True)


def why_absent() -> Optional[str]:
    """Why the kernels are not used here; None if they are."""
    if _not_built is not None:
        return _not_built
    sets = supported()
    if not sets:
        return "this processor has neither AVX-512 nor AVX2 with FMA"
    if selected() is not None:
        return None
    if _limit.get() or _environment():
        return f"{VARIABLE} is none"
    return (
        "they were compiled without OpenMP and would run on one thread; set "
        f"{VARIABLE}={sets[-1].name} to use them"
    )


def why_no_int8() -> Optional[str]:
    """Why there are no kernels for int8 here; None if there are."""
    instructions = selected()
    if instructions is None:
        return why_absent()
    code = _for_int8(instructions).int8_code
    if code is None or not _gemm.processor_has(code):
        return "they were compiled by Clang; compile them with GCC"
    return None


def _for_int8(instructions: InstructionSet) -> InstructionSet:
    return AVX2 if instructions.int8_code is None else instructions


@cache
def _environment() -> Optional[str]:
    return os.environ.get(VARIABLE) or None


@cache
def _best() -> Optional[InstructionSet]:
    sets = supported()
    return sets[-1] if sets and _gemm.has_threads() else None


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
