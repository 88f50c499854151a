// Matrix products in tiles whose sums a processor's registers hold.
//
// "Panel": the columns of a product that one tile computes, as wide as four vectors. The
// factor on the right lies panel by panel, (n_out / columns, n_in, columns).

#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "vectors.hh"

namespace spacy_elmo {

// Four vectors side by side, of one gate each or of neighbouring columns.
constexpr int kVectors = 4;

// Rows of a product that a thread takes at once: few enough for the first cache to hold a
// panel's results, enough to read each weight seldom.
constexpr int64_t kMostRows = 48;

// A tile's sums += left (R, n_in) · panel (n_in, 4 vectors). Numbers of the left factor
// lie `stride` floats apart from row to row, and `step` from column to column.
template <class Isa, int R>
ELMO_INLINE void add_product(typename Isa::Float (&sums)[R][kVectors], const float* left,
                             int64_t stride, int64_t step, const float* panel,
                             int64_t n_in) {
  constexpr int W = Isa::width;
  for (int64_t k = 0; k < n_in; ++k, panel += kVectors * W) {
    typename Isa::Float columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = load<Isa>(panel + v * W);
    for (int r = 0; r < R; ++r) {
      const float number = left[r * stride + k * step];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += number * columns[v];
    }
  }
}

// The same of bfloat16 numbers: n_in is even, and the panel (n_in / 2, 4 vectors, 2).
template <class Isa, int R>
ELMO_INLINE void add_product(typename Isa::Float (&sums)[R][kVectors], const Bf16* left,
                             int64_t stride, int64_t, const Bf16* panel, int64_t n_in) {
  constexpr int W = Isa::width;
  for (int64_t k = 0; k < n_in; k += 2, panel += 2 * kVectors * W) {
    typename Isa::Float columns[kVectors];
    for (int v = 0; v < kVectors; ++v)
      __builtin_memcpy(&columns[v], panel + 2 * v * W, sizeof columns[v]);
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      __builtin_memcpy(&pair, left + r * stride + k, sizeof pair);
      const auto pairs = of_bits<Isa>(typename Isa::Int{} + pair);
      for (int v = 0; v < kVectors; ++v) add_pairs(sums[r][v], pairs, columns[v]);
    }
  }
}

// Rows of floats as products read them: where they lie, or rounded.
template <class Isa, class Number = typename Isa::Number> struct LeftRows {
  explicit LeftRows(int64_t) {}
  ELMO_INLINE void put(int64_t, typename Isa::Float) {}
  ELMO_INLINE void fill(const float*, int64_t) {}
  ELMO_INLINE const float* of(const float* rows) const { return rows; }
};

template <class Isa> struct LeftRows<Isa, Bf16> {
  std::vector<Bf16> room;
  explicit LeftRows(int64_t size) : room(size) {}
  ELMO_INLINE void put(int64_t place, typename Isa::Float numbers) {
    store(room.data() + place, numbers);
  }
  ELMO_INLINE void fill(const float* rows, int64_t size) {
    for (int64_t k = 0; k < size; k += Isa::width) put(k, load<Isa>(rows + k));
  }
  ELMO_INLINE const Bf16* of(const float*) const { return room.data(); }
};

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

// left (n, n_in), in rows one after the other · the right factor in panels.
template <class Number> struct Factors {
  const Number* left;
  int64_t n_in;
  const Number* panels;
};

