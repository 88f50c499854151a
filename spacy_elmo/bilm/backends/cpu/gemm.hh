// Matrix products: packed weights, the tiled product that the other kernels are built
// from, a linear layer, and the gradients of weights.
//
// A product is computed in tiles whose sums the registers hold. A weight is packed into
// panels, (n_panels, n_in, columns): the columns of one tile, kVectors vectors wide. The
// last panel is filled up with zeros. bfloat16 panels hold pairs of rows, and an odd last
// row is paired with zeros; int8 panels hold blocks of quads of rows (`int8.hh`).

#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <vector>

#include "int8.hh"
#include "simd.hh"
#include "tuning.hh"

namespace spacy_elmo {

// Columns of a panel.
template <class Isa> constexpr int kColumns = kVectors * Isa::width;

inline int64_t panel_columns(int isa) { return kVectors * vector_width(isa); }

// A tile's sums += left (R, n_in) · panel (n_in, columns). The elements of left are
// `stride` apart from row to row, and `step` from column to column. `ahead` points to what
// is prefetched meanwhile: a quarter of the next panel block.
template <class Isa, int R, class Weight>
ELMO_INLINE void add_product(typename Isa::Float (&sums)[R][kVectors], const float* left,
                             int64_t stride, int64_t step, const Weight* panel,
                             int64_t n_in, const Weight* ahead) {
  constexpr int W = Isa::width;
  for (int64_t k = 0; k < n_in; ++k, panel += kColumns<Isa>) {
    __builtin_prefetch(ahead + k * W, 0, 2);
    typename Isa::Float columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = load_weights<Isa>(panel + v * W);
    for (int r = 0; r < R; ++r) {
      const float number = left[r * stride + k * step];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += number * columns[v];
    }
  }
}

// The same for pairs of bfloat16 numbers.
template <class Isa, int R>
ELMO_INLINE void add_product(typename Isa::Float (&sums)[R][kVectors], const Pair* left,
                             int64_t stride, int64_t step, const Pair* panel,
                             int64_t n_in, const Pair* ahead) {
  constexpr int W = Isa::width;
  for (int64_t k = 0; k < n_in; ++k, panel += kColumns<Isa>) {
    __builtin_prefetch(ahead + k * W, 0, 2);
    typename Isa::Float columns[kVectors];
    for (int v = 0; v < kVectors; ++v)
      __builtin_memcpy(&columns[v], panel + v * W, sizeof columns[v]);
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      __builtin_memcpy(&pair, left + r * stride + k * step, sizeof pair);
      const auto pairs = from_bits<Isa>(typename Isa::Int{} + pair);
      for (int v = 0; v < kVectors; ++v) add_pairs(sums[r][v], pairs, columns[v]);
    }
  }
}

// The same for quads of 8-bit integers, with sums in int32.
template <class Isa, int R>
ELMO_INLINE void add_product(typename Isa::Int (&sums)[R][kVectors], const Quad* left,
                             int64_t stride, const Quad* panel, int64_t n_in,
                             const Quad* ahead) {
  constexpr int W = Isa::width;
  for (int64_t k = 0; k < n_in; ++k, panel += kColumns<Isa>) {
    __builtin_prefetch(ahead + k * W, 0, 2);
    typename Isa::Int columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = load_units<Isa>(panel + v * W);
    for (int r = 0; r < R; ++r) {
      const auto quads = typename Isa::Int{} + left[r * stride + k].bits;
      for (int v = 0; v < kVectors; ++v)
        sums[r][v] = add_quads<Isa>(sums[r][v], quads, columns[v]);
    }
  }
}

