# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled steps of LSTMs: `lstm_kernels.hh` for NumPy's arrays, as `kernels` lays
them out."""

from libc.stdint cimport int64_t
from libcpp.vector cimport vector


cdef extern from "lstm_kernels.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Forward:
        int64_t n_steps, dim, width
        const int64_t* batch_sizes
        float cell_clip, projection_clip
        const float* hidden_panels
        const float* projection_panels
        const float* bias
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
        const float* hidden_panels
        const float* projection_panels
        const float* gates
        const float* cells
        const float* outputs
        const float* first_cell
        const float* d_outputs
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
    """lstms: of each, the arrays that `Forward` lists, in its order; `cells` may be
    None."""
    cdef:
        const float[:, :, :, ::1] hidden_panels
        const float[:, :, ::1] projection_panels
        const float[::1] bias
        float[:, ::1] gates, cells, rows, outputs, hidden, cell
        vector[Forward] passes
        Forward one
        int64_t n_rows = sum(batch_sizes), n_sequences, n_passes = len(lstms)
        int lanes = 0
    if not lstms:
        raise ValueError("Expected the arrays of one LSTM or more, found none.")
    for arrays in lstms:
        hidden_panels, projection_panels, bias, gates, cells = arrays[:5]
        rows, outputs, hidden, cell = arrays[5:]
        lanes = hidden_panels.shape[3]
        n_sequences, one.width = hidden.shape[0], hidden.shape[1]
        one.dim = cell.shape[1]
        _check_steps(batch_sizes, n_sequences, lanes)
        columns = 4 * lanes
        n_kept = n_sequences if cells is None else n_rows
        _check(
            hidden_panels=(hidden_panels, (one.dim // lanes, one.width, 4, lanes)),
            projection_panels=(
                projection_panels, (one.width // columns, one.dim, columns)
            ),
            bias=(bias, (4 * one.dim,)),
            gates=(gates, (n_rows, 4 * one.dim)),
            rows=(rows, (n_kept, one.dim)),
            cells=(rows if cells is None else cells, (n_kept, one.dim)),
            outputs=(outputs, (n_rows, one.width)),
            cell=(cell, (n_sequences, one.dim)),
        )
        one.n_steps = batch_sizes.shape[0]
        one.batch_sizes = &batch_sizes[0]
        one.cell_clip = cell_clip
        one.projection_clip = projection_clip
        one.hidden_panels = &hidden_panels[0, 0, 0, 0]
        one.projection_panels = &projection_panels[0, 0, 0]
        one.bias = &bias[0]
        one.gates = &gates[0, 0]
        one.cells = NULL
        if cells is not None:
            one.cells = &cells[0, 0]
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
    """lstms: of each, the arrays that `Backward` lists, in its order."""
    cdef:
        const float[:, :, ::1] hidden_panels, projection_panels
        const float[:, ::1] gates, cells, outputs, first_cell, d_outputs
        float[:, ::1] d_gates, d_projected, d_hidden, d_cell
        vector[Backward] passes
        Backward one
        int64_t n_rows = sum(batch_sizes), n_sequences, n_passes = len(lstms)
        int lanes = 0
    if not lstms:
        raise ValueError("Expected the arrays of one LSTM or more, found none.")
    for arrays in lstms:
        hidden_panels, projection_panels, gates, cells, outputs = arrays[:5]
        first_cell, d_outputs, d_gates, d_projected, d_hidden, d_cell = arrays[5:]
        columns = hidden_panels.shape[2]
        lanes = columns // 4
        n_sequences, one.width = d_hidden.shape[0], d_hidden.shape[1]
        one.dim = d_cell.shape[1]
        _check_steps(batch_sizes, n_sequences, lanes)
        _check(
            hidden_panels=(
                hidden_panels, (one.width // columns, 4 * one.dim, columns)
            ),
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
        one.n_steps = batch_sizes.shape[0]
        one.batch_sizes = &batch_sizes[0]
        one.cell_clip = cell_clip
        one.projection_clip = projection_clip
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


def _check_steps(batch_sizes, n_sequences, lanes):
    if lanes not in (8, 16) or lanes > widest():
        raise ValueError(
            f"Expected weights laid out for this processor's vectors, of {widest()} "
            f"floats or fewer, found them for vectors of {lanes} floats."
        )
    sizes = list(batch_sizes)
    bounds = [n_sequences, *sizes]
    if not sizes or any(not 1 <= size <= most for size, most in zip(sizes, bounds)):
        raise ValueError(
            f"Expected batch sizes that never rise, from {n_sequences} or fewer "
            f"sequences down to 1 or more, found {sizes}."
        )


def _check(**arrays):
    for name, (array, expected) in arrays.items():
        found = tuple(array.shape)[: len(expected)]
        if found != expected:
            raise ValueError(f"{name}: expected the shape {expected}, found {found}.")
