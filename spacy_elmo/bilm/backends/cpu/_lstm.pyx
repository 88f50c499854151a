# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled steps of LSTMs: `lstm.hh` for NumPy's arrays, as `lstm` lays them out."""

from libc.stdint cimport int64_t
from libcpp.vector cimport vector

from ._common cimport has_bfloat16, widest

from .arrays import address_of_panels, address_of_rows, check_shapes, lanes_of


cdef extern from "lstm.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Pass:
        int64_t n_steps, dim, width
        const int64_t* batch_sizes
        float cell_clip, projection_clip

    cdef cppclass Forward(Pass):
        const void* input_panels
        const void* hidden_panels
        const void* projection_panels
        const float* bias
        const void* inputs
        float* gates
        float* cells
        void* rows
        float* outputs
        float* hidden
        float* cell

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

    void run_all[T](
        const T* passes, int64_t n_passes, int64_t n_sequences, int lanes, int n_threads
    )


def lanes():
    return widest()


def multiplies_bfloat16():
    return has_bfloat16()


cdef const void* address_of_read(name, rows, n, width, lanes) except NULL:
    cdef size_t where = address_of_rows(name, rows, (n, width), lanes)
    return <const void*>where


cdef void* address_of_written(name, rows, n, width, lanes) except NULL:
    cdef size_t where = address_of_rows(name, rows, (n, width), lanes, writable=True)
    return <void*>where


cdef const void* address(name, panels, n_in, n_out, lanes) except NULL:
    cdef size_t where = address_of_panels(name, panels, n_in, n_out, lanes)
    return <const void*>where


def forward(
    const int64_t[::1] batch_sizes,
    lstms,
    float cell_clip,
    float projection_clip,
    int n_threads,
):
    """lstms: of each, the arrays of `Forward` by name. `gates` and `cells` may both be
    None."""
    cdef:
        const float[::1] bias
        float[:, ::1] gates, cells, outputs, hidden, cell
        vector[Forward] passes
        Forward one
        int64_t n_rows = sum(batch_sizes), n_sequences, n_passes = len(lstms)
        int lanes = 0
    shapes = set()
    for arrays in lstms:
        bias, gates, cells = arrays["bias"], arrays["gates"], arrays["cells"]
        inputs, outputs = arrays["inputs"], arrays["outputs"]
        hidden, cell = arrays["hidden"], arrays["cell"]
        lanes = lanes_of(arrays["hidden_panels"], widest(), has_bfloat16())
        n_sequences, one.width = hidden.shape[0], hidden.shape[1]
        one.dim = cell.shape[1]
        shapes.add((lanes, n_sequences, one.width, one.dim))
        _check_steps(batch_sizes, n_sequences)
        n_kept = n_sequences if cells is None else n_rows
        found = dict(
            bias=(bias, (4 * one.dim,)),
            outputs=(outputs, (n_rows, one.width)),
            cell=(cell, (n_sequences, one.dim)),
        )
        if cells is not None:
            found["cells"] = (cells, (n_rows, one.dim))
            found["gates"] = (gates, (n_rows, 4 * one.dim))
        check_shapes(found)
        one.n_steps = batch_sizes.shape[0]
        one.batch_sizes = &batch_sizes[0]
        one.cell_clip = cell_clip
        one.projection_clip = projection_clip
        one.gates = one.cells = NULL
        if cells is not None:
            one.gates = &gates[0, 0]
            one.cells = &cells[0, 0]
        one.inputs = address_of_read("inputs", inputs, n_rows, one.width, lanes)
        one.input_panels = address(
            "input_panels", arrays["input_panels"], one.width, 4 * one.dim, lanes
        )
        one.hidden_panels = address(
            "hidden_panels", arrays["hidden_panels"], one.width, 4 * one.dim, lanes
        )
        one.projection_panels = address(
            "projection_panels", arrays["projection_panels"], one.dim, one.width, lanes
        )
        one.bias = &bias[0]
        one.rows = address_of_written("rows", arrays["rows"], n_kept, one.dim, lanes)
        one.outputs = &outputs[0, 0]
        one.hidden = &hidden[0, 0]
        one.cell = &cell[0, 0]
        passes.push_back(one)
    _check_one_shape(shapes)
    with nogil:
        run_all(passes.data(), n_passes, n_sequences, lanes, n_threads)


