// The character CNN: each filter's maximum response over the positions of each word, and
// its gradient, which goes through the one window of each word where that was found.
//
// In int8, all characters of a word share a scale, as do all weights of a filter, so the
// maximum is found among exact sums, which are scaled once.
//
// Shapes: n words, C characters, E numbers of a character, F filters rounded up to whole
// panels, K = E times the width of the widest filter. In int8, E is a multiple of 4.

#pragma once

#include <cstdint>
#include <limits>

#include "gemm.hh"

namespace spacy_elmo {

struct Response {
  int64_t n_words, n_columns, char_dim, n_filters, depth;  // n, C, E, F, K
  // (n, C, E) operands, finite within the windows; in int8 with a header for each word.
  const void* characters;
  const int64_t* n_windows;  // of each word, at least 1, all within C, (n)
  const void* panels;        // (F / columns, K, columns), in int8 one block
  const int64_t* depths;     // K of each panel's widest filter, (F / columns)
  const float* limits;       // how many windows of each filter fit into C, (F)
  float* best;               // (n, F)
  int32_t* where;  // the first window with this response, (n, F); not used in int8

  // Computes the words [first, last).
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    for (int64_t column = 0; column < n_filters; column += kColumns<Isa>)
      for (int64_t word = first; word < last; ++word)
        if constexpr (Isa::is_int8)
          find_int8_best<Isa>(word, column);
        else
          find_best<Isa>(word, column);
  }

 private:
  // Here and below: for the filters of the panel at `column`.
  template <class Isa> ELMO_INLINE void find_best(int64_t word, int64_t column) const {
    typedef typename Isa::Float Float;
    constexpr int W = Isa::width, columns = kColumns<Isa>;
    const float* const from =
        static_cast<const float*>(characters) + word * n_columns * char_dim;
    const float* const panel = static_cast<const float*>(panels) + column * depth;
    Float most[kVectors], place[kVectors], limit[kVectors];
    typename Isa::Int has_nan[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      most[v] = splat<Isa>(-std::numeric_limits<float>::infinity());
      place[v] = splat<Isa>(0.0f);
      has_nan[v] = typename Isa::Int{};
      limit[v] = load<Isa>(limits + column + v * W);
    }
    in_tiles<Isa::rows>(n_windows[word], [&](auto n, int64_t row) ELMO_INLINE_LAMBDA {
      constexpr int R = decltype(n)::value;
      Float sums[R][kVectors];
      FromZero<Isa>()(n, row, column, sums);
      add_product<Isa, R>(sums, from + row * char_dim, char_dim, 1, panel,
                          depths[column / columns], panel);
      for (int r = 0; r < R; ++r) {
        const Float at = splat<Isa>(static_cast<float>(row + r));
        for (int v = 0; v < kVectors; ++v) {
          const auto is_more =
              is_less<Isa>(most[v], sums[r][v]) & is_less<Isa>(at, limit[v]);
          most[v] = choose<Isa>(is_more, sums[r][v], most[v]);
          place[v] = choose<Isa>(is_more, at, place[v]);
          has_nan[v] |= is_nan<Isa>(sums[r][v]);
        }
      }
    });
    for (int v = 0; v < kVectors; ++v) {
      const int64_t to = word * n_filters + column + v * W;
      // NaN may not get lost in the maximum: the pretraining loop checks for it.
      const Float nan = splat<Isa>(std::numeric_limits<float>::quiet_NaN());
      store<Isa>(best + to, choose<Isa>(has_nan[v], nan, most[v]));
      for (int lane = 0; lane < W; ++lane)
        where[to + lane] = static_cast<int32_t>(place[v][lane]);
    }
  }

