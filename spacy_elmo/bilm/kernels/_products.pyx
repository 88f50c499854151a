# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled products of `products.hh` for NumPy's arrays."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool

from .checks import check_lanes, check_multiple, check_shapes


cdef extern from "products.hh" namespace "spacy_elmo" nogil:
    cdef cppclass OuterProducts:
        int64_t n_rows, n_left, n_right
        const float* left
        const float* right
        float* result
        cbool turned

    int widest()
    void run_parts[T](
        const T& kernel, int64_t n_parts, int64_t size, int lanes, int n_threads
    )


def outer_products(
    const float[:, ::1] left,
    const float[:, ::1] right,
    float[:, ::1] result,
    bint turned,
    int lanes,
    int n_threads,
):
    """The arrays of `OuterProducts`."""
    cdef OuterProducts kernel
    kernel.n_rows, kernel.n_left, kernel.n_right = (
        left.shape[0], left.shape[1], right.shape[1]
    )
    shape = (kernel.n_right, kernel.n_left)
    check_lanes(lanes, widest())
    check_multiple("right", kernel.n_right, lanes)
    check_shapes({
        "right": (right, (kernel.n_rows, kernel.n_right)),
        "result": (result, shape[::-1] if turned else shape),
    })
    kernel.left, kernel.right = &left[0, 0], &right[0, 0]
    kernel.result, kernel.turned = &result[0, 0], turned
    with nogil:
        run_parts(kernel, kernel.n_right // (4 * lanes), 1, lanes, n_threads)