// Calls tile(number of rows, first row) for all rows, with the number as a compile-time
// constant. Rows are divided so that no tile is much smaller than the others.
template <int Most, class Tile>
ELMO_INLINE void in_tiles(int64_t n_rows, const Tile& tile) {
  for (int64_t row = 0; row < n_rows;) {
    const int64_t rest = n_rows - row;
    const int64_t size = rest <= Most ? rest : rest >= 2 * Most ? Most : (rest + 1) / 2;
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

// left (n, n_in) · the weight in `panels`. The rows of left are `stride` elements apart;
// stride and n_in are multiples of Isa::per_unit.
template <class Operand> struct Factors {
  const Operand* left;
  int64_t stride, n_in;
  const void* panels;
};

// A panel of the sum of products, in float32.
template <class Isa, class Start>
ELMO_INLINE void multiply_panel(
    int64_t n_rows, int64_t column,
    std::initializer_list<Factors<typename Isa::Operand>> products, bool prefetches,
    const Start& start, float* results) {
  typedef typename Isa::Unit Unit;
  typedef typename Isa::PackedUnit PackedUnit;
  constexpr int W = Isa::width, columns = kColumns<Isa>;
  bool is_first = true;
  for (const auto& factors : products) {
    const int64_t n_in = factors.n_in / Isa::per_unit;
    const int64_t stride = factors.stride / Isa::per_unit;
    const Unit* const left = reinterpret_cast<const Unit*>(factors.left);
    const PackedUnit* panel =
        static_cast<const PackedUnit*>(factors.panels) + column * n_in;
    for (int64_t k = 0; k < n_in; k += kDepthBlock) {
      const int64_t depth = n_in - k < kDepthBlock ? n_in - k : kDepthBlock;
      const PackedUnit* const next = panel + depth * columns;
      const PackedUnit* ahead = prefetches ? next : panel;
      in_tiles<Isa::rows>(n_rows, [&](auto n, int64_t row) ELMO_INLINE_LAMBDA {
        constexpr int R = decltype(n)::value;
        typename Isa::Float sums[R][kVectors];
        float* const own = results + row * columns;
        if (is_first)
          start(n, row, column, sums);
        else
          for (int r = 0; r < R; ++r)
            for (int v = 0; v < kVectors; ++v)
              sums[r][v] = load<Isa>(own + r * columns + v * W);
        add_product<Isa, R>(sums, left + row * stride + k, stride, 1, panel, depth,
                            ahead);
        if (prefetches) ahead += depth * W;
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < kVectors; ++v)
            store<Isa>(own + r * columns + v * W, sums[r][v]);
      });
      panel = next;
      is_first = false;
    }
  }
}

// The same in int8, block by block. A block's sums are exact.
template <class Isa, class Start>
ELMO_INLINE void multiply_int8_panel(
    int64_t n_rows, int64_t column,
    std::initializer_list<Factors<typename Isa::Operand>> products, bool prefetches,
    const Start& start, float* results) {
  constexpr int W = Isa::width, columns = kColumns<Isa>;
  bool is_first = true;
  for (const auto& factors : products) {
    const int64_t n_blocks = ceil_div(factors.n_in, kQuantizedBlock);
    const int8_t* left = factors.left;
    const Quad* header =
        static_cast<const Quad*>(factors.panels) +
        column * (n_blocks * kPanelHeader + factors.n_in / Isa::per_unit);
    for (int64_t k = 0; k < factors.n_in; k += kQuantizedBlock) {
      const int64_t rest = factors.n_in - k;
      const int64_t depth =
          (rest < kQuantizedBlock ? rest : kQuantizedBlock) / Isa::per_unit;
      const Quad* const panel = header + kPanelHeader * columns;
      const Quad* const next = panel + depth * columns;
      const Quad* ahead = prefetches ? next : panel;
      in_tiles<Isa::rows>(n_rows, [&](auto n, int64_t row) ELMO_INLINE_LAMBDA {
        constexpr int R = decltype(n)::value;
        const int8_t* const own_left = left + row * factors.stride;
        typename Isa::Int exact[R][kVectors];
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < kVectors; ++v)
            exact[r][v] = load_units<Isa>(header + columns + v * W);
        add_product<Isa, R>(exact, reinterpret_cast<const Quad*>(own_left + kRowHeader),
                            factors.stride / Isa::per_unit, panel, depth, ahead);
        if (prefetches) ahead += depth * W;
        typename Isa::Float sums[R][kVectors];
        float* const own = results + row * columns;
        if (is_first)
          start(n, row, column, sums);
        else
          for (int r = 0; r < R; ++r)
            for (int v = 0; v < kVectors; ++v)
              sums[r][v] = load<Isa>(own + r * columns + v * W);
        for (int r = 0; r < R; ++r) {
          float scale;
          __builtin_memcpy(&scale, own_left + r * factors.stride, sizeof scale);
          for (int v = 0; v < kVectors; ++v) {
            const auto scales = from_bits<Isa>(load_units<Isa>(header + v * W));
            sums[r][v] += __builtin_convertvector(exact[r][v], typename Isa::Float) *
                          (scale * scales);
            store<Isa>(own + r * columns + v * W, sums[r][v]);
          }
        }
      });
      left += kRowHeader + kQuantizedBlock;
      header = next;
      is_first = false;
    }
  }
}

