"""What the kernels' modules share."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool


cdef extern from "simd.hh" namespace "spacy_elmo" nogil:
    int widest()
    cbool has_bfloat16()
    void run_parts[T](
        const T& kernel, int64_t n_parts, int64_t size, int lanes, int n_threads
    )


cdef inline int64_t share(int64_t n, int n_threads) noexcept nogil:
    """Of n parts, so many that each of the threads has no more."""
    return (n + max(n_threads, 1) - 1) // max(n_threads, 1)
