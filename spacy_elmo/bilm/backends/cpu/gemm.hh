// Matrix products in tiles whose sums a processor's registers hold.
//
// "Panel": the columns of a product that one tile computes, as wide as four vectors. The
// factor on the right lies panel by panel, (n_out / columns, n_in, columns).

#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "simd.hh"

namespace spacy_elmo {

// Four vectors side by side, of one gate each or of neighbouring columns.
constexpr int kVectors = 4;

// Rows of a product that a thread takes at once: few enough for the first cache to hold a
// panel's results, enough to read each weight seldom.
constexpr int64_t kMostRows = 48;

// Rows of a panel that all tiles multiply with before the next ones: few enough for the
// second cache to hold them beside those, which are fetched meanwhile.
constexpr int64_t kDepth = 512;

// A tile's sums += left (R, n_in) · panel (n_in, 4 vectors). Numbers of the left factor
// lie `stride` floats apart from row to row, and `step` from column to column. `ahead`: a
// quarter of what is fetched meanwhile, as long as the panel.
template <class Isa, int R>
ELMO_INLINE void add_product(typename Isa::Float (&sums)[R][kVectors], const float* left,
                             int64_t stride, int64_t step, const float* panel,
                             int64_t n_in, const float* ahead) {
  constexpr int W = Isa::width;
  for (int64_t k = 0; k < n_in; ++k, panel += kVectors * W) {
    __builtin_prefetch(ahead + k * W, 0, 2);
    typename Isa::Float columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = load<Isa>(panel + v * W);
    for (int r = 0; r < R; ++r) {
      const float number = left[r * stride + k * step];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += number * columns[v];
    }
  }
}

// The same of pairs.
template <class Isa, int R>
ELMO_INLINE void add_product(typename Isa::Float (&sums)[R][kVectors], const Pair* left,
                             int64_t stride, int64_t step, const Pair* panel,
                             int64_t n_in, const Pair* ahead) {
  constexpr int W = Isa::width;
  for (int64_t k = 0; k < n_in; ++k, panel += kVectors * W) {
    __builtin_prefetch(ahead + k * W, 0, 2);
    typename Isa::Float columns[kVectors];
    for (int v = 0; v < kVectors; ++v)
      __builtin_memcpy(&columns[v], panel + v * W, sizeof columns[v]);
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      __builtin_memcpy(&pair, left + r * stride + k * step, sizeof pair);
      const auto pairs = of_bits<Isa>(typename Isa::Int{} + pair);
      for (int v = 0; v < kVectors; ++v) add_pairs(sums[r][v], pairs, columns[v]);
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

// left (n, n_in), in rows one after the other · the right factor in panels, in which pairs
// of rows lie side by side where numbers are multiplied in pairs.
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
  typedef typename Isa::Unit Unit;
  constexpr int W = Isa::width, columns = kVectors * W;
  alignas(64) float results[kMostRows * columns];
  // Few tiles read a panel in the order in which it lies, as fast as it comes.
  const bool fetches = n_rows > 2 * Isa::rows;
  for (int64_t column = 0; column < n_out; column += columns) {
    bool is_first = true;
    for (const auto& one : products) {
      const int64_t n_in = one.n_in / Isa::per_unit;
      const Unit* const left = reinterpret_cast<const Unit*>(one.left);
      const Unit* panel = reinterpret_cast<const Unit*>(one.panels) + column * n_in;
      for (int64_t k = 0; k < n_in; k += kDepth) {
        const int64_t depth = n_in - k < kDepth ? n_in - k : kDepth;
        const Unit* const next = panel + depth * columns;
        const Unit* ahead = fetches ? next : panel;
        in_tiles<Isa::rows>(n_rows, [&](auto n, int64_t row) ELMO_INLINE_LAMBDA {
          constexpr int R = decltype(n)::value;
          typename Isa::Float sums[R][kVectors];
          float* const kept = results + row * columns;
          if (is_first)
            start(n, row, column, sums);
          else
            for (int r = 0; r < R; ++r)
              for (int v = 0; v < kVectors; ++v)
                sums[r][v] = load<Isa>(kept + r * columns + v * W);
          add_product<Isa, R>(sums, left + row * n_in + k, n_in, 1, panel, depth, ahead);
          if (fetches) ahead += depth * W;
          for (int r = 0; r < R; ++r)
            for (int v = 0; v < kVectors; ++v)
              store<Isa>(kept + r * columns + v * W, sums[r][v]);
        });
        panel = next;
        is_first = false;
      }
    }
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
template <class Isa, class Number>
ELMO_INLINE void copy_panel(const float* results, int64_t n, Number* to, int64_t stride) {
  constexpr int W = Isa::width;
  for (int64_t r = 0; r < n; ++r)
    for (int v = 0; v < kVectors; ++v)
      store<Isa>(to + r * stride + v * W, load<Isa>(results + (r * kVectors + v) * W));
}

// Rows of numbers turned to columns' units, (ceil(n / per_unit), columns), for products
// that sum over rows. `sums`, if there are any, grow by the sums over rows.
template <class Isa>
ELMO_INLINE void pack_rows(const float* rows, int64_t n, int64_t stride, int64_t columns,
                           float* units, float* sums) {
  for (int64_t r = 0; r < n; ++r)
    for (int64_t c = 0; c < columns; c += Isa::width) {
      const auto numbers = load<Isa>(rows + r * stride + c);
      store<Isa>(units + r * columns + c, numbers);
      if (sums) store<Isa>(sums + c, load<Isa>(sums + c) + numbers);
    }
}

template <class Isa>
ELMO_INLINE void pack_rows(const Bf16* rows, int64_t n, int64_t stride, int64_t columns,
                           Pair* units, float* sums) {
  for (int64_t r = 0; r < n; r += 2)
    for (int64_t c = 0; c < columns; c += Isa::width) {
      const Bf16* const from = rows + r * stride + c;
      typename Isa::Int low = load_bits<Isa>(from), high = typename Isa::Int{};
      if (r + 1 < n) high = load_bits<Isa>(from + stride) << 16;
      const typename Isa::Int pairs = low | high;
      __builtin_memcpy(units + r / 2 * columns + c, &pairs, sizeof pairs);
      if (sums)
        store<Isa>(sums + c, load<Isa>(sums + c) + of_bits<Isa>(low << 16) +
                                 of_bits<Isa>(high));
    }
}

// A weight, laid out to multiply with from the right.
struct Panels {
  int64_t n_in, n_out;
  const float* weight;  // (n_in, n_out), or turned (n_out, n_in)
  bool turned;
  bool gates;    // a panel has those of as many units as a vector has floats: turned only
  void* panels;  // (n_out / columns, n_in / per_unit, columns) units

  // first, last: of the panels.
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    constexpr int columns = kVectors * Isa::width;
    for (int64_t panel = first; panel < last; ++panel) {
      auto* const units = static_cast<typename Isa::Unit*>(panels) +
                          panel * columns * (n_in / Isa::per_unit);
      if (turned)
        turn<Isa>(panel, units);
      else
        copy<Isa>(weight + panel * columns, units);
    }
  }

 private:
  template <class Isa>
  ELMO_INLINE void turn(int64_t panel, typename Isa::Unit* units) const {
    constexpr int W = Isa::width, columns = kVectors * W, per_unit = Isa::per_unit;
    for (int64_t k = 0; k < n_in; k += W) {
      const int64_t n = n_in - k < W ? n_in - k : W;
      for (int c = 0; c < columns; ++c) {
        const int64_t own = gates ? c / W * (n_out / kVectors) + panel * W + c % W
                                  : panel * columns + c;
        // Rows lie too far apart for the processor to see what comes next.
        __builtin_prefetch(weight + own * n_in + k + 2 * W, 0, 2);
        float exact[W] = {0.0f};
        __builtin_memcpy(exact, weight + own * n_in + k, n * sizeof(float));
        typename Isa::Number numbers[W];
        store<Isa>(numbers, load<Isa>(exact));
        for (int64_t i = 0; i < n / per_unit; ++i)
          __builtin_memcpy(units + (k / per_unit + i) * columns + c, numbers + i * per_unit,
                           sizeof *units);
      }
    }
  }

  template <class Isa> ELMO_INLINE void copy(const float* from, float* units) const {
    pack_rows<Isa>(from, n_in, n_out, kVectors * Isa::width, units, nullptr);
  }

  template <class Isa> ELMO_INLINE void copy(const float* from, Pair* units) const {
    constexpr int W = Isa::width, columns = kVectors * W;
    for (int64_t k = 0; k < n_in; k += 2) {
      Bf16 rows[2 * columns];
      for (int r = 0; r < 2; ++r)
        for (int v = 0; v < kVectors; ++v)
          store<Isa>(rows + r * columns + v * W, load<Isa>(from + (k + r) * n_out + v * W));
      pack_rows<Isa>(rows, 2, columns, columns, units + k / 2 * columns, nullptr);
    }
  }
};

// One factor of `OuterProducts`.
struct Left {
  int64_t n;         // columns: where they are multiplied in pairs, whole vectors
  const void* rows;  // (R, n)
  float* result;     // (n_right, n), or turned (n, n_right)
  bool turned;
};

// Weights' gradients: the sums over R rows of right ⊗ left, where what is on the right has
// so many columns that threads share them, by panels.
struct OuterProducts {
  int64_t n_rows, n_right;
  const void* right;  // (R, n_right)
  float* sums;        // over the rows of what is on the right, (n_right), or null
  std::vector<Left> lefts;

  // first, last: of the panels.
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    typedef typename Isa::Number Number;
    typedef typename Isa::Unit Unit;
    constexpr int W = Isa::width, columns = kVectors * W, per_unit = Isa::per_unit;
    const int64_t n_units = (n_rows + per_unit - 1) / per_unit;
    int64_t n_left = 0;
    for (const Left& left : lefts) n_left += left.n;
    std::vector<float> room(n_left * columns);
    std::vector<Unit> left_room(per_unit == 1 ? 0 : n_units * n_left);
    std::vector<const Unit*> left_units;
    Unit* units = left_room.data();
    for (const Left& left : lefts) {
      if constexpr (per_unit == 1) {
        left_units.push_back(static_cast<const Unit*>(left.rows));
      } else {
        pack_rows<Isa>(static_cast<const Number*>(left.rows), n_rows, left.n, left.n, units,
                       nullptr);
        left_units.push_back(units);
        units += n_units * left.n;
      }
    }
    alignas(64) Unit panel[kAtOnce * columns];
    for (int64_t column = first * columns; column < last * columns; column += columns) {
      const Number* const from = static_cast<const Number*>(right) + column;
      if (sums) __builtin_memset(sums + column, 0, columns * sizeof(float));
      for (int64_t unit = 0; unit < n_units; unit += kAtOnce) {
        const int64_t n = n_units - unit < kAtOnce ? n_units - unit : kAtOnce;
        const int64_t row = unit * per_unit;
        const int64_t rows = n_rows - row < n * per_unit ? n_rows - row : n * per_unit;
        pack_rows<Isa>(from + row * n_right, rows, n_right, columns, panel,
                       sums ? sums + column : nullptr);
        float* own_sums = room.data();
        for (std::size_t i = 0; i < lefts.size(); ++i) {
          const int64_t n_own = lefts[i].n;
          add_panel<Isa>(n_own, left_units[i] + unit * n_own, n, panel, unit == 0, own_sums);
          own_sums += n_own * columns;
        }
      }
      const float* own_sums = room.data();
      for (const Left& left : lefts) {
        if (left.turned)
          copy_panel<Isa>(own_sums, left.n, left.result + column, n_right);
        else
          for (int64_t c = 0; c < columns; ++c)
            for (int64_t i = 0; i < left.n; ++i)
              left.result[(column + c) * left.n + i] = own_sums[i * columns + c];
        own_sums += left.n * columns;
      }
    }
  }

 private:
  // Rows of a panel that the first cache holds.
  static constexpr int64_t kAtOnce = 96;

  template <class Isa>
  ELMO_INLINE static void add_panel(int64_t n_left, const typename Isa::Unit* left,
                                    int64_t n_units, const typename Isa::Unit* panel,
                                    bool is_first, float* all_sums) {
    constexpr int W = Isa::width, columns = kVectors * W;
    in_tiles<Isa::rows>(n_left, [&](auto number, int64_t i) ELMO_INLINE_LAMBDA {
      constexpr int R = decltype(number)::value;
      typename Isa::Float sums[R][kVectors];
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          sums[r][v] = is_first ? splat<Isa>(0.0f)
                                : load<Isa>(all_sums + (i + r) * columns + v * W);
      add_product<Isa, R>(sums, left + i, 1, n_left, panel, n_units, panel);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          store<Isa>(all_sums + (i + r) * columns + v * W, sums[r][v]);
    });
  }
};

}  // namespace spacy_elmo
