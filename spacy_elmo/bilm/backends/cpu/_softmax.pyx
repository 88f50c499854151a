# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled loss of a sampled softmax: `softmax.hh` for NumPy's arrays.

Shapes: n places, S drawn words, P = their width.
"""

from libc.stdint cimport int64_t

from ._common cimport has_bfloat16, run_parts, share, widest

import numpy as np

from .arrays import address_of_panels, address_of_rows, check_shapes, lanes_of


cdef extern from "softmax.hh" namespace "spacy_elmo" nogil:
    int64_t kMostRows

    cdef cppclass Logits:
        int64_t n_samples, width
        const void* hidden
        const void* panels
        const float* bias
        const int64_t* places

    cdef cppclass LogSumExp(Logits):
        float* total
        float* there

    cdef cppclass LogitsBack(Logits):
        const float* total
        const float* d_loss
        const void* back_panels
        void* d_logits
        float* d_hidden


cdef int64_t rows_at_once(int64_t n_rows, int n_threads) noexcept nogil:
    return max(1, min(kMostRows, share(n_rows, n_threads)))


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
    set_logits(&kernel, hidden, panels, bias, places, lanes)
    check_shapes({"total": (total, (n_rows,)), "there": (there, (n_rows,))})
    if not n_rows:
        return
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
    set_logits(&kernel, hidden, panels, bias, places, lanes)
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
    kernel.total, kernel.d_loss = &total[0], &d_loss[0]
    kernel.d_hidden = &d_hidden[0, 0]
    with nogil:
        run_parts(kernel, n_rows, rows_at_once(n_rows, n_threads), lanes, n_threads)


cdef set_logits(
    Logits* kernel,
    hidden,
    panels,
    const float[::1] bias,
    const int64_t[::1] places,
    int lanes,
):
    """The arrays of `Logits`, checked."""
    cdef size_t where
    n_rows, width = hidden.shape
    n_samples = bias.shape[0]
    kernel.n_samples, kernel.width = n_samples, width
    check_shapes({"places": (places, (n_rows,))})
    if n_rows and not 0 <= np.min(places) <= np.max(places) <= n_samples:
        raise ValueError(
            f"places: expected 0 to {n_samples}, found {np.min(places)} to "
            f"{np.max(places)}."
        )
    where = address_of_panels("panels", panels, width, n_samples, lanes)
    kernel.panels = <const void*>where
    where = address_of_rows("hidden", hidden, (n_rows, width), lanes)
    kernel.hidden = <const void*>where
    if n_rows:
        kernel.bias, kernel.places = &bias[0], &places[0]