// The sum of products of n rows, kMostRows or fewer, a panel at a time: it begins with
// start(number of rows, first row, first column, sums) and ends with
// done(first column, results (n, columns)), which may change them.
template <class Isa, class Start, class Done>
ELMO_INLINE void multiply(int64_t n_rows, int64_t n_out,
                          std::initializer_list<Factors<typename Isa::Number>> products,
                          const Start& start, const Done& done) {
  constexpr int columns = kVectors * Isa::width;
  alignas(64) float results[kMostRows * columns];
  for (int64_t column = 0; column < n_out; column += columns) {
    in_tiles<Isa::rows>(n_rows, [&](auto n, int64_t row) ELMO_INLINE_LAMBDA {
      constexpr int R = decltype(n)::value;
      typename Isa::Float sums[R][kVectors];
      start(n, row, column, sums);
      for (const auto& one : products)
        add_product<Isa, R>(sums, one.left + row * one.n_in, one.n_in, 1,
                            one.panels + column * one.n_in, one.n_in);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          store<Isa>(results + (row + r) * columns + v * Isa::width, sums[r][v]);
    });
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

// A panel's results (n, columns) to where rows are `stride` floats apart.
template <class Isa>
ELMO_INLINE void copy_panel(const float* results, int64_t n, float* to, int64_t stride) {
  constexpr int W = Isa::width;
  for (int64_t r = 0; r < n; ++r)
    for (int v = 0; v < kVectors; ++v)
      store<Isa>(to + r * stride + v * W, load<Isa>(results + (r * kVectors + v) * W));
}

// One factor of `OuterProducts`.
struct Left {
  int64_t n;          // columns
  const float* rows;  // (R, n)
  float* result;      // (n_right, n), or turned (n, n_right)
  bool turned;
};

// Weights' gradients: the sums over R rows of right ⊗ left, where what is on the right has
// so many columns that threads share them, a panel each.
struct OuterProducts {
  int64_t n_rows, n_right;
  const float* right;  // (R, n_right)
  std::vector<Left> lefts;

  // first, last: of the panels.
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    constexpr int W = Isa::width, columns = kVectors * W;
    int64_t n_sums = 0;
    for (const Left& left : lefts) n_sums += left.n * columns;
    std::vector<float> room(n_sums);
    alignas(64) float panel[kAtOnce * columns];
    for (int64_t column = first * columns; column < last * columns; column += columns) {
      for (int64_t row = 0; row < n_rows; row += kAtOnce) {
        const int64_t n = n_rows - row < kAtOnce ? n_rows - row : kAtOnce;
        for (int64_t r = 0; r < n; ++r)
          for (int v = 0; v < kVectors; ++v)
            store<Isa>(panel + (r * kVectors + v) * W,
                       load<Isa>(right + (row + r) * n_right + column + v * W));
        float* sums_of_left = room.data();
        for (const Left& left : lefts) {
          add_panel<Isa>(left, row, n, panel, sums_of_left);
          sums_of_left += left.n * columns;
        }
      }
      const float* sums_of_left = room.data();
      for (const Left& left : lefts) {
        if (left.turned)
          copy_panel<Isa>(sums_of_left, left.n, left.result + column, n_right);
        else
          for (int64_t c = 0; c < columns; ++c)
            for (int64_t i = 0; i < left.n; ++i)
              left.result[(column + c) * left.n + i] = sums_of_left[i * columns + c];
        sums_of_left += left.n * columns;
      }
    }
  }

 private:
  // Rows of a panel that the first cache holds.
  static constexpr int64_t kAtOnce = 128;

  template <class Isa>
  ELMO_INLINE static void add_panel(const Left& left, int64_t row, int64_t n_rows,
                                    const float* panel, float* all_sums) {
    constexpr int W = Isa::width, columns = kVectors * W;
    in_tiles<Isa::rows>(left.n, [&](auto number, int64_t i) ELMO_INLINE_LAMBDA {
      constexpr int R = decltype(number)::value;
      typename Isa::Float sums[R][kVectors];
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          sums[r][v] =
              row ? load<Isa>(all_sums + (i + r) * columns + v * W) : splat<Isa>(0.0f);
      add_product<Isa, R>(sums, left.rows + row * left.n + i, 1, left.n, panel, n_rows);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          store<Isa>(all_sums + (i + r) * columns + v * W, sums[r][v]);
    });
  }
};

}  // namespace spacy_elmo
