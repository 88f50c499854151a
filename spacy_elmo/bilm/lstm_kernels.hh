// The steps of projected, clipped LSTMs over packed rows, forwards and backwards.
//
// Between the matrix products of a step lie a dozen small operations, and the products
// themselves have few rows: called one by one they leave a processor at half of its
// speed. Here a thread takes some of an LSTM's sequences through the whole of time, so
// that threads never wait for one another; weights lie as their products read them; and
// the gates are activated while they are in the first cache.
//
// Shapes: T steps, R packed rows, N sequences, D = dim, P = projection_dim. Gates lie in
// the order i, f, g, o. "Panel": the columns of a product that one tile computes.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#if !defined(__GNUC__) || !defined(__x86_64__)
#error "Vector extensions of GCC or Clang, and an x86-64 processor, are needed."
#endif

#define ELMO_INLINE inline __attribute__((always_inline))
#define ELMO_INLINE_LAMBDA __attribute__((always_inline))

namespace spacy_elmo {

// Four vectors side by side, of one gate each or of neighbouring columns.
constexpr int kVectors = 4;

// Sequences that a thread takes through time at once: few enough for the first cache to
// hold a panel's results, enough to read each weight seldom.
constexpr int64_t kMostSequences = 48;

template <int W> struct Lanes {
  typedef float Float __attribute__((vector_size(4 * W)));
  typedef int32_t Int __attribute__((vector_size(4 * W)));
};

// What a processor has: floats of a vector, and rows of a tile whose sums its registers
// hold.
struct Avx512 {
  static constexpr int width = 16, rows = 6;
  typedef Lanes<16>::Float Float;
  typedef Lanes<16>::Int Int;
};
struct Avx2 {
  static constexpr int width = 8, rows = 3;
  typedef Lanes<8>::Float Float;
  typedef Lanes<8>::Int Int;
};

template <class Isa> ELMO_INLINE typename Isa::Float load(const float* from) {
  typename Isa::Float vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

template <class Isa> ELMO_INLINE void store(float* to, typename Isa::Float vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

template <class Isa> ELMO_INLINE typename Isa::Float splat(float number) {
  return typename Isa::Float{} + number;
}

// Not a number stays that: the pretraining loop looks for it.
template <class Isa>
ELMO_INLINE typename Isa::Float clamp(typename Isa::Float x, float low, float high) {
  const typename Isa::Float least = splat<Isa>(low), most = splat<Isa>(high);
  x = least > x ? least : x;
  return most < x ? most : x;
}

// exp(x) as 2^n · exp(r), |r| <= log(2) / 2, with a polynomial of Cephes (S. Moshier) for
// exp(r): off by 2 units in the last place.
template <class Isa> ELMO_INLINE typename Isa::Float exp(typename Isa::Float x) {
  typedef typename Isa::Float Float;
  typedef typename Isa::Int Int;
  x = clamp<Isa>(x, -87.0f, 88.0f);
  // Adding it rounds to a whole number, which then stands in the lowest bits.
  const float rounding = 12582912.0f;
  const Float shifted = x * 1.44269504088896341f + rounding;
  const Float n = shifted - rounding;
  const Float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Float sum = splat<Isa>(1.9875691500e-4f);
  sum = sum * r + 1.3981999507e-3f;
  sum = sum * r + 8.3334519073e-3f;
  sum = sum * r + 4.1665795894e-2f;
  sum = sum * r + 1.6666665459e-1f;
  sum = sum * r + 5.0000001201e-1f;
  sum = sum * (r * r) + r + 1.0f;
  Int exponent;
  __builtin_memcpy(&exponent, &shifted, sizeof exponent);
  exponent = (exponent + 127) << 23;
  Float power;
  __builtin_memcpy(&power, &exponent, sizeof power);
  return sum * power;
}

template <class Isa> ELMO_INLINE typename Isa::Float sigmoid(typename Isa::Float x) {
  return 1.0f / (1.0f + exp<Isa>(-x));
}

template <class Isa> ELMO_INLINE typename Isa::Float tanh(typename Isa::Float x) {
  return 2.0f * sigmoid<Isa>(2.0f * x) - 1.0f;
}

// A tile's sums += rows (R, n_in; `stride` floats apart) · panel (n_in, 4 vectors).
template <class Isa, int R>
ELMO_INLINE void add_product(typename Isa::Float (&sums)[R][kVectors], const float* rows,
                             int64_t stride, const float* panel, int64_t n_in) {
  constexpr int W = Isa::width;
  for (int64_t k = 0; k < n_in; ++k, panel += kVectors * W) {
    typename Isa::Float columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = load<Isa>(panel + v * W);
    for (int r = 0; r < R; ++r) {
      const float number = rows[r * stride + k];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += number * columns[v];
    }
  }
}

// Calls tile(number of rows, first row) for all rows, with a number that is known when
// this is compiled. No tile is much smaller than the others.
template <int Most, class Tile>
ELMO_INLINE void in_tiles(int64_t n_rows, const Tile& tile) {
  for (int64_t row = 0; row < n_rows;) {
    const int64_t left = n_rows - row;
    const int64_t size = left <= Most ? left : left >= 2 * Most ? Most : (left + 1) / 2;
    switch (size) {
      case 1: tile(std::integral_constant<int, 1>{}, row); break;
      case 2: tile(std::integral_constant<int, 2>{}, row); break;
      case 3: tile(std::integral_constant<int, 3>{}, row); break;
      case 4: tile(std::integral_constant<int, Most < 4 ? 1 : 4>{}, row); break;
      case 5: tile(std::integral_constant<int, Most < 5 ? 1 : 5>{}, row); break;
      default: tile(std::integral_constant<int, Most < 6 ? 1 : 6>{}, row);
    }
    row += size;
  }
}

// rows (n, n_in) · weights in panels (n_out / columns, n_in, columns), a panel at a time:
// it begins with start(number of rows, first row, first column, sums) and ends with
// done(first column, results (n, columns)), which may change them.
template <class Isa, class Start, class Done>
ELMO_INLINE void multiply(const float* rows, int64_t n_rows, int64_t n_in,
                          const float* panels, int64_t n_out, const Start& start,
                          const Done& done) {
  constexpr int columns = kVectors * Isa::width;
  alignas(64) float results[kMostSequences * columns];
  for (int64_t column = 0; column < n_out; column += columns) {
    in_tiles<Isa::rows>(n_rows, [&](auto n, int64_t row) ELMO_INLINE_LAMBDA {
      constexpr int R = decltype(n)::value;
      typename Isa::Float sums[R][kVectors];
      start(n, row, column, sums);
      add_product<Isa, R>(sums, rows + row * n_in, n_in, panels, n_in);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          store<Isa>(results + (row + r) * columns + v * Isa::width, sums[r][v]);
    });
    done(column, results);
    panels += n_in * columns;
  }
}

template <class Isa> struct FromZero {
  template <class N, class Sums>
  ELMO_INLINE void operator()(N, int64_t, int64_t, Sums& sums) const {
    for (auto& row : sums)
      for (auto& vector : row) vector = splat<Isa>(0.0f);
  }
};

// One LSTM's pass over time.
struct Pass {
  int64_t n_steps, dim, width;
  const int64_t* batch_sizes;  // (T), never rising
  float cell_clip, projection_clip;
};

struct Forward : Pass {
  const float* hidden_panels;      // (D / W, P, 4 gates, W)
  const float* projection_panels;  // (P / 4 W, D, 4 W)
  const float* bias;               // (4 D)
  float* gates;    // (R, 4 D): products of the inputs; if kept, then the activated gates
  float* cells;    // (R, D) if kept, or null
  float* rows;     // what is projected: (R, D) if kept, else room for (N, D)
  float* outputs;  // (R, P)
  float* hidden;   // (N, P), the state before, then that after each sequence's last step
  float* cell;     // (N, D)
};

struct Backward : Pass {
  const float* hidden_panels;      // (P / 4 W, 4 D, 4 W)
  const float* projection_panels;  // (D / 4 W, P, 4 W)
  const float *gates, *cells, *outputs;  // what the way forward has kept
  const float* first_cell;               // (N, D)
  const float* d_outputs;                // (R, P)
  float* d_gates;                        // (R, 4 D)
  float* d_projected;                    // (R, P), within the clip
  float *d_hidden, *d_cell;  // of the state after, (N, P), (N, D), then of that before
};

// So many of the sequences [first, last) run at a step.
inline int64_t running(const Pass& pass, int64_t step, int64_t first, int64_t last) {
  const int64_t end = pass.batch_sizes[step] < last ? pass.batch_sizes[step] : last;
  return end > first ? end - first : 0;
}

template <class Isa>
ELMO_INLINE void run(const Forward& pass, int64_t first, int64_t last) {
  typedef typename Isa::Float Float;
  constexpr int W = Isa::width;
  const int64_t D = pass.dim, P = pass.width;
  float* const hidden = pass.hidden + first * P;
  float* const cell = pass.cell + first * D;
  int64_t row = first;
  for (int64_t step = 0; step < pass.n_steps; row += pass.batch_sizes[step++]) {
    const int64_t n = running(pass, step, first, last);
    if (n == 0) break;
    float* const gates = pass.gates + row * 4 * D;
    float* const cells = pass.cells ? pass.cells + row * D : nullptr;
    float* const rows = pass.rows + (pass.cells ? row : first) * D;
    float* const outputs = pass.outputs + row * P;

    const auto with_inputs = [&](auto number, int64_t r0, int64_t column,
                                 auto& sums) ELMO_INLINE_LAMBDA {
      const int64_t unit = column / kVectors;
      for (int r = 0; r < decltype(number)::value; ++r)
        for (int gate = 0; gate < 4; ++gate) {
          const float* const from = gates + (r0 + r) * 4 * D + gate * D + unit;
          sums[r][gate] = load<Isa>(from) + load<Isa>(pass.bias + gate * D + unit);
          // The next panel's lie in other lines, in an order no processor foresees.
          __builtin_prefetch(from + W);
        }
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
        }
    };
    multiply<Isa>(hidden, n, P, pass.hidden_panels, 4 * D, with_inputs, activate);
    multiply<Isa>(rows, n, D, pass.projection_panels, P, FromZero<Isa>(), put);
  }
}

template <class Isa>
ELMO_INLINE void run(const Backward& pass, int64_t first, int64_t last) {
  typedef typename Isa::Float Float;
  constexpr int W = Isa::width;
  const int64_t D = pass.dim, P = pass.width;
  float* const d_hidden = pass.d_hidden + first * P;
  float* const d_cell = pass.d_cell + first * D;
  int64_t row = first;
  for (int64_t step = 0; step < pass.n_steps; ++step) row += pass.batch_sizes[step];
  for (int64_t step = pass.n_steps - 1; step >= 0; --step) {
    row -= pass.batch_sizes[step];
    const int64_t n = running(pass, step, first, last);
    const float* const gates = pass.gates + row * 4 * D;
    const float* const cells = pass.cells + row * D;
    const float* const before = step == 0
                                    ? pass.first_cell + first * D
                                    : pass.cells + (row - pass.batch_sizes[step - 1]) * D;
    float* const d_gates = pass.d_gates + row * 4 * D;
    float* const d_projected = pass.d_projected + row * P;

    const float bound = pass.projection_clip;
    for (int64_t k = 0; k < n * P; k += W) {
      const Float output = load<Isa>(pass.outputs + row * P + k);
      const Float sum = load<Isa>(d_hidden + k) + load<Isa>(pass.d_outputs + row * P + k);
      const auto is_clipped = (output >= bound) | (output <= -bound);
      store<Isa>(d_projected + k, is_clipped ? splat<Isa>(0.0f) : sum);
    }
    const auto deactivate = [&](int64_t column, float* d_rows) ELMO_INLINE_LAMBDA {
      for (int64_t r = 0; r < n; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const int64_t place = r * D + column + v * W;
          const float* const gate = gates + r * 4 * D + column + v * W;
          float* const d_gate = d_gates + r * 4 * D + column + v * W;
          const Float i = load<Isa>(gate), f = load<Isa>(gate + D);
          const Float g = load<Isa>(gate + 2 * D), o = load<Isa>(gate + 3 * D);
          const Float c = load<Isa>(cells + place);
          const Float squashed = tanh<Isa>(c);
          const Float d_row = load<Isa>(d_rows + (r * kVectors + v) * W);
          Float d_c = load<Isa>(d_cell + place) + d_row * o * (1.0f - squashed * squashed);
          const auto is_clipped = (c >= pass.cell_clip) | (c <= -pass.cell_clip);
          d_c = is_clipped ? splat<Isa>(0.0f) : d_c;
          store<Isa>(d_gate, d_c * g * i * (1.0f - i));
          store<Isa>(d_gate + D, d_c * load<Isa>(before + place) * f * (1.0f - f));
          store<Isa>(d_gate + 2 * D, d_c * i * (1.0f - g * g));
          store<Isa>(d_gate + 3 * D, d_row * squashed * o * (1.0f - o));
          store<Isa>(d_cell + place, d_c * f);
        }
    };
    const auto put = [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
      for (int64_t r = 0; r < n; ++r)
        for (int v = 0; v < kVectors; ++v)
          store<Isa>(d_hidden + r * P + column + v * W,
                     load<Isa>(results + (r * kVectors + v) * W));
    };
    multiply<Isa>(d_projected, n, P, pass.projection_panels, D, FromZero<Isa>(),
                  deactivate);
    multiply<Isa>(d_gates, n, 4 * D, pass.hidden_panels, P, FromZero<Isa>(), put);
  }
}

template <class AnyPass>
__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))) void run_avx512(
    const AnyPass& pass, int64_t first, int64_t last) {
  run<Avx512>(pass, first, last);
}

