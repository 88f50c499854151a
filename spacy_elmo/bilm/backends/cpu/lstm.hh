// Projected, clipped LSTMs over packed rows: the forward and the backward pass.
//
// Between the matrix products of a step are a dozen elementwise operations, and the
// products themselves have few rows: called one by one, they leave a processor at half of
// its speed. Here a thread takes some of an LSTM's sequences through all steps, so that
// threads never wait for one another; weights are packed as their products read them; and
// the gates are activated while they are in the first cache. With few sequences a thread,
// all threads take all sequences through each step and share the columns of its products.
//
// Shapes: T steps, R packed rows, N sequences, D = dim, P = projection_dim, both rounded
// up to whole panels; the columns beyond the true sizes are zeros. The gates are in the
// order i, f, g, o. "Operands" are the operands of matrix products (Isa::Operand), with
// int8 among the scales of their rows (`int8.hh`), all else is float32.

#pragma once

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "gemm.hh"

namespace spacy_elmo {

// The threads that take the same sequences of an LSTM through its steps.
struct Team {
  int64_t rank = 0, size = 1;
  bool waits = false;  // whether other threads run these passes too, in step with this one

  // Returns when all threads have arrived.
  void wait() const {
    if (waits) {
#pragma omp barrier
    }
  }
};

// A rectangle of a product's results.
struct Share {
  int64_t first_row, last_row, first_column, last_column;
};

// The part of a product (n_rows, n_panels · columns) that a team member computes: some
// panels of all rows, so that each core's cache keeps its part of the weight from step to
// step. If there are fewer panels than threads, they share the rows too.
inline Share share_of(const Team& team, int64_t n_rows, int64_t n_panels,
                      int64_t columns) {
  int64_t row_parts = team.size / n_panels;
  if (row_parts > n_rows) row_parts = n_rows;
  if (row_parts < 1) row_parts = 1;
  const int64_t panel_parts = team.size / row_parts;
  const int64_t row_part = team.rank / panel_parts, panel_part = team.rank % panel_parts;
  if (row_part >= row_parts) return {0, 0, 0, 0};
  return {row_part * n_rows / row_parts, (row_part + 1) * n_rows / row_parts,
          panel_part * n_panels / panel_parts * columns,
          (panel_part + 1) * n_panels / panel_parts * columns};
}

// Calls run(first row, number of rows) for blocks of a share's rows.
template <class Run> ELMO_INLINE void in_row_blocks(const Share& share, const Run& run) {
  for (int64_t row = share.first_row; row < share.last_row; row += kRowBlock)
    run(row, share.last_row - row < kRowBlock ? share.last_row - row : kRowBlock);
}

// One LSTM's pass over time.
struct Pass {
  int64_t n_steps, dim, width;     // T, D, P
  int64_t depth, cell_depth;       // P and D as they are multiplied: in bfloat16 even
  const int64_t* batch_sizes;      // sequences running at each step, never rising, (T)
  float cell_clip, projection_clip;
  bool rounds;  // see `store_operands`

  // Sequences of [first, last) that run at a step.
  int64_t running(int64_t step, int64_t first, int64_t last) const {
    const int64_t end = batch_sizes[step] < last ? batch_sizes[step] : last;
    return end > first ? end - first : 0;
  }

  // Whether these are all that run at a step, so that its rows and those of the next step
  // are adjacent.
  bool are_all(int64_t step, int64_t first, int64_t last) const {
    return first == 0 && batch_sizes[step] <= last;
  }
};

struct Forward : Pass {
  const void* input_panels;       // (D / W, P, 4 gates, W)
  const void* hidden_panels;      // (D / W, P, 4 gates, W)
  const void* projection_panels;  // (P / columns, D, columns), or null: P = D
  const float* bias;              // (4 D)
  const void* inputs;             // operands (R, P)
  float *gates, *cells;  // activated (R, 4 D), and (R, D), for the backward pass; or null
  void* rows;  // operands of the projection: (R, D) for the backward pass, or (N, D)
  float* unquantized;     // (N, D), the rows before they are quantized, or null
  float* outputs;         // (R, P)
  float* hidden;          // (N, P): the initial state, then each sequence's last one
  float* cell;            // (N, D): likewise
  void* hidden_operands;  // operands (N, P): hidden itself if those are unrounded floats