def backward(
    const int64_t[::1] batch_sizes,
    lstms,
    float cell_clip,
    float projection_clip,
    int n_threads,
):
    """lstms: of each, the arrays of `Backward` by name."""
    cdef:
        const float[:, ::1] gates, cells, outputs, first_cell, d_outputs
        float[:, ::1] d_inputs, d_hidden, d_cell
        vector[Backward] passes
        Backward one
        int64_t n_rows = sum(batch_sizes), n_sequences, n_passes = len(lstms)
        int lanes = 0
    shapes = set()
    for arrays in lstms:
        gates, cells, outputs = arrays["gates"], arrays["cells"], arrays["outputs"]
        first_cell, d_outputs = arrays["first_cell"], arrays["d_outputs"]
        d_inputs, d_hidden = arrays["d_inputs"], arrays["d_hidden"]
        d_cell = arrays["d_cell"]
        lanes = lanes_of(arrays["hidden_panels"], widest(), has_bfloat16())
        n_sequences, one.width = d_hidden.shape[0], d_hidden.shape[1]
        one.dim = d_cell.shape[1]
        shapes.add((lanes, n_sequences, one.width, one.dim))
        _check_steps(batch_sizes, n_sequences)
        found = dict(
            gates=(gates, (n_rows, 4 * one.dim)),
            cells=(cells, (n_rows, one.dim)),
            outputs=(outputs, (n_rows, one.width)),
            first_cell=(first_cell, (n_sequences, one.dim)),
            d_outputs=(d_outputs, (n_rows, one.width)),
            d_inputs=(d_inputs, (n_rows, one.width)),
            d_cell=(d_cell, (n_sequences, one.dim)),
        )
        check_shapes(found)
        one.n_steps = batch_sizes.shape[0]
        one.batch_sizes = &batch_sizes[0]
        one.cell_clip = cell_clip
        one.projection_clip = projection_clip
        one.d_inputs = &d_inputs[0, 0]
        one.input_panels = address(
            "input_panels", arrays["input_panels"], 4 * one.dim, one.width, lanes
        )
        one.hidden_panels = address(
            "hidden_panels", arrays["hidden_panels"], 4 * one.dim, one.width, lanes
        )
        one.projection_panels = address(
            "projection_panels", arrays["projection_panels"], one.width, one.dim, lanes
        )
        one.gates = &gates[0, 0]
        one.cells = &cells[0, 0]
        one.outputs = &outputs[0, 0]
        one.first_cell = &first_cell[0, 0]
        one.d_outputs = &d_outputs[0, 0]
        one.d_gates = address_of_written(
            "d_gates", arrays["d_gates"], n_rows, 4 * one.dim, lanes
        )
        one.d_projected = address_of_written(
            "d_projected", arrays["d_projected"], n_rows, one.width, lanes
        )
        one.d_hidden = &d_hidden[0, 0]
        one.d_cell = &d_cell[0, 0]
        passes.push_back(one)
    _check_one_shape(shapes)
    with nogil:
        run_all(passes.data(), n_passes, n_sequences, lanes, n_threads)


def _check_one_shape(shapes):
    if len(shapes) != 1:
        raise ValueError(
            "Expected the arrays of one LSTM or more, all of one shape, found "
            f"{shapes or 'none'} (lanes, sequences, projection_dim, dim)."
        )


def _check_steps(batch_sizes, n_sequences):
    sizes = list(batch_sizes)
    bounds = [n_sequences, *sizes]
    if not sizes or any(not 1 <= size <= most for size, most in zip(sizes, bounds)):
        raise ValueError(
            f"Expected batch sizes that never rise, from {n_sequences} or fewer "
            f"sequences down to 1 or more, found {sizes}."
        )
