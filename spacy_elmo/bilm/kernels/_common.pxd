"""What all kernels' modules share of `vectors.hh`."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool


cdef extern from "vectors.hh" namespace "spacy_elmo" nogil:
    int widest()
    cbool has_bfloat16()
    void run_parts[T](
        const T& kernel, int64_t n_parts, int64_t size, int lanes, int n_threads
    )
