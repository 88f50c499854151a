# distutils: language = c++
# cython: language_level=3
"""Matrix products (`gemm.hh`) of tensors, with their arguments checked."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from . cimport _common

from .arrays import address, check_instructions


cdef extern from "gemm.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Packing:
        int64_t n_in, n_out, block
        const float* weight
        cbool transposed, gates, rounds
        void* panels

    cdef cppclass Quantization:
        int64_t n_rows, n, width, block
        const float* rows
        signed char* operands

    cdef cppclass Linear:
        int64_t n_rows, n_in, n_out
        const void* inputs
        const void* panels
        const float* bias
        float* outputs

    cdef cppclass Left:
        int64_t n
        const void* rows
        float* result
        cbool transposed

    cdef cppclass OuterProducts:
        int64_t n_rows, n_right
        const void* right
        float* sums
        vector[Left] lefts

    void c_pack "spacy_elmo::pack"(const Packing& packing, int isa, int n_threads)
    void c_quantize_rows "spacy_elmo::quantize_rows"(
        const Quantization& kernel, int isa, int n_threads
    )
    void c_linear "spacy_elmo::linear"(Linear kernel, int isa, int n_threads)
    void c_outer_products "spacy_elmo::outer_products"(
        OuterProducts kernel, int isa, int n_threads
    ) except +


def processor_has(int isa):
    return _common.processor_has(isa)


def has_threads():
    """Tell whether the kernels were compiled with OpenMP."""
    return _common.has_threads()


def pack(weight, panels, cbool transposed, cbool gates, arithmetic, int n_threads):
    """Pack a weight into panels: the arrays of `Packing`."""
    cdef:
        Packing kernel
        int isa = arithmetic.weight_code
    check_instructions(isa, _common.processor_has(isa))
    n_out, n_in = weight.shape
    if transposed:
        n_in, n_out = n_out, n_in
    if transposed and (arithmetic.is_int8 or arithmetic.has_half_weights):
        raise ValueError(
            "transposed: expected False with int8 and float16 weights, found True."
        )
    if gates and (transposed or n_out % arithmetic.instructions.panel_columns):
        raise ValueError(
            "weight: expected gates of whole panels, not transposed, found the shape "
            f"{tuple(weight.shape)}."
        )
    kernel.n_in, kernel.n_out, kernel.block = n_in, n_out, arithmetic.block
    kernel.weight = <const float*><size_t>address("weight", weight, tuple(weight.shape))
    kernel.transposed, kernel.gates, kernel.rounds = transposed, gates, arithmetic.rounds
    shape = arithmetic.panel_shape(n_in, n_out)
    kernel.panels = <void*><size_t>address(
        "panels", panels, shape, arithmetic.weight_dtype)
    with nogil:
        c_pack(kernel, isa, n_threads)


def quantize_rows(rows, operands, arithmetic, int n_threads):
    """Quantize rows to operands: the arrays of `Quantization`."""
    cdef:
        Quantization kernel
        int isa = arithmetic.code
    check_instructions(isa, _common.processor_has(isa))
    n_rows, n = rows.shape
    shape = n_rows, arithmetic.stride(n)
    kernel.n_rows, kernel.n, kernel.block = n_rows, n, arithmetic.block
    kernel.width = -(-n // arithmetic.per_unit) * arithmetic.per_unit
    kernel.rows = <const float*><size_t>address("rows", rows, (n_rows, n))
    kernel.operands = <signed char*><size_t>address(
        "operands", operands, shape, arithmetic.dtype)
    with nogil:
        c_quantize_rows(kernel, isa, n_threads)


def linear(inputs, int64_t n_in, panels, bias, outputs, arithmetic, int n_threads):
    """Compute outputs = inputs · weightᵀ + bias: the arrays of `Linear`.

    n_in: Numbers of an input row, in whole units.
    """
    cdef:
        Linear kernel
        int isa = arithmetic.code
    check_instructions(isa, _common.processor_has(isa))
    n_rows, n_out = inputs.shape[0], outputs.shape[1]
    per_unit, dtype = arithmetic.per_unit, arithmetic.dtype
    if n_in % per_unit:
        raise ValueError(f"n_in: expected a multiple of {per_unit}, found {n_in}.")
    stride = arithmetic.stride(n_in)
    shape = arithmetic.panel_shape(n_in, n_out)
    kernel.n_rows, kernel.n_in, kernel.n_out = n_rows, n_in, n_out
    kernel.inputs = <const void*><size_t>address("inputs", inputs, (n_rows, stride), dtype)
    kernel.panels = <const void*><size_t>address("panels", panels, shape, dtype)
    kernel.outputs = <float*><size_t>address("outputs", outputs, (n_rows, n_out))
    kernel.bias = NULL
    if bias is not None:
        n_columns = shape[0] * shape[2]
        kernel.bias = <const float*><size_t>address("bias", bias, (n_columns,))
    with nogil:
        c_linear(kernel, isa, n_threads)


def outer_products(lefts, right, sums, arithmetic, int n_threads):
    """Compute the sums over rows of right ⊗ left: the arrays of `OuterProducts`.

    lefts: For each left factor its rows, its result, and whether that is transposed.
    """
    cdef:
        OuterProducts kernel
        Left left
        int isa = arithmetic.code
    check_instructions(isa, _common.processor_has(isa))
    if arithmetic.is_int8:
        raise ValueError("Expected float32 or bfloat16 products, found int8.")
    n_rows, n_right = right.shape
    dtype, columns = arithmetic.dtype, arithmetic.instructions.panel_columns
    if not n_rows:
        raise ValueError("right: expected one row or more, found none.")
    kernel.n_rows, kernel.n_right = n_rows, n_right
    kernel.right = <const void*><size_t>address("right", right, (n_rows, n_right), dtype)
    kernel.sums = NULL
    if sums is not None:
        n_columns = -(-n_right // columns) * columns
        kernel.sums = <float*><size_t>address("sums", sums, (n_columns,))
    for rows, result, transposed in lefts:
        n = rows.shape[1]
        shape = (n, n_right) if transposed else (n_right, n)
        left.n, left.transposed = n, transposed
        left.rows = <const void*><size_t>address("left", rows, (n_rows, n), dtype)
        left.result = <float*><size_t>address("result", result, shape)
        kernel.lefts.push_back(left)
    with nogil:
        c_outer_products(kernel, isa, n_threads)
