// The steps of projected, clipped LSTMs over packed rows, forwards and backwards.
//
// Between the matrix products of a step lie a dozen small operations, and the products
// themselves have few rows: called one by one they leave a processor at half of its
// speed. Here a thread takes some of an LSTM's sequences through the whole of time, so
// that threads never wait for one another; weights lie as their products read them; and
// the gates are activated while they are in the first cache.
//
// Shapes: T steps, R packed rows, N sequences, D = dim, P = projection_dim. Gates lie in
// the order i, f, g, o.

#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "gemm.hh"

namespace spacy_elmo {

// Rows of floats as products read them: where they lie, or rounded.
template <class Isa, class Number = typename Isa::Number> struct LeftRows {
  explicit LeftRows(int64_t) {}
  ELMO_INLINE void put(int64_t, typename Isa::Float) {}
  ELMO_INLINE const float* of(const float* rows) const { return rows; }
};

template <class Isa> struct LeftRows<Isa, Bf16> {
  std::vector<Bf16> room;
  explicit LeftRows(int64_t size) : room(size) {}
  ELMO_INLINE void put(int64_t place, typename Isa::Float numbers) {
    store<Isa>(room.data() + place, numbers);
  }
  ELMO_INLINE const Bf16* of(const float*) const { return room.data(); }
};

// One LSTM's pass over time. What has no type here has the numbers that products are formed
// of, all else is float32.
struct Pass {
  int64_t n_steps, dim, width;
  const int64_t* batch_sizes;  // (T), never rising
  float cell_clip, projection_clip;
};

struct Forward : Pass {
  const void* input_panels;       // (D / W, P, 4 gates, W)
  const void* hidden_panels;      // (D / W, P, 4 gates, W)
  const void* projection_panels;  // (P / 4 W, D, 4 W)
  const float* bias;              // (4 D)
  const void* inputs;             // (R, P)
  float *gates, *cells;           // (R, 4 D), activated, and (R, D) if kept, or null
  void* rows;      // what is projected: (R, D) if those are kept, else room for (N, D)
  float* outputs;  // (R, P)
  float* hidden;  // (N, P), the state before, then that after each sequence's last step
  float* cell;    // (N, D)

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const;
};

struct Backward : Pass {
  const void* input_panels;              // (P / 4 W, 4 D, 4 W)
  const void* hidden_panels;             // (P / 4 W, 4 D, 4 W)
  const void* projection_panels;         // (D / 4 W, P, 4 W)
  const float *gates, *cells, *outputs;  // what the way forward has kept
  const float* first_cell;               // (N, D)
  const float* d_outputs;                // (R, P)
  float* d_inputs;                       // (R, P)
  void* d_gates;                         // (R, 4 D)
  void* d_projected;                     // (R, P), within the clip
  float *d_hidden, *d_cell;  // of the state after, (N, P), (N, D), then of that before

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const;
};

// So many of the sequences [first, last) run at a step.
inline int64_t running(const Pass& pass, int64_t step, int64_t first, int64_t last) {
  const int64_t end = pass.batch_sizes[step] < last ? pass.batch_sizes[step] : last;
  return end > first ? end - first : 0;
}

// Whether these are all that run at a step, so that their rows and those of the next step
// lie one after the other.
inline bool are_all(const Pass& pass, int64_t step, int64_t first, int64_t last) {
  return first == 0 && pass.batch_sizes[step] <= last;
}

// Input weights of more bytes than this are read seldomer than at each step, for several
// steps at once; smaller ones only where a step has too few rows to fill a tile.
constexpr int64_t kManyBytes = 4 << 20;

// The gates' sums before the state's product: the bias and the inputs' product, of
// several steps' rows where it is worth it to have them in memory meanwhile.
template <class Isa> class InputSums {
 public:
  typedef typename Isa::Number Number;

  InputSums(const Forward& pass, int64_t first, int64_t last)
      : pass(pass), first(first), last(last) {}

  // Before a step, of n rows from `row` on. RETURNS: its sums (n, 4 D), or null: none.
  ELMO_INLINE const float* of(int64_t step, int64_t row, int64_t n) {
    if (step == n_steps) prepare(row, n);
    const float* const own = next;
    if (own) next += n * 4 * pass.dim;
    return own;
  }

  // What a panel's sums begin with.
  template <class Sums>
  ELMO_INLINE void begin(const float* own, int64_t row, int64_t column, int n,
                         Sums& sums) const {
    const int64_t D = pass.dim;
    if (own) {
      for (int r = 0; r < n; ++r)
        for (int v = 0; v < kVectors; ++v)
          sums[r][v] = load<Isa>(own + (row + r) * 4 * D + column + v * Isa::width);
    } else {
      for (int gate = 0; gate < 4; ++gate) {
        const auto bias = load<Isa>(pass.bias + gate * D + column / kVectors);
        for (int r = 0; r < n; ++r) sums[r][gate] = bias;
      }
    }
  }

 private:
  const Forward& pass;
  const int64_t first, last;
  int64_t n_steps = 0;  // done, or of which there are sums
  const float* next = nullptr;
  std::vector<float> room;

  ELMO_INLINE void prepare(int64_t row, int64_t n) {
    const int64_t D = pass.dim, P = pass.width, n_bytes = 4 * D * P * sizeof(Number);
    int64_t n_rows = n;
    ++n_steps;
    if (n < Isa::rows || n_bytes > kManyBytes)
      while (n_steps < pass.n_steps && are_all(pass, n_steps - 1, first, last) &&
             n_rows + pass.batch_sizes[n_steps] <= kMostRows)
        n_rows += pass.batch_sizes[n_steps++];
    next = nullptr;
    if (n_rows == n) return;
    room.resize(kMostRows * 4 * D);
    float* const sums = room.data();
    const auto* const inputs = static_cast<const Number*>(pass.inputs);
    multiply<Isa>(
        n_rows, 4 * D,
        {{inputs + row * P, P, static_cast<const Number*>(pass.input_panels)}},
        [&](auto number, int64_t r, int64_t column, auto& own) ELMO_INLINE_LAMBDA {
          begin(nullptr, r, column, decltype(number)::value, own);
        },
        [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
          copy_panel<Isa>(results, n_rows, sums + column, 4 * D);
        });
    next = sums;
  }
};

template <class Isa>
ELMO_INLINE void Forward::run(int64_t first, int64_t last) const {
  const Forward& pass = *this;
  typedef typename Isa::Float Float;
  constexpr int W = Isa::width;
  const int64_t D = pass.dim, P = pass.width;
  float* const hidden = pass.hidden + first * P;
  float* const cell = pass.cell + first * D;
  typedef typename Isa::Number Number;
  const auto* const input_panels = static_cast<const Number*>(pass.input_panels);
  const auto* const hidden_panels = static_cast<const Number*>(pass.hidden_panels);
  const auto* const projection_panels = static_cast<const Number*>(pass.projection_panels);
  const auto* const all_inputs = static_cast<const Number*>(pass.inputs);
  auto* const all_rows = static_cast<Number*>(pass.rows);
  LeftRows<Isa> left_hidden(kMostRows * P);
  for (int64_t k = 0; k < running(pass, 0, first, last) * P; k += W)
    left_hidden.put(k, load<Isa>(hidden + k));
  InputSums<Isa> input_sums(pass, first, last);
  int64_t row = first;
  for (int64_t step = 0; step < pass.n_steps; row += pass.batch_sizes[step++]) {
    const int64_t n = running(pass, step, first, last);
    if (n == 0) break;
    float* const gates = pass.gates ? pass.gates + row * 4 * D : nullptr;
    float* const cells = pass.cells ? pass.cells + row * D : nullptr;
    Number* const rows = all_rows + (pass.cells ? row : first) * D;
    float* const outputs = pass.outputs + row * P;

    const float* const own = input_sums.of(step, row, n);
    const auto begin = [&](auto number, int64_t r, int64_t column,
                           auto& sums) ELMO_INLINE_LAMBDA {
      input_sums.begin(own, r, column, decltype(number)::value, sums);
    };
    const auto activate = [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
      const int64_t unit = column / kVectors;
      // Apart from what follows: vectors that don't wait for one another.
      for (int64_t v = 0; v < n * kVectors; ++v) {
        // tanh(x) = 2 sigmoid(2 x) - 1
        const float scale = v % kVectors == 2 ? 2.0f : 1.0f;
        const Float squashed = sigmoid<Isa>(scale * load<Isa>(results + v * W));
        store<Isa>(results + v * W, scale * squashed + (1.0f - scale));
      }
      for (int64_t r = 0; r < n; ++r) {
        const float* const gate = results + r * kVectors * W;
        const Float i = load<Isa>(gate), f = load<Isa>(gate + W);
        const Float g = load<Isa>(gate + 2 * W), o = load<Isa>(gate + 3 * W);
        const int64_t place = r * D + unit;
        const Float c = clamp<Isa>(f * load<Isa>(cell + place) + i * g, -pass.cell_clip,
                                   pass.cell_clip);
        store<Isa>(cell + place, c);
        store<Isa>(rows + place, o * tanh<Isa>(c));
        if (cells) {
          store<Isa>(cells + place, c);
          for (int v = 0; v < 4; ++v)
            store<Isa>(gates + r * 4 * D + v * D + unit, load<Isa>(gate + v * W));
        }
      }
    };
    const auto put = [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
      for (int64_t r = 0; r < n; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const Float output = clamp<Isa>(load<Isa>(results + (r * kVectors + v) * W),
                                          -pass.projection_clip, pass.projection_clip);
          store<Isa>(outputs + r * P + column + v * W, output);
          store<Isa>(hidden + r * P + column + v * W, output);
          left_hidden.put(r * P + column + v * W, output);
        }
    };
    const Factors<Number> of_hidden = {left_hidden.of(hidden), P, hidden_panels};
    if (own)
      multiply<Isa>(n, 4 * D, {of_hidden}, begin, activate);
    else
      multiply<Isa>(n, 4 * D, {{all_inputs + row * P, P, input_panels}, of_hidden}, begin,
                    activate);
    multiply<Isa>(n, P, {{rows, D, projection_panels}}, FromZero<Isa>(), put);
  }
}

template <class Isa>
ELMO_INLINE void Backward::run(int64_t first, int64_t last) const {
  const Backward& pass = *this;
  typedef typename Isa::Float Float;
  constexpr int W = Isa::width;
  const int64_t D = pass.dim, P = pass.width;
  float* const d_hidden = pass.d_hidden + first * P;
  float* const d_cell = pass.d_cell + first * D;
  typedef typename Isa::Number Number;
  const auto* const input_panels = static_cast<const Number*>(pass.input_panels);
  const auto* const hidden_panels = static_cast<const Number*>(pass.hidden_panels);
  const auto* const projection_panels = static_cast<const Number*>(pass.projection_panels);
  auto* const all_d_gates = static_cast<Number*>(pass.d_gates);
  auto* const all_d_projected = static_cast<Number*>(pass.d_projected);
  int64_t row = first;
  for (int64_t step = 0; step < pass.n_steps; ++step) row += pass.batch_sizes[step];
  int64_t n_waiting = 0;
  for (int64_t step = pass.n_steps - 1; step >= 0; --step) {
    row -= pass.batch_sizes[step];
    const int64_t n = running(pass, step, first, last);
    const float* const gates = pass.gates + row * 4 * D;
    const float* const cells = pass.cells + row * D;
    const float* const before = step == 0
                                    ? pass.first_cell + first * D
                                    : pass.cells + (row - pass.batch_sizes[step - 1]) * D;
    Number* const d_gates = all_d_gates + row * 4 * D;
    Number* const d_projected = all_d_projected + row * P;

    const float bound = pass.projection_clip;
    for (int64_t k = 0; k < n * P; k += W) {
      const Float output = load<Isa>(pass.outputs + row * P + k);
      const Float sum = load<Isa>(d_hidden + k) + load<Isa>(pass.d_outputs + row * P + k);
      store<Isa>(d_projected + k, if_within<Isa>(output, bound, sum));
    }
    const auto deactivate = [&](int64_t column, float* d_rows) ELMO_INLINE_LAMBDA {
      for (int64_t r = 0; r < n; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const int64_t place = r * D + column + v * W;
          const float* const gate = gates + r * 4 * D + column + v * W;
          Number* const d_gate = d_gates + r * 4 * D + column + v * W;
          const Float i = load<Isa>(gate), f = load<Isa>(gate + D);
          const Float g = load<Isa>(gate + 2 * D), o = load<Isa>(gate + 3 * D);
          const Float c = load<Isa>(cells + place);
          const Float squashed = tanh<Isa>(c);
          const Float d_row = load<Isa>(d_rows + (r * kVectors + v) * W);
          Float d_c = load<Isa>(d_cell + place) + d_row * o * (1.0f - squashed * squashed);
          d_c = if_within<Isa>(c, pass.cell_clip, d_c);
          store<Isa>(d_gate, d_c * g * i * (1.0f - i));
          store<Isa>(d_gate + D, d_c * load<Isa>(before + place) * f * (1.0f - f));
          store<Isa>(d_gate + 2 * D, d_c * i * (1.0f - g * g));
          store<Isa>(d_gate + 3 * D, d_row * squashed * o * (1.0f - o));
          store<Isa>(d_cell + place, d_c * f);
        }
    };
    const auto put_to = [&](float* target, int64_t n) ELMO_INLINE_LAMBDA {
      return [=](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
        copy_panel<Isa>(results, n, target + column, P);
      };
    };
    multiply<Isa>(n, D, {{d_projected, P, projection_panels}}, FromZero<Isa>(),
                  deactivate);
    multiply<Isa>(n, P, {{d_gates, 4 * D, hidden_panels}}, FromZero<Isa>(),
                  put_to(d_hidden, n));
    // No step waits for these: those of several are formed at once.
    n_waiting += n;
    if (step == 0 || !are_all(pass, step - 1, first, last) ||
        n_waiting + pass.batch_sizes[step - 1] > kMostRows) {
      multiply<Isa>(n_waiting, P, {{d_gates, 4 * D, input_panels}}, FromZero<Isa>(),
                    put_to(pass.d_inputs + row * P, n_waiting));
      n_waiting = 0;
    }
  }
}

// Several LSTMs of one shape, side by side.
template <class AnyPass>
void run_all(const AnyPass* passes, int64_t n_passes, int64_t n_sequences, int lanes,
             int n_threads) {
  if (n_threads < 1) n_threads = 1;
  // So many blocks of each that threads have equally many.
  const int64_t shares = n_threads / std::gcd<int64_t>(n_threads, n_passes);
  int64_t n_blocks = (n_sequences + kMostRows - 1) / kMostRows;
  n_blocks = (n_blocks + shares - 1) / shares * shares;
  const int64_t size = (n_sequences + n_blocks - 1) / n_blocks;
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
  for (int64_t task = 0; task < n_passes * n_blocks; ++task) {
    const int64_t first = task / n_passes * size;
    const int64_t last = first + size < n_sequences ? first + size : n_sequences;
    if (first < last) run_part(passes[task % n_passes], first, last, lanes);
  }
}

}  // namespace spacy_elmo
