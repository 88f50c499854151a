"""Memory that goes from step to step without the system between."""

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

STEPS_BETWEEN_TRIMS = 64
"""A batch has other numbers of words and characters than the one before, so that what
is kept fits ever less well. In 64 steps of a small biLM that is some 50 MB."""


def keep_freed_memory() -> None:
    """Let the C library keep what PyTorch frees, for the next step needs as much. It
    stays so for the rest of the process.

    By default glibc returns large blocks to the system, which must fill them with zeros
    when they are asked for again. Blocks over its highest bound, 32 MB, still go back:
    kept, they would leave holes, and a long run would grow. Where there is no glibc,
    nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    mallopt(_M_TRIM_THRESHOLD, 512 << 20)
    mallopt(_M_TOP_PAD, 64 << 20)


def return_holes() -> None:
    """Give back the pages between blocks that are in use; some 60 ms. Where there is no
    glibc, nothing happens."""
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    malloc_trim(0)
