# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled products of `products.hh` for NumPy's arrays."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from .checks import check_lanes, check_multiple, check_shapes


cdef extern from "products.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Left:
        int64_t n
        const float* rows
        float* result
        cbool turned

    cdef cppclass OuterProducts:
        int64_t n_rows, n_right
        const float* right
        vector[Left] lefts

    int widest()
    void run_parts[T](
        const T& kernel, int64_t n_parts, int64_t size, int lanes, int n_threads
    )


def outer_products(lefts, const float[:, ::1] right, int lanes, int n_threads):
    """The arrays of `OuterProducts`; lefts: of each its rows, its result and whether
    that is turned."""
    cdef:
        OuterProducts kernel
        Left left
        const float[:, ::1] rows
        float[:, ::1] result
    kernel.n_rows, kernel.n_right = right.shape[0], right.shape[1]
    check_lanes(lanes, widest())
    check_multiple("right", kernel.n_right, lanes)
    if not kernel.n_rows:
        raise ValueError("right: expected one row or more, found none.")
    for rows, result, turned in lefts:
        left.n, left.turned = rows.shape[1], turned
        shape = (left.n, kernel.n_right) if turned else (kernel.n_right, left.n)
        check_shapes({
            "left": (rows, (kernel.n_rows, left.n)), "result": (result, shape)
        })
        left.rows, left.result = &rows[0, 0], &result[0, 0]
        kernel.lefts.push_back(left)
    kernel.right = &right[0, 0]
    with nogil:
        run_parts(kernel, kernel.n_right // (4 * lanes), 1, lanes, n_threads)