  // Floats of scratch memory for a team.
  int64_t scratch_size() const { return kRowBlock * 4 * dim; }

  // Runs the sequences [first, last).
  template <class Isa>
  ELMO_INLINE void run(int64_t first, int64_t last, const Team& team, float* scratch) const;
};

struct Backward : Pass {
  const void* input_panels;       // (P / columns, 4 D, columns)
  const void* hidden_panels;      // (P / columns, 4 D, columns)
  const void* projection_panels;  // (D / columns, P, columns), or null
  const float *gates, *cells, *outputs;  // of the forward pass
  const float* first_cell;               // (N, D)
  const float* d_outputs;                // (R, P)
  float* d_inputs;                       // (R, P)
  void* d_gates;                         // operands (R, 4 D)
  void* d_projected;                     // operands (R, P), zero where clipped; or null
  // (N, P), (N, D): the gradients of the last state, then those of the initial one.
  float *d_hidden, *d_cell;

  int64_t scratch_size() const { return 0; }

  template <class Isa>
  ELMO_INLINE void run(int64_t first, int64_t last, const Team& team, float* scratch) const;
};

// Gates before the hidden state's product is added: the bias and the product of the
// inputs, which is computed for several steps at a time if that saves reading its weight.
template <class Isa> class InputSums {
 public:
  InputSums(const Forward& pass, int64_t first, int64_t last, const Team& team,
            float* scratch)
      : pass(pass), first(first), last(last), team(team), scratch(scratch) {}

  // Called before each step, of n rows from `row` on. Returns the sums with the inputs'
  // product (n, 4 D), or null if the step has to add that product itself.
  ELMO_INLINE const float* prepare(int64_t step, int64_t row, int64_t n) {
    if (step == end) compute(row, n);
    const float* const sums = next;
    if (sums) next += n * 4 * pass.dim;
    return sums;
  }

  // Begins a panel's sums.
  template <class Sums>
  ELMO_INLINE void begin(const float* prepared, int64_t row, int64_t column, int n,
                         Sums& sums) const {
    const int64_t D = pass.dim;
    if (prepared) {
      for (int r = 0; r < n; ++r)
        for (int v = 0; v < kVectors; ++v)
          sums[r][v] = load<Isa>(prepared + (row + r) * 4 * D + column + v * Isa::width);
    } else {
      for (int gate = 0; gate < 4; ++gate) {
        const auto bias = load<Isa>(pass.bias + gate * D + column / kVectors);
        for (int r = 0; r < n; ++r) sums[r][gate] = bias;
      }
    }
  }

 private:
  typedef typename Isa::Operand Operand;
  const Forward& pass;
  const int64_t first, last;
  const Team& team;
  float* const scratch;
  int64_t end = 0;  // the step after those that are prepared
  const float* next = nullptr;

  ELMO_INLINE void compute(int64_t row, int64_t n) {
    const int64_t D = pass.dim, P = pass.width;
    const int64_t n_bytes = 4 * D * P * sizeof(Operand);
    int64_t n_rows = n;
    ++end;
    if (n < Isa::rows || n_bytes > kLargeWeightBytes)
      while (end < pass.n_steps && pass.are_all(end - 1, first, last) &&
             n_rows + pass.batch_sizes[end] <= kRowBlock)
        n_rows += pass.batch_sizes[end++];
    next = nullptr;
    if (n_rows == n) return;
    const auto* const inputs = static_cast<const Operand*>(pass.inputs);
    const Share share = share_of(team, n_rows, 4 * D / kColumns<Isa>, kColumns<Isa>);
    in_row_blocks(share, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
      multiply<Isa>(
          n_own, share.first_column, share.last_column,
          {{inputs + (row + b) * operand_stride<Isa>(P), operand_stride<Isa>(P), pass.depth,
            pass.input_panels}},
          [&](auto number, int64_t r, int64_t column, auto& sums) ELMO_INLINE_LAMBDA {
            begin(nullptr, r, column, decltype(number)::value, sums);
          },
          [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
            copy_panel<Isa>(results, n_own, scratch + b * 4 * D + column, 4 * D,
                            kColumns<Isa>);
          });
    });
    team.wait();
    next = scratch;
  }
};