template <class AnyPass>
__attribute__((target("avx2,fma"))) void run_avx2(const AnyPass& pass, int64_t first,
                                                  int64_t last) {
  run<Avx2>(pass, first, last);
}

// Floats of a vector on this processor; 0 if it has no set of instructions that is known
// here.
inline int widest() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    return Avx512::width;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2::width;
  return 0;
}

// Several LSTMs of one shape, side by side.
template <class AnyPass>
void run_all(const AnyPass* passes, int64_t n_passes, int64_t n_sequences, int lanes,
             int n_threads) {
  const int64_t shares = (n_threads + n_passes - 1) / n_passes;
  int64_t n_blocks = (n_sequences + kMostSequences - 1) / kMostSequences;
  n_blocks = (n_blocks + shares - 1) / shares * shares;
  const int64_t size = (n_sequences + n_blocks - 1) / n_blocks;
  const auto run_block = lanes == Avx512::width ? run_avx512<AnyPass> : run_avx2<AnyPass>;
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
  for (int64_t task = 0; task < n_passes * n_blocks; ++task) {
    const int64_t first = task / n_passes * size;
    const int64_t last = first + size < n_sequences ? first + size : n_sequences;
    if (first < last) run_block(passes[task % n_passes], first, last);
  }
}

}  // namespace spacy_elmo
