"""Whether there are kernels, and whether they are wanted."""

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Iterator, Optional

try:
    from . import _char_cnn, _gemm, _lstm, _softmax  # noqa: F401
except ImportError as error:
    _missing: Optional[str] = (
        f"they were not built ({error}); to have them, install spacy-elmo from its "
        "source where there is GCC or Clang, on x86-64"
    )
else:
    _missing = None

_enabled: ContextVar[bool] = ContextVar("kernels", default=True)


@contextmanager
def flags(enabled: bool) -> Iterator[None]:
    """Within it the kernels are, or are not, used by this thread."""
    token = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(token)


def why_absent() -> Optional[str]:
    """Why there are no kernels here; None: there are."""
    if _missing is None and not _lstm.lanes():
        return "this processor has neither AVX-512 nor AVX2 with FMA"
    return _missing


def lanes() -> int:
    """Of this processor: 16 or 8; 0 where there are no kernels."""
    return _lstm.lanes() if _missing is None else 0


def are_used() -> bool:
    """Whether there are kernels, and this thread has not turned them off."""
    return why_absent() is None and _enabled.get()


def columns() -> int:
    """Of a panel: what is multiplied has a multiple of so many."""
    return 4 * lanes()


def multiply_bfloat16() -> bool:
    """Whether this processor, and so the kernels, can form products in bfloat16."""
    return lanes() == 16 and bool(_lstm.multiplies_bfloat16())
