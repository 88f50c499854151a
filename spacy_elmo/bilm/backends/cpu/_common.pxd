"""Declarations that the kernels' modules share."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool


cdef extern from "simd.hh" namespace "spacy_elmo" nogil:
    cbool processor_has(int isa)
    int64_t vector_width(int isa)
    cbool has_threads()