  template <class Isa> ELMO_INLINE void find_int8_best(int64_t word, int64_t column) const {
    typedef typename Isa::Int Int;
    constexpr int W = Isa::width, columns = kColumns<Isa>;
    const int64_t stride = char_dim / Isa::per_unit;
    const int8_t* const header = static_cast<const int8_t*>(characters) +
                                 word * (kRowHeader + n_columns * char_dim);
    const Quad* const from = reinterpret_cast<const Quad*>(header + kRowHeader);
    const Quad* const scales = static_cast<const Quad*>(panels) +
                               column * (kPanelHeader + depth / Isa::per_unit);
    const Quad* const offsets = scales + columns;
    const Quad* const panel = scales + kPanelHeader * columns;
    const Int least = Int{} + std::numeric_limits<int32_t>::min();
    Int most[kVectors];
    for (int v = 0; v < kVectors; ++v) most[v] = least;
    in_tiles<Isa::rows>(n_windows[word], [&](auto n, int64_t row) ELMO_INLINE_LAMBDA {
      constexpr int R = decltype(n)::value;
      Int sums[R][kVectors];
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v)
          sums[r][v] = load_units<Isa>(offsets + v * W);
      add_product<Isa, R>(sums, from + row * stride, stride, panel,
                          depths[column / columns] / Isa::per_unit, panel);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const Int fits = is_less<Isa>(splat<Isa>(static_cast<float>(row + r)),
                                        load<Isa>(limits + column + v * W));
          const Int sum = (sums[r][v] & fits) | (least & ~fits);
          most[v] = sum > most[v] ? sum : most[v];
        }
    });
    float scale;
    __builtin_memcpy(&scale, header, sizeof scale);
    for (int v = 0; v < kVectors; ++v)
      store<Isa>(best + word * n_filters + column + v * W,
                 __builtin_convertvector(most[v], typename Isa::Float) *
                     (scale * from_bits<Isa>(load_units<Isa>(scales + v * W))));
  }
};

template <> constexpr bool kTakesInt8<Response> = true;

inline void response(const Response& kernel, int isa, int n_threads) {
  run_parts(kernel, kernel.n_words, kWordBlock, isa, n_threads);
}

// to (n) += factor · from (n)
template <class Isa>
ELMO_INLINE void add_scaled(float* to, float factor, const float* from, int64_t n) {
  constexpr int W = Isa::width;
  int64_t k = 0;
  for (; k + W <= n; k += W)
    store<Isa>(to + k, load<Isa>(to + k) + factor * load<Isa>(from + k));
  for (; k < n; ++k) to[k] += factor * from[k];
}

// Here F is the true number of filters.
struct ResponseGradient {
  int64_t n_words, n_columns, char_dim, n_filters, depth;
  const int64_t* depths;    // K of each filter, (F)
  const float* d_best;      // (n, F)
  const int32_t* where;     // (n, F)
  const float* characters;  // (n, C, E)
  const float* weight;      // (F, K)
  float* d_characters;      // (n, C, E), initially zeros
  float* d_weight;          // (F, K), initially zeros
};

struct CharacterGradient : ResponseGradient {
  // Computes the words [first, last).
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    for (int64_t word = first; word < last; ++word)
      for (int64_t f = 0; f < n_filters; ++f) {
        const int64_t place = word * n_filters + f;
        add_scaled<Isa>(d_characters + (word * n_columns + where[place]) * char_dim,
                        d_best[place], weight + f * depth, depths[f]);
      }
  }
};

struct FilterGradient : ResponseGradient {
  // Computes the filters [first, last).
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    for (int64_t word = 0; word < n_words; ++word)
      for (int64_t f = first; f < last; ++f) {
        const int64_t place = word * n_filters + f;
        add_scaled<Isa>(d_weight + f * depth, d_best[place],
                        characters + (word * n_columns + where[place]) * char_dim,
                        depths[f]);
      }
  }
};

inline void response_gradients(const ResponseGradient& kernel, int isa, int n_threads) {
  const CharacterGradient of_characters{kernel};
  const FilterGradient of_filters{kernel};
  run_parts(of_filters, kernel.n_filters, kWordBlock, isa, n_threads);
  run_parts(of_characters, kernel.n_words, kWordBlock, isa, n_threads);
}

}  // namespace spacy_elmo
