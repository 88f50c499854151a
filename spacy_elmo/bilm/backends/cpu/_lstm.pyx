# distutils: language = c++
# cython: language_level=3
"""LSTMs (`lstm.hh`) over tensors, with their arguments checked."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from . cimport _common

from .arrays import address, check_instructions


cdef extern from "lstm.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Pass:
        int64_t n_steps, dim, width, depth, cell_depth
        const int64_t* batch_sizes
        float cell_clip, projection_clip
        cbool rounds

    cdef cppclass Forward(Pass):
        const void* input_panels
        const void* hidden_panels
        const void* projection_panels
        const float* bias
        const void* inputs
        float* gates
        float* cells
        void* rows
        float* unquantized
        float* outputs
        float* hidden
        float* cell
        void* hidden_operands

    cdef cppclass Backward(Pass):
        const void* input_panels
        const void* hidden_panels
        const void* projection_panels
        const float* gates
        const float* cells
        const float* outputs
        const float* first_cell
        const float* d_outputs
        float* d_inputs
        void* d_gates
        void* d_projected
        float* d_hidden
        float* d_cell

    void run_lstms[T](
        const T* passes, int64_t n_passes, int64_t n_sequences, int isa, int n_threads
    ) except +


cdef vector[int64_t] checked_steps(batch_sizes, n_sequences) except *:
    cdef vector[int64_t] sizes = batch_sizes
    bounds = [n_sequences, *batch_sizes]
    if not batch_sizes or any(
        not 1 <= size <= bound for size, bound in zip(batch_sizes, bounds)
    ):
        raise ValueError(
            f"batch_sizes: expected at most {n_sequences} sequences, never more than at "
            f"the step before and never none, found {list(batch_sizes)}."
        )
    return sizes


cdef int set_pass(
    Pass* one, vector[int64_t]& steps, clips, sizes, arithmetic
) except -1:
    """sizes: dim, projection_dim, and both as they are multiplied."""
    one.dim, one.width, one.cell_depth, one.depth = sizes
    columns, per_unit = arithmetic.instructions.panel_columns, arithmetic.per_unit
    if (
        one.dim % columns or one.width % columns
        or one.cell_depth % per_unit or one.depth % per_unit
        or not 0 < one.cell_depth <= one.dim or not 0 < one.depth <= one.width
    ):
        raise ValueError(f"Expected sizes of whole panels, found {sizes}.")
    one.n_steps, one.batch_sizes = steps.size(), steps.data()
    one.cell_clip, one.projection_clip = clips
    one.rounds = arithmetic.rounds
    return 0


def forward(batch_sizes, lstms, clips, sizes, arithmetic, int n_threads):
    """Run LSTMs of one shape over the same steps.

    lstms: For each LSTM the arrays of `Forward` by name. `gates` and `cells` may both
        be None, and `projection_panels` and `rows`. `unquantized` is None unless there
        are `rows` of int8.
    sizes: dim and projection_dim in whole panels, and both as they are multiplied.
    """
    cdef:
        Forward one
        vector[Forward] passes
        vector[int64_t] steps
        int64_t n_sequences = 0, n_passes = len(lstms)
        int isa = arithmetic.weight_code
    check_instructions(isa, _common.processor_has(isa))
    D, P, cell_depth, depth = sizes
    N, R, dtype = lstms[0]["hidden"].shape[0], sum(batch_sizes), arithmetic.dtype
    n_sequences = N
    steps = checked_steps(batch_sizes, N)
    gate_shape, weight_dtype = arithmetic.panel_shape(depth, 4 * D), arithmetic.weight_dtype
    stride = arithmetic.stride
    set_pass(&one, steps, clips, sizes, arithmetic)
    for arrays in lstms:
        one.input_panels = <const void*><size_t>address(
            "input_panels", arrays["input_panels"], gate_shape, weight_dtype)
        one.hidden_panels = <const void*><size_t>address(
            "hidden_panels", arrays["hidden_panels"], gate_shape, weight_dtype)
        one.bias = <const float*><size_t>address("bias", arrays["bias"], (4 * D,))
        one.inputs = <const void*><size_t>address(
            "inputs", arrays["inputs"], (R, stride(P)), dtype)
        one.outputs = <float*><size_t>address("outputs", arrays["outputs"], (R, P))
        one.hidden = <float*><size_t>address("hidden", arrays["hidden"], (N, P))
        one.cell = <float*><size_t>address("cell", arrays["cell"], (N, D))
        one.hidden_operands = <void*><size_t>address(
            "hidden_operands", arrays["hidden_operands"], (N, stride(P)), dtype)
        one.gates = one.cells = NULL
        n_rows = N
        if arrays["cells"] is not None:
            if arithmetic.is_int8:
                raise ValueError("cells: expected none with int8, found an array.")
            n_rows = R
            one.gates = <float*><size_t>address("gates", arrays["gates"], (R, 4 * D))
            one.cells = <float*><size_t>address("cells", arrays["cells"], (R, D))
        one.projection_panels = one.rows = NULL
        one.unquantized = NULL
        if arrays["projection_panels"] is not None:
            one.projection_panels = <const void*><size_t>address(
                "projection_panels",
                arrays["projection_panels"],
                arithmetic.panel_shape(cell_depth, P),
                weight_dtype,
            )
            one.rows = <void*><size_t>address(
                "rows", arrays["rows"], (n_rows, stride(D)), dtype)
            if arithmetic.is_int8:
                one.unquantized = <float*><size_t>address(
                    "unquantized", arrays["unquantized"], (N, D))
        elif D != P:
            raise ValueError(f"projection_panels: expected some for {sizes}, found none.")
        passes.push_back(one)
    with nogil:
        run_lstms(passes.data(), n_passes, n_sequences, isa, n_threads)


def backward(batch_sizes, lstms, clips, sizes, arithmetic, int n_threads):
    """Compute the gradients of a forward pass.

    lstms: For each LSTM the arrays of `Backward` by name; `projection_panels` and
        `d_projected` may be None.
    sizes: As for `forward`.
    """
    cdef:
        Backward one
        vector[Backward] passes
        vector[int64_t] steps
        int64_t n_sequences = 0, n_passes = len(lstms)
        int isa = arithmetic.code
    check_instructions(isa, _common.processor_has(isa))
    if arithmetic.is_int8:
        raise ValueError("Expected float32 or bfloat16 products, found int8.")
    D, P, _, depth = sizes
    N, R, dtype = lstms[0]["d_hidden"].shape[0], sum(batch_sizes), arithmetic.dtype
    n_sequences = N
    steps = checked_steps(batch_sizes, N)
    gate_shape = arithmetic.panel_shape(4 * D, P)
    set_pass(&one, steps, clips, sizes, arithmetic)
    for arrays in lstms:
        one.input_panels = <const void*><size_t>address(
            "input_panels", arrays["input_panels"], gate_shape, dtype)
        one.hidden_panels = <const void*><size_t>address(
            "hidden_panels", arrays["hidden_panels"], gate_shape, dtype)
        one.gates = <const float*><size_t>address("gates", arrays["gates"], (R, 4 * D))
        one.cells = <const float*><size_t>address("cells", arrays["cells"], (R, D))
        one.outputs = <const float*><size_t>address("outputs", arrays["outputs"], (R, P))
        one.first_cell = <const float*><size_t>address(
            "first_cell", arrays["first_cell"], (N, D))
        one.d_outputs = <const float*><size_t>address(
            "d_outputs", arrays["d_outputs"], (R, P))
        one.d_inputs = <float*><size_t>address("d_inputs", arrays["d_inputs"], (R, P))
        one.d_gates = <void*><size_t>address(
            "d_gates", arrays["d_gates"], (R, 4 * D), dtype)
        one.d_hidden = <float*><size_t>address("d_hidden", arrays["d_hidden"], (N, P))
        one.d_cell = <float*><size_t>address("d_cell", arrays["d_cell"], (N, D))
        one.projection_panels = one.d_projected = NULL
        if arrays["projection_panels"] is not None:
            one.projection_panels = <const void*><size_t>address(
                "projection_panels",
                arrays["projection_panels"],
                arithmetic.panel_shape(depth, D),
                dtype,
            )
            one.d_projected = <void*><size_t>address(
                "d_projected", arrays["d_projected"], (R, P), dtype)
        elif D != P:
            raise ValueError(f"projection_panels: expected some for {sizes}, found none.")
        passes.push_back(one)
    with nogil:
        run_lstms(passes.data(), n_passes, n_sequences, isa, n_threads)