// The columns [first, last) of the sum of `products`, of at most kRowBlock rows, a panel at
// a time. Each panel's sums begin with start(number of rows, first row, first column,
// sums) and end with done(first column, results (n, columns)), which may change them.
template <class Isa, class Start, class Done>
ELMO_INLINE void multiply(int64_t n_rows, int64_t first, int64_t last,
                          std::initializer_list<Factors<typename Isa::Operand>> products,
                          const Start& start, const Done& done) {
  constexpr int columns = kColumns<Isa>;
  alignas(64) float results[kRowBlock * columns];
  // Few tiles read a panel in the order of its memory, as fast as it arrives.
  const bool prefetches = n_rows > 2 * Isa::rows;
  for (int64_t column = first; column < last; column += columns) {
    if constexpr (Isa::is_int8)
      multiply_int8_panel<Isa>(n_rows, column, products, prefetches, start, results);
    else
      multiply_panel<Isa>(n_rows, column, products, prefetches, start, results);
    done(column, results);
  }
}

template <class Isa> struct FromZero {
  template <class N, class Sums>
  ELMO_INLINE void operator()(N, int64_t, int64_t, Sums& sums) const {
    for (auto& row : sums)
      for (auto& vector : row) vector = splat<Isa>(0.0f);
  }
};

// Every row's sums begin with the bias, (whole panels).
template <class Isa> struct FromBias {
  const float* bias;
  template <class N, class Sums>
  ELMO_INLINE void operator()(N, int64_t, int64_t column, Sums& sums) const {
    for (int v = 0; v < kVectors; ++v) {
      const auto vector = load<Isa>(bias + column + v * Isa::width);
      for (auto& row : sums) row[v] = vector;
    }
  }
};

// Copies the first n_columns of a panel's results (n, columns) to rows that are `stride`
// elements apart. rounds: see `store_operands`.
template <class Isa, class Element>
ELMO_INLINE void copy_panel(const float* results, int64_t n, Element* to, int64_t stride,
                            int64_t n_columns, bool rounds = false) {
  constexpr int W = Isa::width, columns = kColumns<Isa>;
  for (int64_t r = 0; r < n; ++r) {
    Element part[columns];
    Element* const row = n_columns < columns ? part : to + r * stride;
    for (int v = 0; v < kVectors; ++v)
      store_operands<Isa>(row + v * W, load<Isa>(results + r * columns + v * W), rounds);
    if (n_columns < columns)
      __builtin_memcpy(to + r * stride, part, n_columns * sizeof(Element));
  }
}

