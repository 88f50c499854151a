# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled steps of LSTMs: `lstm.hh` for NumPy's arrays, as `lstm` lays them out."""

from libc.stdint cimport int64_t
from libcpp.vector cimport vector

from .checks import check_lanes, check_shapes


cdef extern from "lstm.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Forward:
        int64_t n_steps, dim, width
        const int64_t* batch_sizes
        float cell_clip, projection_clip
        const float* input_panels
        const float* hidden_panels
        const float* projection_panels
        const float* bias
        const float* inputs
        float* gates
        float* cells
        float* rows
        float* outputs
        float* hidden
        float* cell

    cdef cppclass Backward:
        int64_t n_steps, dim, width
        const int64_t* batch_sizes
        float cell_clip, projection_clip
        const float* input_panels
        const float* hidden_panels
        const float* projection_panels
        const float* gates
        const float* cells
        const float* outputs
        const float* first_cell
        const float* d_outputs
        float* d_inputs
        float* d_gates
        float* d_projected
        float* d_hidden
        float* d_cell

    int widest()
    void run_all[T](
        const T* passes, int64_t n_passes, int64_t n_sequences, int lanes, int n_threads
    )


def lanes():
    return widest()


def forward(
    const int64_t[::1] batch_sizes,
    lstms,
    float cell_clip,
    float projection_clip,
    int n_threads,
):
    """lstms: of each, the arrays of `Forward` by name. `inputs` and `input_panels`,
    `gates`, and `cells` may be None."""
    cdef:
        const float[:, :, :, ::1] input_panels, hidden_panels
        const float[:, :, ::1] projection_panels
        const float[::1] bias
        const float[:, ::1] inputs
        float[:, ::1] gates, cells, rows, outputs, hidden, cell
        vector[Forward] passes
        Forward one
        int64_t n_rows = sum(batch_sizes), n_sequences, n_passes = len(lstms)
        int lanes = 0
    if not lstms:
        raise ValueError("Expected the arrays of one LSTM or more, found none.")
    for arrays in lstms:
        input_panels, hidden_panels = arrays["input_panels"], arrays["hidden_panels"]
        projection_panels, bias = arrays["projection_panels"], arrays["bias"]
        inputs, gates, cells = arrays["inputs"], arrays["gates"], arrays["cells"]
        rows, outputs = arrays["rows"], arrays["outputs"]
        hidden, cell = arrays["hidden"], arrays["cell"]
        lanes = hidden_panels.shape[3]
        n_sequences, one.width = hidden.shape[0], hidden.shape[1]
        one.dim = cell.shape[1]
        check_lanes(lanes, widest())
        _check_steps(batch_sizes, n_sequences)
        columns = 4 * lanes
        panels = (one.dim // lanes, one.width, 4, lanes)
        n_kept = n_sequences if cells is None else n_rows
        found = dict(
            hidden_panels=(hidden_panels, panels),
            projection_panels=(
                projection_panels, (one.width // columns, one.dim, columns)
            ),
            bias=(bias, (4 * one.dim,)),
            rows=(rows, (n_kept, one.dim)),
            outputs=(outputs, (n_rows, one.width)),
            cell=(cell, (n_sequences, one.dim)),
        )
        if inputs is not None:
            found["inputs"] = (inputs, (n_rows, one.width))
            found["input_panels"] = (input_panels, panels)
        if inputs is None or cells is not None:
            found["gates"] = (gates, (n_rows, 4 * one.dim))
        if cells is not None:
            found["cells"] = (cells, (n_rows, one.dim))
        check_shapes(found)
        one.n_steps = batch_sizes.shape[0]
        one.batch_sizes = &batch_sizes[0]
        one.cell_clip = cell_clip
        one.projection_clip = projection_clip
        one.input_panels = one.inputs = NULL
        one.gates = one.cells = NULL
        if inputs is not None:
            one.input_panels = &input_panels[0, 0, 0, 0]
            one.inputs = &inputs[0, 0]
        if gates is not None:
            one.gates = &gates[0, 0]
        if cells is not None:
            one.cells = &cells[0, 0]
        one.hidden_panels = &hidden_panels[0, 0, 0, 0]
        one.projection_panels = &projection_panels[0, 0, 0]
        one.bias = &bias[0]
        one.rows = &rows[0, 0]
        one.outputs = &outputs[0, 0]
        one.hidden = &hidden[0, 0]
        one.cell = &cell[0, 0]
        passes.push_back(one)
    with nogil:
        run_all(passes.data(), n_passes, n_sequences, lanes, n_threads)


def backward(
    const int64_t[::1] batch_sizes,
    lstms,
    float cell_clip,
    float projection_clip,
    int n_threads,
):
    """lstms: of each, the arrays of `Backward` by name. `d_inputs` and `input_panels`
    may be None."""
    cdef:
        const float[:, :, ::1] input_panels, hidden_panels, projection_panels
        const float[:, ::1] gates, cells, outputs, first_cell, d_outputs
        float[:, ::1] d_inputs, d_gates, d_projected, d_hidden, d_cell
        vector[Backward] passes
        Backward one
        int64_t n_rows = sum(batch_sizes), n_sequences, n_passes = len(lstms)
        int lanes = 0
    if not lstms:
        raise ValueError("Expected the arrays of one LSTM or more, found none.")
    for arrays in lstms:
        input_panels, hidden_panels = arrays["input_panels"], arrays["hidden_panels"]
        projection_panels = arrays["projection_panels"]
        gates, cells, outputs = arrays["gates"], arrays["cells"], arrays["outputs"]
        first_cell, d_outputs = arrays["first_cell"], arrays["d_outputs"]
        d_inputs, d_gates = arrays["d_inputs"], arrays["d_gates"]
        d_projected = arrays["d_projected"]
        d_hidden, d_cell = arrays["d_hidden"], arrays["d_cell"]
        columns = hidden_panels.shape[2]
        lanes = columns // 4
        n_sequences, one.width = d_hidden.shape[0], d_hidden.shape[1]
        one.dim = d_cell.shape[1]
        check_lanes(lanes, widest())
        _check_steps(batch_sizes, n_sequences)
        panels = (one.width // columns, 4 * one.dim, columns)
        found = dict(
            hidden_panels=(hidden_panels, panels),
            projection_panels=(
                projection_panels, (one.dim // columns, one.width, columns)
            ),
            gates=(gates, (n_rows, 4 * one.dim)),
            cells=(cells, (n_rows, one.dim)),
            outputs=(outputs, (n_rows, one.width)),
            first_cell=(first_cell, (n_sequences, one.dim)),
            d_outputs=(d_outputs, (n_rows, one.width)),
            d_gates=(d_gates, (n_rows, 4 * one.dim)),
            d_projected=(d_projected, (n_rows, one.width)),
            d_cell=(d_cell, (n_sequences, one.dim)),
        )
        if d_inputs is not None:
            found["d_inputs"] = (d_inputs, (n_rows, one.width))
            found["input_panels"] = (input_panels, panels)
        check_shapes(found)
        one.n_steps = batch_sizes.shape[0]
        one.batch_sizes = &batch_sizes[0]
        one.cell_clip = cell_clip
        one.projection_clip = projection_clip
        one.input_panels = NULL
        one.d_inputs = NULL
        if d_inputs is not None:
            one.input_panels = &input_panels[0, 0, 0]
            one.d_inputs = &d_inputs[0, 0]
        one.hidden_panels = &hidden_panels[0, 0, 0]
        one.projection_panels = &projection_panels[0, 0, 0]
        one.gates = &gates[0, 0]
        one.cells = &cells[0, 0]
        one.outputs = &outputs[0, 0]
        one.first_cell = &first_cell[0, 0]
        one.d_outputs = &d_outputs[0, 0]
        one.d_gates = &d_gates[0, 0]
        one.d_projected = &d_projected[0, 0]
        one.d_hidden = &d_hidden[0, 0]
        one.d_cell = &d_cell[0, 0]
        passes.push_back(one)
    with nogil:
        run_all(passes.data(), n_passes, n_sequences, lanes, n_threads)


def _check_steps(batch_sizes, n_sequences):
    sizes = list(batch_sizes)
    bounds = [n_sequences, *sizes]
    if not sizes or any(not 1 <= size <= most for size, most in zip(sizes, bounds)):
        raise ValueError(
            f"Expected batch sizes that never rise, from {n_sequences} or fewer "
            f"sequences down to 1 or more, found {sizes}."
        )