// The steps of a forward pass, as one member of a team runs them.
template <class Isa> class ForwardSteps {
 public:
  ForwardSteps(const Forward& pass, int64_t first, int64_t last, const Team& team,
               float* scratch)
      : pass(pass),
        first(first),
        last(last),
        team(team),
        input_sums(pass, first, last, team, scratch),
        hidden(pass.hidden + first * P),
        cell(pass.cell + first * D),
        hidden_operands(static_cast<Operand*>(pass.hidden_operands) +
                        first * hidden_stride),
        copies_hidden(pass.hidden_operands != pass.hidden) {}

  ELMO_INLINE void run() {
    const int64_t n_first = pass.running(0, first, last);
    if constexpr (Isa::is_int8)
      quantize_rows(hidden, n_first, P, hidden_operands);
    else if (copies_hidden && team.rank == 0)
      for (int64_t k = 0; k < n_first * P; k += W)
        store_operands<Isa>(hidden_operands + k, load<Isa>(hidden + k), pass.rounds);
    team.wait();
    row = first;
    for (int64_t step = 0; step < pass.n_steps; row += pass.batch_sizes[step++]) {
      const int64_t n = pass.running(step, first, last);
      if (n == 0) break;
      rows = static_cast<Operand*>(pass.rows) + (pass.cells ? row : first) * row_stride;
      outputs = pass.outputs + row * P;
      const float* const prepared = input_sums.prepare(step, row, n);
      const Share of_gates = share_of(team, n, 4 * D / columns, columns);
      in_row_blocks(of_gates, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
        compute_gates(of_gates, b, n_own, prepared);
      });
      team.wait();
      if constexpr (Isa::is_int8)
        if (pass.projection_panels) {
          quantize_rows(pass.unquantized + first * D, n, D, rows);
          team.wait();
        }
      const Share of_outputs = share_of(team, n, P / columns, columns);
      in_row_blocks(of_outputs, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
        if (pass.projection_panels)
          project(of_outputs, b, n_own);
        else
          copy_outputs(of_outputs, b, n_own);
      });
      team.wait();
      if constexpr (Isa::is_int8) {
        quantize_rows(outputs, n, P, hidden_operands);
        team.wait();
      }
    }
  }

 private:
  typedef typename Isa::Float Float;
  typedef typename Isa::Operand Operand;
  static constexpr int W = Isa::width, columns = kColumns<Isa>;
  const Forward& pass;
  const int64_t D = pass.dim, P = pass.width;
  const int64_t row_stride = operand_stride<Isa>(D), hidden_stride = operand_stride<Isa>(P);
  const int64_t first, last;
  const Team& team;
  InputSums<Isa> input_sums;
  float *const hidden, *const cell;
  Operand* const hidden_operands;
  const bool copies_hidden;
  int64_t row = 0;            // the step's first row
  Operand* rows = nullptr;    // its part of pass.rows
  float* outputs = nullptr;   // its part of pass.outputs

  // Quantizes rows of the step, which the threads share.
  ELMO_INLINE void quantize_rows(const float* from, int64_t n, int64_t width,
                                 Operand* to) const {
    for (int64_t r = team.rank; r < n; r += team.size)
      quantize_row<Isa>(from + r * width, width, width, to + r * operand_stride<Isa>(width));
  }

  // Here and below: of n rows of the step from b on, the columns of a share.
  ELMO_INLINE void compute_gates(const Share& share, int64_t b, int64_t n,
                                 const float* prepared) {
    const auto begin = [&](auto number, int64_t r, int64_t column,
                           auto& sums) ELMO_INLINE_LAMBDA {
      input_sums.begin(prepared, b + r, column, decltype(number)::value, sums);
    };
    const auto done = [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
      activate(b, n, column, results);
    };
    const Factors<Operand> of_hidden{hidden_operands + b * hidden_stride, hidden_stride,
                                     pass.depth, pass.hidden_panels};
    const Factors<Operand> of_inputs{
        static_cast<const Operand*>(pass.inputs) + (row + b) * hidden_stride,
        hidden_stride, pass.depth, pass.input_panels};
    if (prepared)
      multiply<Isa>(n, share.first_column, share.last_column, {of_hidden}, begin, done);
    else
      multiply<Isa>(n, share.first_column, share.last_column, {of_inputs, of_hidden},
                    begin, done);
  }

  // results: the gates of some units, before activation, (n, 4 gates, W).
  ELMO_INLINE void activate(int64_t b, int64_t n, int64_t column, float* results) {
    const int64_t unit = column / kVectors;
    if constexpr (Isa::is_int8) return activate_roughly(b, n, unit, results);
    // Separate from the next loop, so that vectors do not wait for one another.
    for (int64_t v = 0; v < n * kVectors; ++v) {
      // tanh(x) = 2 sigmoid(2 x) - 1
      const float scale = v % kVectors == 2 ? 2.0f : 1.0f;
      const Float squashed = sigmoid<Isa>(scale * load<Isa>(results + v * W));
      store<Isa>(results + v * W, scale * squashed + (1.0f - scale));
    }
    for (int64_t r = 0; r < n; ++r) {
      const float* const gate = results + r * columns;
      const Float i = load<Isa>(gate), f = load<Isa>(gate + W);
      const Float g = load<Isa>(gate + 2 * W), o = load<Isa>(gate + 3 * W);
      const int64_t place = (b + r) * D + unit;
      const Float c = clamp<Isa>(f * load<Isa>(cell + place) + i * g, -pass.cell_clip,
                                 pass.cell_clip);
      store<Isa>(cell + place, c);
      put_unprojected(place, o * tanh<Isa>(c));
      if (pass.cells) {
        store<Isa>(pass.cells + row * D + place, c);
        float* const gates = pass.gates + (row + b + r) * 4 * D + unit;
        for (int v = 0; v < 4; ++v) store<Isa>(gates + v * D, load<Isa>(gate + v * W));
      }
    }
  }

  // The same as precisely as int8 operands need it, and with fewer divisions:
  //   f c + i g = c / (1 + e^-f) + (1 - e^-2g) / ((1 + e^-i) (1 + e^-2g)),
  // where the gates are activated on the left and not yet on the right.
  ELMO_INLINE void activate_roughly(int64_t b, int64_t n, int64_t unit,
                                    const float* results) {
    const auto exp_of = [](float factor, Float x) ELMO_INLINE_LAMBDA {
      return rough_exp2<Isa>(1.44269504f * factor * x);
    };
    for (int64_t r = 0; r < n; ++r) {
      const float* const gate = results + r * columns;
      const Float i = exp_of(-1.0f, load<Isa>(gate));
      const Float f = exp_of(-1.0f, load<Isa>(gate + W));
      const Float g = exp_of(-2.0f, load<Isa>(gate + 2 * W));
      const Float o = exp_of(-1.0f, load<Isa>(gate + 3 * W));
      const int64_t place = (b + r) * D + unit;
      const Float left = 1.0f + f, right = (1.0f + i) * (1.0f + g);
      const Float c = clamp<Isa>(
          (load<Isa>(cell + place) * right + (1.0f - g) * left) / (left * right),
          -pass.cell_clip, pass.cell_clip);
      store<Isa>(cell + place, c);
      const Float squashed = exp_of(-2.0f, c);
      put_unprojected(place, (1.0f - squashed) / ((1.0f + o) * (1.0f + squashed)));
    }
  }

  ELMO_INLINE void put_unprojected(int64_t place, Float output) {
    if (!pass.projection_panels)
      store<Isa>(outputs + place, output);
    else if constexpr (Isa::is_int8)
      store<Isa>(pass.unquantized + first * D + place, output);
    else
      store_operands<Isa>(rows + place, output, pass.rounds);
  }

  ELMO_INLINE void project(const Share& share, int64_t b, int64_t n) {
    const float bound = pass.projection_clip;
    multiply<Isa>(n, share.first_column, share.last_column,
                  {{rows + b * row_stride, row_stride, pass.cell_depth, pass.projection_panels}},
                  FromZero<Isa>(), [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
                    for (int64_t r = 0; r < n; ++r)
                      for (int v = 0; v < kVectors; ++v) {
                        const int64_t place = (b + r) * P + column + v * W;
                        const Float output = clamp<Isa>(
                            load<Isa>(results + r * columns + v * W), -bound, bound);
                        store<Isa>(outputs + place, output);
                        put_hidden(place, output);
                      }
                  });
  }

  ELMO_INLINE void copy_outputs(const Share& share, int64_t b, int64_t n) {
    for (int64_t r = b; r < b + n; ++r)
      for (int64_t c = share.first_column; c < share.last_column; c += W)
        put_hidden(r * P + c, load<Isa>(outputs + r * P + c));
  }

  ELMO_INLINE void put_hidden(int64_t place, Float output) {
    store<Isa>(hidden + place, output);
    if constexpr (!Isa::is_int8)
      if (copies_hidden)
        store_operands<Isa>(hidden_operands + place, output, pass.rounds);
  }
};