// Packs rows (n, n_columns) of float32 operands into units, (n, width), with zeros beyond
// n_columns. width: whole vectors. If there are `sums`, (width), the rows are added to
// them.
template <class Isa>
ELMO_INLINE void pack_rows(const float* rows, int64_t n, int64_t stride, int64_t n_columns,
                           int64_t width, float* units, float* sums) {
  for (int64_t r = 0; r < n; ++r)
    for (int64_t c = 0; c < width; c += Isa::width) {
      const auto numbers = load_first<Isa>(rows + r * stride + c, n_columns - c);
      store<Isa>(units + r * width + c, numbers);
      if (sums) store<Isa>(sums + c, load<Isa>(sums + c) + numbers);
    }
}

// The same for bfloat16: units are pairs of rows, (ceil(n / 2), width).
template <class Isa>
ELMO_INLINE void pack_rows(const Bf16* rows, int64_t n, int64_t stride, int64_t n_columns,
                           int64_t width, Pair* units, float* sums) {
  for (int64_t r = 0; r < n; r += 2)
    for (int64_t c = 0; c < width; c += Isa::width) {
      const Bf16* const from = rows + r * stride + c;
      typename Isa::Int low = load_bits<Isa>(from, n_columns - c), high{};
      if (r + 1 < n) high = load_bits<Isa>(from + stride, n_columns - c) << 16;
      const typename Isa::Int pairs = low | high;
      __builtin_memcpy(units + r / 2 * width + c, &pairs, sizeof pairs);
      if (sums)
        store<Isa>(sums + c, load<Isa>(sums + c) + from_bits<Isa>(low << 16) +
                                 from_bits<Isa>(high));
    }
}

// Packs a weight to multiply with from the right: rows (n, n_in) · panels -> (n, n_out).
struct Packing {
  int64_t n_in, n_out, block;  // block: of numbers that share a scale in int8
  const float* weight;  // (n_out, n_in), or if transposed (n_in, n_out)
  bool transposed;  // neither int8 nor float16
  // A panel holds the four gates of as many units as a vector has floats. The weight's
  // rows are grouped by gate. Not if transposed.
  bool gates;
  bool rounds;   // see `store_operands`
  // (ceil(n_out / columns), ceil(n_in / per_unit), columns) units, with int8 and headers.
  void* panels;

