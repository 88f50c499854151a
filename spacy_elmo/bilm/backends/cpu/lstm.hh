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
// order i, f, g, o. "Operands" are the operands of matrix products (Isa::Operand), all
// else is float32.

#pragma once

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include <omp.h>

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

// What a member of a team computes of a product (n_rows, n_panels · columns): some panels
// of all rows, so that each core's cache keeps its part of the weight from step to step.
// If there are fewer panels than threads, they share the rows too.
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

// What a step's gates are before the hidden state's product is added: the bias, and the
// product of the inputs, which is computed for several steps at a time if that saves
// reading its weight.
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
    const auto* const panels = static_cast<const Operand*>(pass.input_panels);
    const Share share = share_of(team, n_rows, 4 * D / kColumns<Isa>, kColumns<Isa>);
    in_row_blocks(share, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
      multiply<Isa>(
          n_own, share.first_column, share.last_column,
          {{inputs + (row + b) * P, P, pass.depth, panels}},
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

template <class Isa>
ELMO_INLINE void Forward::run(int64_t first, int64_t last, const Team& team,
                              float* scratch) const {
  typedef typename Isa::Float Float;
  typedef typename Isa::Operand Operand;
  constexpr int W = Isa::width, columns = kColumns<Isa>;
  const Forward& pass = *this;
  const int64_t D = pass.dim, P = pass.width;
  float* const hidden = pass.hidden + first * P;
  float* const cell = pass.cell + first * D;
  auto* const hidden_operands = static_cast<Operand*>(pass.hidden_operands) + first * P;
  const bool copies = pass.hidden_operands != pass.hidden;
  const auto* const input_panels = static_cast<const Operand*>(pass.input_panels);
  const auto* const hidden_panels = static_cast<const Operand*>(pass.hidden_panels);
  const auto* const projection_panels = static_cast<const Operand*>(pass.projection_panels);
  const auto* const all_inputs = static_cast<const Operand*>(pass.inputs);
  InputSums<Isa> input_sums(pass, first, last, team, scratch);

  const auto put_hidden = [&](int64_t place, Float output) ELMO_INLINE_LAMBDA {
    store<Isa>(hidden + place, output);
    if (copies) store_operands<Isa>(hidden_operands + place, output, pass.rounds);
  };
  if (copies && team.rank == 0)
    for (int64_t k = 0; k < pass.running(0, first, last) * P; k += W)
      store_operands<Isa>(hidden_operands + k, load<Isa>(hidden + k), pass.rounds);
  team.wait();

  int64_t row = first;
  for (int64_t step = 0; step < pass.n_steps; row += pass.batch_sizes[step++]) {
    const int64_t n = pass.running(step, first, last);
    if (n == 0) break;
    float* const gates = pass.gates ? pass.gates + row * 4 * D : nullptr;
    float* const cells = pass.cells ? pass.cells + row * D : nullptr;
    Operand* const rows = static_cast<Operand*>(pass.rows) + (cells ? row : first) * D;
    float* const outputs = pass.outputs + row * P;
    const float* const prepared = input_sums.prepare(step, row, n);

    const Share of_gates = share_of(team, n, 4 * D / columns, columns);
    in_row_blocks(of_gates, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
      const auto begin = [&](auto number, int64_t r, int64_t column,
                             auto& sums) ELMO_INLINE_LAMBDA {
        input_sums.begin(prepared, b + r, column, decltype(number)::value, sums);
      };
      const auto activate = [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
        const int64_t unit = column / kVectors;
        // Separate from the next loop, so that vectors do not wait for one another.
        for (int64_t v = 0; v < n_own * kVectors; ++v) {
          // tanh(x) = 2 sigmoid(2 x) - 1
          const float scale = v % kVectors == 2 ? 2.0f : 1.0f;
          const Float squashed = sigmoid<Isa>(scale * load<Isa>(results + v * W));
          store<Isa>(results + v * W, scale * squashed + (1.0f - scale));
        }
        for (int64_t r = 0; r < n_own; ++r) {
          const float* const gate = results + r * columns;
          const Float i = load<Isa>(gate), f = load<Isa>(gate + W);
          const Float g = load<Isa>(gate + 2 * W), o = load<Isa>(gate + 3 * W);
          const int64_t place = (b + r) * D + unit;
          const Float c = clamp<Isa>(f * load<Isa>(cell + place) + i * g, -pass.cell_clip,
                                     pass.cell_clip);
          store<Isa>(cell + place, c);
          const Float output = o * tanh<Isa>(c);
          if (projection_panels)
            store_operands<Isa>(rows + place, output, pass.rounds);
          else
            store<Isa>(outputs + place, output);
          if (cells) {
            store<Isa>(cells + place, c);
            for (int v = 0; v < 4; ++v)
              store<Isa>(gates + (b + r) * 4 * D + v * D + unit, load<Isa>(gate + v * W));
          }
        }
      };
      const Factors<Operand> of_hidden{hidden_operands + b * P, P, pass.depth,
                                       hidden_panels};
      const Factors<Operand> of_inputs{all_inputs + (row + b) * P, P, pass.depth,
                                       input_panels};
      if (prepared)
        multiply<Isa>(n_own, of_gates.first_column, of_gates.last_column, {of_hidden},
                      begin, activate);
      else
        multiply<Isa>(n_own, of_gates.first_column, of_gates.last_column,
                      {of_inputs, of_hidden}, begin, activate);
    });
    team.wait();

    const Share of_outputs = share_of(team, n, P / columns, columns);
    in_row_blocks(of_outputs, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
      if (!projection_panels) {
        for (int64_t r = b; r < b + n_own; ++r)
          for (int64_t c = of_outputs.first_column; c < of_outputs.last_column; c += W)
            put_hidden(r * P + c, load<Isa>(outputs + r * P + c));
        return;
      }
      multiply<Isa>(
          n_own, of_outputs.first_column, of_outputs.last_column,
          {{rows + b * D, D, pass.cell_depth, projection_panels}}, FromZero<Isa>(),
          [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
            for (int64_t r = 0; r < n_own; ++r)
              for (int v = 0; v < kVectors; ++v) {
                const int64_t place = (b + r) * P + column + v * W;
                const Float output = clamp<Isa>(load<Isa>(results + r * columns + v * W),
                                                -pass.projection_clip,
                                                pass.projection_clip);
                store<Isa>(outputs + place, output);
                put_hidden(place, output);
              }
          });
    });
    team.wait();
  }
}

