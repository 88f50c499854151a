# distutils: language = c++
# cython: language_level=3
"""The character CNN (`char_cnn.hh`) of tensors, with its arguments checked.

Shapes: n words, C characters, E numbers of a character, F filters, K = E times the width
of the widest filter.
"""

from libc.stdint cimport int32_t, int64_t

from . cimport _common

import torch

from .arrays import address, check_instructions


cdef extern from "char_cnn.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Response:
        int64_t n_words, n_columns, char_dim, n_filters, depth
        const void* characters
        const int64_t* n_windows
        const void* panels
        const int64_t* depths
        const float* limits
        float* best
        int32_t* where

    cdef cppclass ResponseGradient:
        int64_t n_words, n_columns, char_dim, n_filters, depth
        const int64_t* depths
        const float* d_best
        const int32_t* where
        const float* characters
        const float* weight
        float* d_characters
        float* d_weight

    void c_response "spacy_elmo::response"(const Response& kernel, int isa, int n_threads)
    void c_gradients "spacy_elmo::response_gradients"(
        const ResponseGradient& kernel, int isa, int n_threads
    )


MAX_INT8_DEPTH = 1 << 16
"""Maximum size of a filter in int8, so that the sum of its products fits an int32."""


def response(
    characters,
    int64_t char_dim,
    n_windows,
    panels,
    depths,
    limits,
    best,
    where,
    arithmetic,
    int n_threads,
):
    """Compute maximum responses: the arrays of `Response`.

    characters: (n, C E) floats, or quantized rows. where: None with int8.
    """
    cdef:
        Response kernel
        int isa = arithmetic.code
    check_instructions(isa, _common.processor_has(isa))
    (n, F), dtype, per_unit = best.shape, arithmetic.dtype, arithmetic.per_unit
    row_header, panel_header = (4, 2) if arithmetic.is_int8 else (0, 0)
    C = (characters.shape[1] - row_header) // char_dim
    K = (panels.shape[1] - panel_header) * per_unit
    if char_dim % per_unit or arithmetic.is_int8 and K > MAX_INT8_DEPTH:
        raise ValueError(
            f"panels: expected filters of at most {MAX_INT8_DEPTH} numbers, {per_unit} "
            f"or a multiple of them for each character, found {K} and {char_dim}."
        )
    shape = arithmetic.panel_shape(K, F)
    if F % shape[2]:
        raise ValueError(f"best: expected whole panels of filters, found {F} filters.")
    kernel.n_words, kernel.n_columns, kernel.char_dim = n, C, char_dim
    kernel.n_filters, kernel.depth = F, K
    kernel.characters = <const void*><size_t>address(
        "characters", characters, (n, C * char_dim + row_header), dtype)
    kernel.n_windows = <const int64_t*><size_t>address(
        "n_windows", n_windows, (n,), torch.int64)
    kernel.panels = <const void*><size_t>address("panels", panels, shape, dtype)
    kernel.depths = <const int64_t*><size_t>address(
        "depths", depths, (shape[0],), torch.int64)
    kernel.limits = <const float*><size_t>address("limits", limits, (F,))
    kernel.best = <float*><size_t>address("best", best, (n, F))
    kernel.where = NULL
    if not arithmetic.is_int8:
        kernel.where = <int32_t*><size_t>address("where", where, (n, F), torch.int32)
    check_range("depths", depths, 1, K)
    check_range("n_windows", n_windows, 1, C + (-K) // char_dim + 1)
    with nogil:
        c_response(kernel, isa, n_threads)


def gradients(
    d_best,
    where,
    depths,
    characters,
    weight,
    d_characters,
    d_weight,
    arithmetic,
    int n_threads,
):
    """Compute the gradients of characters and filters: the arrays of
    `ResponseGradient`."""
    cdef:
        ResponseGradient kernel
        int isa = arithmetic.code
    check_instructions(isa, _common.processor_has(isa))
    (n, C, E), (F, K) = characters.shape, weight.shape
    kernel.n_words, kernel.n_columns, kernel.char_dim = n, C, E
    kernel.n_filters, kernel.depth = F, K
    kernel.depths = <const int64_t*><size_t>address("depths", depths, (F,), torch.int64)
    kernel.d_best = <const float*><size_t>address("d_best", d_best, (n, F))
    kernel.where = <const int32_t*><size_t>address("where", where, (n, F), torch.int32)
    kernel.characters = <const float*><size_t>address("characters", characters, (n, C, E))
    kernel.weight = <const float*><size_t>address("weight", weight, (F, K))
    kernel.d_characters = <float*><size_t>address("d_characters", d_characters, (n, C, E))
    kernel.d_weight = <float*><size_t>address("d_weight", d_weight, (F, K))
    check_range("depths", depths, 1, K)
    check_range("where", where, 0, C)
    check_range("where", where * E + depths, 0, C * E)
    with nogil:
        c_gradients(kernel, isa, n_threads)


def check_range(name, tensor, least, most):
    if not tensor.numel():
        return
    low, high = (int(number) for number in tensor.aminmax())
    if low < least or high > most:
        raise ValueError(f"{name}: expected {least} to {most}, found {low} to {high}.")