template <class Isa>
ELMO_INLINE void Forward::run(int64_t first, int64_t last, const Team& team,
                              float* scratch) const {
  ForwardSteps<Isa>(*this, first, last, team, scratch).run();
}

// The steps of a backward pass, last step first, as one member of a team runs them.
template <class Isa> class BackwardSteps {
 public:
  BackwardSteps(const Backward& pass, int64_t first, int64_t last, const Team& team)
      : pass(pass),
        first(first),
        last(last),
        team(team),
        d_hidden(pass.d_hidden + first * P),
        d_cell(pass.d_cell + first * D) {}

  ELMO_INLINE void run() {
    row = first;
    for (int64_t step = 0; step < pass.n_steps; ++step) row += pass.batch_sizes[step];
    int64_t n_waiting = 0;  // rows whose inputs' gradient is yet to be computed
    for (int64_t step = pass.n_steps - 1; step >= 0; --step) {
      row -= pass.batch_sizes[step];
      const int64_t n = pass.running(step, first, last);
      cells_before = step == 0 ? pass.first_cell + first * D
                               : pass.cells + (row - pass.batch_sizes[step - 1]) * D;
      if (pass.projection_panels) {
        clip_gradient(n);
        team.wait();
      }
      const Share of_cells = share_of(team, n, D / columns, columns);
      in_row_blocks(of_cells, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
        if (pass.projection_panels)
          compute_gates(of_cells, b, n_own);
        else
          compute_unprojected_gates(of_cells, b, n_own);
      });
      team.wait();
      multiply_gates(pass.hidden_panels, d_hidden, n);
      // No step waits for the inputs' gradients: those of several are computed at a time.
      n_waiting += n;
      if (step == 0 || !pass.are_all(step - 1, first, last) ||
          n_waiting + pass.batch_sizes[step - 1] > kRowBlock) {
        multiply_gates(pass.input_panels, pass.d_inputs + row * P, n_waiting);
        n_waiting = 0;
      }
      team.wait();
    }
  }

 private:
  typedef typename Isa::Float Float;
  typedef typename Isa::Operand Operand;
  static constexpr int W = Isa::width, columns = kColumns<Isa>;
  const Backward& pass;
  const int64_t D = pass.dim, P = pass.width;
  const int64_t first, last;
  const Team& team;
  float *const d_hidden, *const d_cell;
  int64_t row = 0;                       // the step's first row
  const float* cells_before = nullptr;   // the cells that it started from

  ELMO_INLINE Operand* d_projected() const {
    return static_cast<Operand*>(pass.d_projected) + row * P;
  }

  ELMO_INLINE Operand* d_gates() const {
    return static_cast<Operand*>(pass.d_gates) + row * 4 * D;
  }

  // The gradient of the projection, zero where the output was clipped.
  ELMO_INLINE void clip_gradient(int64_t n) {
    const int64_t n_vectors = n * P / W;
    const int64_t from = team.rank * n_vectors / team.size * W;
    const int64_t to = (team.rank + 1) * n_vectors / team.size * W;
    for (int64_t k = from; k < to; k += W) {
      const Float sum =
          load<Isa>(d_hidden + k) + load<Isa>(pass.d_outputs + row * P + k);
      const Float output = load<Isa>(pass.outputs + row * P + k);
      store_operands<Isa>(d_projected() + k,
                          if_within<Isa>(output, pass.projection_clip, sum), pass.rounds);
    }
  }

  // Here and below: of n rows of the step from b on, the columns of a share.
  ELMO_INLINE void compute_gates(const Share& share, int64_t b, int64_t n) {
    multiply<Isa>(n, share.first_column, share.last_column,
                  {{d_projected() + b * P, P, pass.depth, pass.projection_panels}}, FromZero<Isa>(),
                  [&](int64_t column, const float* d_rows) ELMO_INLINE_LAMBDA {
                    deactivate(b, n, column, d_rows);
                  });
  }

  ELMO_INLINE void compute_unprojected_gates(const Share& share, int64_t b, int64_t n) {
    alignas(64) float d_rows[kRowBlock * columns];
    for (int64_t c = share.first_column; c < share.last_column; c += columns) {
      for (int64_t r = 0; r < n; ++r)
        for (int64_t v = 0; v < columns; v += W) {
          const int64_t place = (b + r) * P + c + v;
          store<Isa>(d_rows + r * columns + v,
                     load<Isa>(d_hidden + place) +
                         load<Isa>(pass.d_outputs + row * P + place));
        }
      deactivate(b, n, c, d_rows);
    }
  }

  // d_rows: the gradient of o · tanh(c), (n, columns).
  ELMO_INLINE void deactivate(int64_t b, int64_t n, int64_t column, const float* d_rows) {
    for (int64_t r = 0; r < n; ++r)
      for (int v = 0; v < kVectors; ++v) {
        const int64_t place = (b + r) * D + column + v * W;
        const float* const gate = pass.gates + (row + b + r) * 4 * D + column + v * W;
        Operand* const d_gate = d_gates() + (b + r) * 4 * D + column + v * W;
        const Float i = load<Isa>(gate), f = load<Isa>(gate + D);
        const Float g = load<Isa>(gate + 2 * D), o = load<Isa>(gate + 3 * D);
        const Float c = load<Isa>(pass.cells + row * D + place);
        const Float squashed = tanh<Isa>(c);
        const Float d_row = load<Isa>(d_rows + (r * kVectors + v) * W);
        Float d_c = load<Isa>(d_cell + place) + d_row * o * (1.0f - squashed * squashed);
        d_c = if_within<Isa>(c, pass.cell_clip, d_c);
        const auto put = [&](int number, Float d) ELMO_INLINE_LAMBDA {
          store_operands<Isa>(d_gate + number * D, d, pass.rounds);
        };
        put(0, d_c * g * i * (1.0f - i));
        put(1, d_c * load<Isa>(cells_before + place) * f * (1.0f - f));
        put(2, d_c * i * (1.0f - g * g));
        put(3, d_row * squashed * o * (1.0f - o));
        store<Isa>(d_cell + place, d_c * f);
      }
  }

  // to (n, P) = the gradients of the gates, from the step's first row on, · a weight.
  ELMO_INLINE void multiply_gates(const void* panels, float* to, int64_t n_rows) {
    const Share share = share_of(team, n_rows, P / columns, columns);
    in_row_blocks(share, [&](int64_t b, int64_t n) ELMO_INLINE_LAMBDA {
      multiply<Isa>(n, share.first_column, share.last_column,
                    {{d_gates() + b * 4 * D, 4 * D, 4 * D, panels}}, FromZero<Isa>(),
                    [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
                      copy_panel<Isa>(results, n, to + b * P + column, P, columns);
                    });
    });
  }
};