  // Packs the panels [first, last).
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    constexpr int columns = kColumns<Isa>;
    for (int64_t panel = first; panel < last; ++panel) {
      int64_t n_units = ceil_div(n_in, Isa::per_unit);
      if (Isa::is_int8) n_units += ceil_div(n_in, block) * kPanelHeader;
      auto* const units =
          static_cast<typename Isa::PackedUnit*>(panels) + panel * columns * n_units;
      if constexpr (Isa::is_int8) {
        pack_quantized<Isa>(panel, units);
      } else if constexpr (Isa::is_half) {
        pack_transposed<Isa>(panel, units);
      } else {
        if (transposed)
          pack_columns<Isa>(panel * columns, units);
        else
          pack_transposed<Isa>(panel, units);
      }
    }
  }

 private:
  // The row of the weight that is a column of a panel. It may be beyond the last one.
  template <class Isa> ELMO_INLINE int64_t row_of(int64_t panel, int column) const {
    constexpr int W = Isa::width;
    return gates ? column / W * (n_out / kVectors) + panel * W + column % W
                 : panel * kColumns<Isa> + column;
  }

  // Not if transposed.
  template <class Isa>
  ELMO_INLINE void pack_quantized(int64_t panel, typename Isa::Unit* units) const {
    constexpr int columns = kColumns<Isa>, per_unit = Isa::per_unit;
    for (int64_t k = 0; k < n_in; k += block) {
      const int64_t depth = n_in - k < block ? n_in - k : block;
      for (int column = 0; column < columns; ++column) {
        const int64_t row = row_of<Isa>(panel, column);
        pack_block<Isa>(weight + row * n_in + k, row < n_out ? depth : 0, depth,
                        units + column);
      }
      units += (kPanelHeader + ceil_div(depth, per_unit)) * columns;
    }
  }

  // Packs n numbers of one output, or zeros, to a column of a block.
  template <class Isa>
  ELMO_INLINE static void pack_block(const float* numbers, int64_t n, int64_t depth,
                                     typename Isa::Unit* to) {
    constexpr int W = Isa::width, columns = kColumns<Isa>, per_unit = Isa::per_unit;
    const Scale scale(max_magnitude<Isa>(numbers, n));
    typename Isa::Int sums{};
    for (int64_t k = 0; k < depth; k += W) {
      const auto integers =
          quantize<Isa>(load_first<Isa>(numbers + k, n - k), scale.inverse);
      sums += integers;
      int8_t bytes[W];
      store_bytes<Isa>(bytes, integers);
      for (int i = 0; i < W && k + i < depth; i += per_unit)
        __builtin_memcpy(to + (kPanelHeader + (k + i) / per_unit) * columns, bytes + i,
                         sizeof *to);
    }
    int32_t sum = 0;
    for (int lane = 0; lane < W; ++lane) sum += sums[lane];
    const int32_t offset = -Isa::zero * sum;
    __builtin_memcpy(to, &scale.scale, sizeof *to);
    __builtin_memcpy(to + columns, &offset, sizeof *to);
  }

  template <class Isa>
  ELMO_INLINE void pack_transposed(int64_t panel, typename Isa::PackedUnit* units) const {
    constexpr int W = Isa::width, columns = kColumns<Isa>, per_unit = Isa::per_unit;
    for (int64_t k = 0; k < n_in; k += W) {
      const int64_t n = n_in - k < W ? n_in - k : W;
      for (int c = 0; c < columns; ++c) {
        const int64_t row = row_of<Isa>(panel, c);
        typename Isa::Float numbers = splat<Isa>(0.0f);
        if (row < n_out) {
          // The rows are too far apart for the processor to prefetch them itself.
          __builtin_prefetch(weight + row * n_in + k + 2 * W, 0, 2);
          numbers = load_first<Isa>(weight + row * n_in + k, n);
        }
        typename Isa::PackedOperand operands[W];
        store_operands<Isa>(operands, numbers, rounds);
        for (int64_t i = 0; i < ceil_div(n, per_unit); ++i)
          __builtin_memcpy(units + (k / per_unit + i) * columns + c,
                           operands + i * per_unit, sizeof *units);
      }
    }
  }

  template <class Isa>
  ELMO_INLINE void pack_columns(int64_t column, typename Isa::Unit* units) const {
    constexpr int W = Isa::width, columns = kColumns<Isa>, per_unit = Isa::per_unit;
    for (int64_t k = 0; k < n_in; k += per_unit) {
      typename Isa::Operand rows[per_unit * columns];
      const int64_t n = n_in - k < per_unit ? n_in - k : per_unit;
      for (int64_t r = 0; r < n; ++r)
        for (int c = 0; c < columns; c += W)
          store_operands<Isa>(
              rows + r * columns + c,
              load_first<Isa>(weight + (k + r) * n_out + column + c, n_out - column - c),
              rounds);
      pack_rows<Isa>(rows, n, columns, columns, columns, units + k / per_unit * columns,
                     nullptr);
    }
  }
};

template <> constexpr bool kTakesInt8<Packing> = true;
template <> constexpr bool kTakesHalf<Packing> = true;

inline void pack(const Packing& packing, int isa, int n_threads) {
  const int64_t n_panels = ceil_div(packing.n_out, panel_columns(isa));
  if (n_threads < 1 || packing.n_in * packing.n_out < kSmallWeight) n_threads = 1;
  run_parts(packing, n_panels, ceil_div(n_panels, n_threads), isa, n_threads);
}

// outputs = inputs · weightᵀ + bias.
struct Linear {
  int64_t n_rows, n_in, n_out;  // n_in: a multiple of Isa::per_unit
  const void* inputs;           // (n_rows, stride) operands
  const void* panels;
  const float* bias;  // (whole panels), or null
  float* outputs;     // (n_rows, n_out)

