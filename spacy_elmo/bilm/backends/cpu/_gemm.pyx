# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled products of `gemm.hh` for NumPy's arrays."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from ._common cimport has_bfloat16, run_parts, share, widest

from .arrays import (
    LOW_LANES,
    address_of_panels,
    address_of_rows,
    check_lanes,
    check_multiple,
    check_shapes,
)


cdef extern from "gemm.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Left:
        int64_t n
        const void* rows
        float* result
        cbool turned

    cdef cppclass OuterProducts:
        int64_t n_rows, n_right
        const void* right
        float* sums
        vector[Left] lefts

    cdef cppclass Panels:
        int64_t n_in, n_out
        const float* weight
        cbool turned, gates
        void* panels



_FEW_NUMBERS = 1 << 16
"""Laid out before a second thread has started."""


def lay_out(
    const float[:, ::1] weight,
    panels,
    cbool turned,
    cbool gates,
    int lanes,
    int n_threads,
):
    """The arrays of `Panels`. lanes: of the products, 8, 16 or 32."""
    cdef:
        Panels kernel
        size_t where
        int64_t n_panels
    _check_instructions(lanes)
    if gates and not turned:
        raise ValueError("Expected gates in a turned weight, found one that is not.")
    kernel.n_in, kernel.n_out = weight.shape[0], weight.shape[1]
    if turned:
        kernel.n_in, kernel.n_out = kernel.n_out, kernel.n_in
    check_multiple("panels", kernel.n_out, min(16, lanes))
    where = address_of_panels(
        "panels", panels, kernel.n_in, kernel.n_out, lanes, writable=True
    )
    kernel.weight = &weight[0, 0]
    kernel.turned, kernel.gates = turned, gates
    kernel.panels = <void*>where
    n_panels = kernel.n_out // min(64, 4 * lanes)
    if kernel.n_in * kernel.n_out < _FEW_NUMBERS:
        n_threads = 1
    with nogil:
        run_parts(kernel, n_panels, share(n_panels, n_threads), lanes, n_threads)


def _check_instructions(lanes):
    if lanes != LOW_LANES or not has_bfloat16():
        check_lanes(lanes, widest())


def outer_products(lefts, right, float[::1] sums, int lanes, int n_threads):
    """The arrays of `OuterProducts`, of which sums may be None; lefts: of each its rows,
    its result and whether that is turned. lanes: of the products, 8, 16 or 32."""
    cdef:
        OuterProducts kernel
        Left left
        float[:, ::1] result
        size_t where
        int64_t n_panels
    kernel.n_rows, kernel.n_right = right.shape
    _check_instructions(lanes)
    n_panels = kernel.n_right // min(64, 4 * lanes)
    check_multiple("right", kernel.n_right, min(16, lanes))
    if not kernel.n_rows:
        raise ValueError("right: expected one row or more, found none.")
    lefts = list(lefts)  # they stay: the kernel has their addresses alone
    for rows, result, turned in lefts:
        left.n, left.turned = rows.shape[1], turned
        if lanes == LOW_LANES:
            check_multiple("left", left.n, 4)
        shape = (left.n, kernel.n_right) if turned else (kernel.n_right, left.n)
        check_shapes({"result": (result, shape)})
        where = address_of_rows("left", rows, (kernel.n_rows, left.n), lanes)
        left.rows = <const void*>where
        left.result = &result[0, 0]
        kernel.lefts.push_back(left)
    where = address_of_rows("right", right, (kernel.n_rows, kernel.n_right), lanes)
    kernel.right = <const void*>where
    kernel.sums = NULL
    if sums is not None:
        check_shapes({"sums": (sums, (kernel.n_right,))})
        kernel.sums = &sums[0]
    # What is on the left is prepared once for each thread's panels.
    with nogil:
        run_parts(kernel, n_panels, share(n_panels, n_threads), lanes, n_threads)