template <class Isa>
ELMO_INLINE void Backward::run(int64_t first, int64_t last, const Team& team,
                               float*) const {
  typedef typename Isa::Float Float;
  typedef typename Isa::Operand Operand;
  constexpr int W = Isa::width, columns = kColumns<Isa>;
  const Backward& pass = *this;
  const int64_t D = pass.dim, P = pass.width;
  float* const d_hidden = pass.d_hidden + first * P;
  float* const d_cell = pass.d_cell + first * D;
  const auto* const input_panels = static_cast<const Operand*>(pass.input_panels);
  const auto* const hidden_panels = static_cast<const Operand*>(pass.hidden_panels);
  const auto* const projection_panels = static_cast<const Operand*>(pass.projection_panels);
  int64_t row = first;
  for (int64_t step = 0; step < pass.n_steps; ++step) row += pass.batch_sizes[step];
  int64_t n_waiting = 0;  // rows whose inputs' gradient is yet to be computed
  for (int64_t step = pass.n_steps - 1; step >= 0; --step) {
    row -= pass.batch_sizes[step];
    const int64_t n = pass.running(step, first, last);
    const float* const gates = pass.gates + row * 4 * D;
    const float* const cells = pass.cells + row * D;
    const float* const before = step == 0
                                    ? pass.first_cell + first * D
                                    : pass.cells + (row - pass.batch_sizes[step - 1]) * D;
    const float* const d_outputs = pass.d_outputs + row * P;
    Operand* const d_gates = static_cast<Operand*>(pass.d_gates) + row * 4 * D;
    Operand* const d_projected =
        projection_panels ? static_cast<Operand*>(pass.d_projected) + row * P : nullptr;

    const Share of_cells = share_of(team, n, D / columns, columns);
    const auto deactivate = [&](int64_t b, int64_t n_own, int64_t column,
                                const float* d_rows) ELMO_INLINE_LAMBDA {
      for (int64_t r = 0; r < n_own; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const int64_t place = (b + r) * D + column + v * W;
          const float* const gate = gates + (b + r) * 4 * D + column + v * W;
          Operand* const d_gate = d_gates + (b + r) * 4 * D + column + v * W;
          const Float i = load<Isa>(gate), f = load<Isa>(gate + D);
          const Float g = load<Isa>(gate + 2 * D), o = load<Isa>(gate + 3 * D);
          const Float c = load<Isa>(cells + place);
          const Float squashed = tanh<Isa>(c);
          const Float d_row = load<Isa>(d_rows + (r * kVectors + v) * W);
          Float d_c = load<Isa>(d_cell + place) + d_row * o * (1.0f - squashed * squashed);
          d_c = if_within<Isa>(c, pass.cell_clip, d_c);
          const auto put = [&](int gate, Float d) ELMO_INLINE_LAMBDA {
            store_operands<Isa>(d_gate + gate * D, d, pass.rounds);
          };
          put(0, d_c * g * i * (1.0f - i));
          put(1, d_c * load<Isa>(before + place) * f * (1.0f - f));
          put(2, d_c * i * (1.0f - g * g));
          put(3, d_row * squashed * o * (1.0f - o));
          store<Isa>(d_cell + place, d_c * f);
        }
    };
    if (projection_panels) {
      const float bound = pass.projection_clip;
      const int64_t n_vectors = n * P / W;
      const int64_t from = team.rank * n_vectors / team.size * W;
      const int64_t to = (team.rank + 1) * n_vectors / team.size * W;
      for (int64_t k = from; k < to; k += W) {
        const Float sum = load<Isa>(d_hidden + k) + load<Isa>(d_outputs + k);
        const Float output = load<Isa>(pass.outputs + row * P + k);
        store_operands<Isa>(d_projected + k, if_within<Isa>(output, bound, sum),
                            pass.rounds);
      }
      team.wait();
      in_row_blocks(of_cells, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
        multiply<Isa>(n_own, of_cells.first_column, of_cells.last_column,
                      {{d_projected + b * P, P, pass.depth, projection_panels}},
                      FromZero<Isa>(),
                      [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
                        deactivate(b, n_own, column, results);
                      });
      });
    } else {
      in_row_blocks(of_cells, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
        alignas(64) float d_rows[kRowBlock * columns];
        for (int64_t c = of_cells.first_column; c < of_cells.last_column; c += columns) {
          for (int64_t r = 0; r < n_own; ++r)
            for (int64_t v = 0; v < columns; v += W) {
              const int64_t place = (b + r) * P + c + v;
              store<Isa>(d_rows + r * columns + v,
                         load<Isa>(d_hidden + place) + load<Isa>(d_outputs + place));
            }
          deactivate(b, n_own, c, d_rows);
        }
      });
    }
    team.wait();

    const auto multiply_gates = [&](const Operand* panels, float* to,
                                    int64_t n_rows) ELMO_INLINE_LAMBDA {
      const Share share = share_of(team, n_rows, P / columns, columns);
      in_row_blocks(share, [&](int64_t b, int64_t n_own) ELMO_INLINE_LAMBDA {
        multiply<Isa>(n_own, share.first_column, share.last_column,
                      {{d_gates + b * 4 * D, 4 * D, 4 * D, panels}}, FromZero<Isa>(),
                      [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
                        copy_panel<Isa>(results, n_own, to + b * P + column, P, columns);
                      });
      });
    };
    multiply_gates(hidden_panels, d_hidden, n);
    // No step waits for the inputs' gradients: those of several are computed at a time.
    n_waiting += n;
    if (step == 0 || !pass.are_all(step - 1, first, last) ||
        n_waiting + pass.batch_sizes[step - 1] > kRowBlock) {
      multiply_gates(input_panels, pass.d_inputs + row * P, n_waiting);
      n_waiting = 0;
    }
    team.wait();
  }
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
        const int64_t rank = omp_get_thread_num(), size = omp_get_num_threads();
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
                                   scratch.get() + omp_get_thread_num() * scratch_size};
    if (first < last) run_part(kernel, first, last, isa);
  }
}

}  // namespace spacy_elmo
