# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled loss of a sampled softmax: `loss.hh` for NumPy's arrays.

Shapes: n places, S drawn words, P = their width.
"""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool

import numpy as np

from .checks import address_of_panels, address_of_rows, check_shapes, lanes_of


cdef extern from "loss.hh" namespace "spacy_elmo" nogil:
    int64_t kMostRows

    cdef cppclass LogSumExp:
        int64_t n_samples, width
        const void* hidden
        const void* panels
        const float* bias
        const int64_t* places
        float* total
        float* there

    cdef cppclass LogitsBack:
        int64_t n_samples, width
        const void* hidden
        const void* panels
        const float* bias
        const int64_t* places
        const float* total
        const float* d_loss
        const void* back_panels
        void* d_logits
        float* d_hidden

    cbool has_bfloat16()
    int widest()
    void run_parts[T](
        const T& kernel, int64_t n_parts, int64_t size, int lanes, int n_threads
    )


cdef int64_t rows_at_once(int64_t n_rows, int n_threads) noexcept nogil:
    if n_threads < 1:
        n_threads = 1
    return max(1, min(kMostRows, (n_rows + n_threads - 1) // n_threads))


def log_sum_exp(
    hidden,
    panels,
    const float[::1] bias,
    const int64_t[::1] places,
    float[::1] total,
    float[::1] there,
    int n_threads,
):
    """The arrays of `LogSumExp`."""
    cdef:
        LogSumExp kernel
        int64_t n_rows = hidden.shape[0]
        int lanes = lanes_of(panels, widest(), has_bfloat16())
        size_t where
    kernel.n_samples, kernel.width = bias.shape[0], hidden.shape[1]
    check_all(hidden, bias, places)
    where = address_of_panels("panels", panels, kernel.width, kernel.n_samples, lanes)
    kernel.panels = <const void*>where
    shape = (n_rows, kernel.width)
    where = address_of_rows("hidden", hidden, shape, lanes)
    kernel.hidden = <const void*>where
    check_shapes({"total": (total, (n_rows,)), "there": (there, (n_rows,))})
    if not n_rows:
        return
    kernel.bias, kernel.places = &bias[0], &places[0]
    kernel.total, kernel.there = &total[0], &there[0]
    with nogil:
        run_parts(kernel, n_rows, rows_at_once(n_rows, n_threads), lanes, n_threads)


def logits_back(
    hidden,
    panels,
    const float[::1] bias,
    const int64_t[::1] places,
    const float[::1] total,
    const float[::1] d_loss,
    back_panels,
    d_logits,
    float[:, ::1] d_hidden,
    int n_threads,
):
    """The arrays of `LogitsBack`."""
    cdef:
        LogitsBack kernel
        int64_t n_rows = hidden.shape[0]
        int lanes = lanes_of(panels, widest(), has_bfloat16())
        size_t where
    kernel.n_samples, kernel.width = bias.shape[0], hidden.shape[1]
    check_all(hidden, bias, places)
    where = address_of_panels("panels", panels, kernel.width, kernel.n_samples, lanes)
    kernel.panels = <const void*>where
    shape = (n_rows, kernel.width)
    where = address_of_rows("hidden", hidden, shape, lanes)
    kernel.hidden = <const void*>where
    where = address_of_panels(
        "back_panels", back_panels, kernel.n_samples, kernel.width, lanes
    )
    kernel.back_panels = <const void*>where
    shape = (n_rows, kernel.n_samples)
    where = address_of_rows("d_logits", d_logits, shape, lanes, writable=True)
    kernel.d_logits = <void*>where
    check_shapes({
        "total": (total, (n_rows,)),
        "d_loss": (d_loss, (n_rows,)),
        "d_hidden": (d_hidden, (n_rows, kernel.width)),
    })
    if not n_rows:
        return
    kernel.bias, kernel.places = &bias[0], &places[0]
    kernel.total, kernel.d_loss = &total[0], &d_loss[0]
    kernel.d_hidden = &d_hidden[0, 0]
    with nogil:
        run_parts(kernel, n_rows, rows_at_once(n_rows, n_threads), lanes, n_threads)


def check_all(hidden, bias, places):
    n_rows, n_samples = hidden.shape[0], bias.shape[0]
    check_shapes({"places": (places, (n_rows,))})
    if n_rows and not 0 <= np.min(places) <= np.max(places) <= n_samples:
        raise ValueError(
            f"places: expected 0 to {n_samples}, found {np.min(places)} to "
            f"{np.max(places)}."
        )
