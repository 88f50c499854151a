"""oneDNN's matrix products on a CPU.

PyTorch itself calls them for bfloat16 and in compiled models; in float32 its plain
products are MKL's, which leave AMD's processors at half of their speed.
There is no public way to choose: the operators here are private, and asked before their
first use whether they are there and right.
"""

import platform
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_ROWS_IN_MIND = 64
"""For so many rows weights are packed; other numbers are right too."""

_SLOWED_MAKERS = ("AuthenticAMD", "HygonGenuine")
"""Of processors that MKL does not give its fast paths; measured on the first."""

_CPU_INFO = Path("/proc/cpuinfo")


def pack(weight: Tensor) -> Tensor:
    """A copy of weights (n_out, n_in) in oneDNN's own blocked layout, for `multiply`.

    weight: contiguous, float32 or bfloat16.
    """
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS_IN_MIND)
    return packed


def multiply(rows: Tensor, weight: Tensor) -> Tensor:
    """rows · weightᵀ, (R, n_in) -> (R, n_out), without gradients.

    weight: (n_out, n_in), packed or with any strides, in the rows' dtype.
    """
    number = rows.shape[0]
    wanted = few_numbers(number)
    # Turned rows are weights, whose number is always the same.
    if number == wanted or not rows.is_contiguous():
        return _multiply(rows, weight)
    padded = rows.new_empty(wanted, rows.shape[1])
    padded[:number] = rows
    padded[number:] = 0
    product = _multiply(padded, weight)
    return product.resize_(number, product.shape[1])


def _multiply(rows: Tensor, weight: Tensor) -> Tensor:
    if not weight.is_mkldnn and not (
        weight.is_contiguous() or weight.t().is_contiguous()
    ):
        # Of parts of matrices oneDNN has a plain loop: a thousand times slower.
        weight = weight.contiguous()
    product: Tensor = torch.ops.mkldnn._linear_pointwise(
        rows, weight, None, "none", [], ""
    )
    return product


def few_numbers(number: int) -> int:
    """How many rows oneDNN is given: one of few numbers, at most an eighth more.

    It prepares itself for each new shape, which takes as long as a small product, and
    keeps what it prepared among the results of others, in memory that is then never
    given back.
    """
    if number < 8:
        return number
    step = 1 << (number.bit_length() - 4)
    return -(-number // step) * step


def is_enabled() -> bool:
    """Its public switch, `torch.backends.mkldnn.flags(enabled=False)`."""
    return bool(torch.backends.mkldnn.enabled)


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch has the operators for packed weights, and they give
    the product."""
    return _is_right(dtype, packed=True)


@cache
def can_multiply() -> bool:
    """The same for float32 weights as they lie, whatever their strides."""
    return _is_right(torch.float32, packed=False)


@cache
def beats_mkl() -> bool:
    """Whether plain float32 products are those of a library that is slow here.

    Asked of the processor's maker, not of a clock: numbers may not depend on what else
    a machine did when it was asked.
    """
    return torch.backends.mkl.is_available() and _maker() in _SLOWED_MAKERS


def is_chosen() -> bool:
    """Whether float32 products are to be oneDNN's, whether packed or not."""
    return beats_mkl() and is_enabled() and can_multiply()


def _maker() -> str:
    """Of the processor, in its own words: GenuineIntel, AuthenticAMD, ...; empty where
    they cannot be read."""
    try:
        for line in _CPU_INFO.read_text(encoding="utf8").splitlines():
            if line.startswith("vendor_id"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    # On Windows it ends with those words.
    words = platform.processor().split()
    return words[-1] if words else ""


def _is_right(dtype: torch.dtype, packed: bool) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    # Whatever the user has made the default dtype and device.
    numbers = torch.arange(48 * 32, dtype=torch.float32, device="cpu")
    weight = numbers.sin().view(48, 32).to(dtype)
    rows = numbers[: 5 * 32].cos().view(5, 32).to(dtype)
    turned = rows.t().contiguous().t(), weight.t().contiguous().t()
    with torch.no_grad():
        expected = (rows @ weight.t()).float()
        try:
            found = (
                [multiply(rows, pack(weight))]
                if packed
                else [multiply(rows, weight), multiply(*turned)]
            )
        except (AttributeError, RuntimeError, TypeError, NotImplementedError):
            # A version of PyTorch without them, or with others of that name.
            return False
    return all(
        torch.allclose(one.float(), expected, rtol=1e-2, atol=1e-2) for one in found
    )
