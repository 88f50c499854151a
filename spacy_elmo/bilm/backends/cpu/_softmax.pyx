# distutils: language = c++
# cython: language_level=3
"""The softmax (`softmax.hh`) of tensors, with its arguments checked.

Shapes: n targets, P = width of a row, S words.
"""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool

from . cimport _common

import torch

from .arrays import address, check_instructions


cdef extern from "softmax.hh" namespace "spacy_elmo" nogil:
    int64_t kLogitsAtOnce

    cdef cppclass Logits:
        int64_t n_rows, n_words, width, depth
        const void* hidden
        const void* panels
        const float* bias
        const int64_t* columns

    cdef cppclass LogSumExp(Logits):
        float* total
        float* target
        float* entropy

    cdef cppclass LogitGradient(Logits):
        const float* total
        const float* d_loss
        const void* back_panels
        int64_t n_padded, back_depth
        void* d_logits
        float* d_hidden
        cbool rounds

    void c_log_sum_exp "spacy_elmo::log_sum_exp"(
        LogSumExp kernel, int isa, int n_threads
    ) except +
    void c_logit_gradients "spacy_elmo::logit_gradients"(
        const LogitGradient& kernel, int isa, int n_threads
    )


LOGITS_AT_ONCE = kLogitsAtOnce


cdef int set_logits(
    Logits* kernel, hidden, panels, bias, columns, n_words, width, arithmetic
) except -1:
    isa = arithmetic.code
    check_instructions(isa, _common.processor_has(isa))
    n, depth = hidden.shape
    shape = arithmetic.panel_shape(width, n_words)
    dtype = arithmetic.dtype
    if depth != width + width % arithmetic.per_unit:
        raise ValueError(f"hidden: expected {width} columns, found {depth}.")
    kernel.n_rows, kernel.depth = n, depth
    kernel.n_words, kernel.width = n_words, width
    kernel.hidden = <const void*><size_t>address("hidden", hidden, (n, depth), dtype)
    kernel.panels = <const void*><size_t>address("panels", panels, shape, dtype)
    kernel.bias = <const float*><size_t>address("bias", bias, (shape[0] * shape[2],))
    kernel.columns = <const int64_t*><size_t>address(
        "columns", columns, (n,), torch.int64)
    if n:
        low, high = (int(number) for number in columns.aminmax())
        if not 0 <= low <= high <= n_words:
            raise ValueError(
                f"columns: expected 0 to {n_words}, found {low} to {high}."
            )
    return 0


def log_sum_exp(
    hidden,
    panels,
    bias,
    columns,
    total,
    target,
    entropy,
    n_words,
    width,
    arithmetic,
    int n_threads,
):
    """Compute the log-sum-exp and the entropy of each row's logits: the arrays of
    `LogSumExp`."""
    cdef:
        LogSumExp kernel
        int isa = arithmetic.code
    set_logits(&kernel, hidden, panels, bias, columns, n_words, width, arithmetic)
    n = hidden.shape[0]
    kernel.total = <float*><size_t>address("total", total, (n,))
    kernel.target = <float*><size_t>address("target", target, (n,))
    kernel.entropy = <float*><size_t>address("entropy", entropy, (n,))
    with nogil:
        c_log_sum_exp(kernel, isa, n_threads)


def logit_gradients(
    hidden,
    panels,
    bias,
    columns,
    total,
    d_loss,
    back_panels,
    d_logits,
    d_hidden,
    n_words,
    arithmetic,
    int n_threads,
):
    """Compute the gradients of the logits and of hidden: the arrays of
    `LogitGradient`."""
    cdef:
        LogitGradient kernel
        int isa = arithmetic.code
    n, width = d_hidden.shape
    set_logits(&kernel, hidden, panels, bias, columns, n_words, width, arithmetic)
    n_padded, dtype = bias.shape[0], arithmetic.dtype
    shape = arithmetic.panel_shape(n_words, width)
    kernel.n_padded = n_padded
    kernel.back_depth = n_words + n_words % arithmetic.per_unit
    kernel.total = <const float*><size_t>address("total", total, (n,))
    kernel.d_loss = <const float*><size_t>address("d_loss", d_loss, (n,))
    kernel.back_panels = <const void*><size_t>address(
        "back_panels", back_panels, shape, dtype)
    kernel.d_logits = <void*><size_t>address("d_logits", d_logits, (n, n_padded), dtype)
    kernel.d_hidden = <float*><size_t>address("d_hidden", d_hidden, (n, width))
    kernel.rounds = arithmetic.rounds
    with nogil:
        c_logit_gradients(kernel, isa, n_threads)