  // Parts are blocks of rows times ranges of panels, so that few rows or few columns
  // occupy all threads.
  int64_t n_ranges;

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    for (int64_t part = first; part < last; ++part) run_block<Isa>(part);
  }

 private:
  template <class Isa> ELMO_INLINE void run_block(int64_t part) const {
    typedef typename Isa::Operand Operand;
    constexpr int columns = kColumns<Isa>;
    const int64_t block = part / n_ranges, range = part % n_ranges;
    const int64_t row = block * kRowBlock;
    const int64_t n = n_rows - row < kRowBlock ? n_rows - row : kRowBlock;
    const int64_t n_panels = ceil_div(n_out, columns);
    const int64_t first = range * n_panels / n_ranges * columns;
    const int64_t last = (range + 1) * n_panels / n_ranges * columns;
    const int64_t stride = operand_stride<Isa>(n_in);
    const Operand* const left = static_cast<const Operand*>(inputs) + row * stride;
    const Factors<Operand> factors{left, stride, n_in, panels};
    const auto done = [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
      copy_panel<Isa>(results, n, outputs + row * n_out + column, n_out, n_out - column);
    };
    if (bias)
      multiply<Isa>(n, first, last, {factors}, FromBias<Isa>{bias}, done);
    else
      multiply<Isa>(n, first, last, {factors}, FromZero<Isa>(), done);
  }
};

template <> constexpr bool kTakesInt8<Linear> = true;

inline void linear(Linear kernel, int isa, int n_threads) {
  if (!kernel.n_rows || !kernel.n_out) return;
  const int64_t n_panels = ceil_div(kernel.n_out, panel_columns(isa));
  const int64_t work = kernel.n_rows * kernel.n_in * kernel.n_out;
  if (n_threads > 1 + work / kWorkPerThread) n_threads = 1 + work / kWorkPerThread;
  const int64_t n_row_blocks = ceil_div(kernel.n_rows, kRowBlock);
  // Several parts a thread: threads that are interrupted take fewer.
  const int64_t n_ranges = n_threads > 1 ? ceil_div(4 * n_threads, n_row_blocks) : 1;
  kernel.n_ranges = n_ranges < n_panels ? n_ranges : n_panels;
  run_parts(kernel, n_row_blocks * kernel.n_ranges, 1, isa, n_threads);
}

// A factor of `OuterProducts`.
struct Left {
  int64_t n;
  const void* rows;  // (n_rows, n) operands
  float* result;     // (n_right, n), or if transposed (n, n_right)
  bool transposed;
  const void* units;  // rows as units, (ceil(n_rows / per_unit), width)
  int64_t width;
};

// Packs bfloat16 rows of `Left` into units.
struct LeftPacking {
  const Left* lefts;
  int64_t n_rows;
  Pair** units;

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    if constexpr (Isa::per_unit == 2) {
      for (int64_t i = first; i < last; ++i)
        pack_rows<Isa>(static_cast<const Bf16*>(lefts[i].rows), n_rows, lefts[i].n,
                       lefts[i].n, lefts[i].width, units[i], nullptr);
    }
  }
};

// The gradients of weights: the sums over rows of right ⊗ left. Threads share the panels
// of right.
struct OuterProducts {
  int64_t n_rows, n_right;
  const void* right;  // (n_rows, n_right) operands
  float* sums;        // the sums of right over its rows, (whole panels), or null
  std::vector<Left> lefts;

  int64_t panels_per_part;
  int64_t n_left;   // of all lefts
  float* scratch;   // (parts, n_left, columns)