template <class Isa>
ELMO_INLINE void Backward::run(int64_t first, int64_t last, const Team& team,
                               float*) const {
  BackwardSteps<Isa>(*this, first, last, team).run();
}

// The passes of a team, as a kernel whose parts are sequences.
template <class AnyPass> struct TeamPass {
  const AnyPass& pass;
  const Team& team;
  float* scratch;

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    pass.template run<Isa>(first, last, team, scratch);
  }
};

template <> constexpr bool kTakesInt8<TeamPass<Forward>> = true;
template <> constexpr bool kTakesHalf<TeamPass<Forward>> = true;

// Runs several LSTMs of one shape over the same steps. May throw std::bad_alloc, before any
// thread has started.
template <class AnyPass>
void run_lstms(const AnyPass* passes, int64_t n_passes, int64_t n_sequences, int isa,
               int n_threads) {
  if (n_threads < 1) n_threads = 1;
  const int64_t scratch_size = passes->scratch_size();
  std::unique_ptr<float[]> scratch(
      new float[(n_threads > n_passes ? n_threads : n_passes) * scratch_size]);

  const int64_t threads_each = ceil_div(n_threads, n_passes);
  if (threads_each > 1 && n_sequences < threads_each * kSequencesPerThread) {
    const int64_t work = n_sequences * 4 * passes->dim * passes->width;
    const int64_t useful = n_passes * (1 + work / kWorkPerThread);
    if (n_threads > useful) n_threads = static_cast<int>(useful);
    if (n_threads > n_passes) {
#pragma omp parallel num_threads(n_threads)
      {
        const int64_t rank = thread_number(), size = thread_count();
        const bool waits = size > n_passes;
        // There may be fewer threads than were asked for.
        for (int64_t i = rank % n_passes; i < n_passes; i += size) {
          const Team team{rank / n_passes,
                          waits ? (size - i + n_passes - 1) / n_passes : 1, waits};
          const TeamPass<AnyPass> kernel{passes[i], team, scratch.get() + i * scratch_size};
          run_part(kernel, 0, n_sequences, isa);
        }
      }
      return;
    }
  }

  // As many blocks of each LSTM's sequences as give all threads the same number.
  const int64_t shares = n_threads / std::gcd<int64_t>(n_threads, n_passes);
  const int64_t n_blocks = round_up(ceil_div(n_sequences, kRowBlock), shares);
  const int64_t size = ceil_div(n_sequences, n_blocks);
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
  for (int64_t task = 0; task < n_passes * n_blocks; ++task) {
    const int64_t first = task / n_passes * size;
    const int64_t last = first + size < n_sequences ? first + size : n_sequences;
    const Team alone;
    const TeamPass<AnyPass> kernel{passes[task % n_passes], alone,
                                   scratch.get() + thread_number() * scratch_size};
    if (first < last) run_part(kernel, first, last, isa);
  }
}

}  // namespace spacy_elmo