  // Computes the panels [first, last).
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    typedef typename Isa::Operand Operand;
    typedef typename Isa::Unit Unit;
    constexpr int columns = kColumns<Isa>, per_unit = Isa::per_unit;
    const int64_t n_units = ceil_div(n_rows, per_unit);
    float* const results = scratch + first / panels_per_part * n_left * columns;
    alignas(64) Unit panel[kOuterBlock * columns];
    for (int64_t column = first * columns; column < last * columns; column += columns) {
      const Operand* const from = static_cast<const Operand*>(right) + column;
      const int64_t n_columns = n_right - column < columns ? n_right - column : columns;
      if (sums) __builtin_memset(sums + column, 0, columns * sizeof(float));
      for (int64_t unit = 0; unit < n_units; unit += kOuterBlock) {
        const int64_t n = n_units - unit < kOuterBlock ? n_units - unit : kOuterBlock;
        const int64_t row = unit * per_unit;
        const int64_t rows = n_rows - row < n * per_unit ? n_rows - row : n * per_unit;
        pack_rows<Isa>(from + row * n_right, rows, n_right, n_columns, columns, panel,
                       sums ? sums + column : nullptr);
        float* own = results;
        for (const Left& left : lefts) {
          add_panel<Isa>(left.n, static_cast<const Unit*>(left.units) + unit * left.width,
                         left.width, n, panel, unit == 0, own);
          own += left.n * columns;
        }
      }
      const float* own = results;
      for (const Left& left : lefts) {
        if (left.transposed)
          copy_panel<Isa>(own, left.n, left.result + column, n_right, n_columns);
        else
          for (int64_t c = 0; c < n_columns; ++c)
            for (int64_t i = 0; i < left.n; ++i)
              left.result[(column + c) * left.n + i] = own[i * columns + c];
        own += left.n * columns;
      }
    }
  }

 private:
  template <class Isa>
  ELMO_INLINE static void add_panel(int64_t n_left, const typename Isa::Unit* left,
                                    int64_t width, int64_t n_units,
                                    const typename Isa::Unit* panel, bool is_first,
                                    float* results) {
    constexpr int W = Isa::width, columns = kColumns<Isa>;
    in_tiles<Isa::rows>(n_left, [&](auto n, int64_t i) ELMO_INLINE_LAMBDA {
      constexpr int R = decltype(n)::value;
      typename Isa::Float sums[R][kVectors];
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          sums[r][v] = is_first ? splat<Isa>(0.0f)
                                : load<Isa>(results + (i + r) * columns + v * W);
      add_product<Isa, R>(sums, left + i, 1, width, panel, n_units, panel);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          store<Isa>(results + (i + r) * columns + v * W, sums[r][v]);
    });
  }
};

// May throw std::bad_alloc, before any thread has started.
inline void outer_products(OuterProducts kernel, int isa, int n_threads) {
  if (n_threads < 1) n_threads = 1;
  const int64_t n_panels = ceil_div(kernel.n_right, panel_columns(isa));
  kernel.panels_per_part = ceil_div(n_panels, n_threads);
  kernel.n_left = 0;
  std::vector<std::unique_ptr<Pair[]>> room;
  std::vector<Pair*> units;
  for (Left& left : kernel.lefts) {
    kernel.n_left += left.n;
    left.units = left.rows;
    left.width = left.n;
    if (multiplies_bfloat16(isa)) {
      left.width = round_up(left.n, vector_width(isa));
      room.emplace_back(new Pair[ceil_div(kernel.n_rows, 2) * left.width]);
      units.push_back(room.back().get());
      left.units = units.back();
    }
  }
  if (multiplies_bfloat16(isa)) {
    const LeftPacking packing{kernel.lefts.data(), kernel.n_rows, units.data()};
    run_parts(packing, kernel.lefts.size(), 1, isa, n_threads);
  }
  const int64_t n_parts = ceil_div(n_panels, kernel.panels_per_part);
  std::unique_ptr<float[]> scratch(
      new float[n_parts * kernel.n_left * panel_columns(isa)]);
  kernel.scratch = scratch.get();
  run_parts(kernel, n_panels, kernel.panels_per_part, isa, n_threads);
}

}  // namespace spacy_elmo
