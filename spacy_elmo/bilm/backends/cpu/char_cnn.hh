// The most that each filter finds anywhere in each word, and the way back, which goes
// through the one window of each that was found.
//
// Shapes: n words, C columns of characters, E floats of a character, F filters, K = E
// times the widest filter's width.

#pragma once

#include <cstdint>
#include <limits>

#include "gemm.hh"

namespace spacy_elmo {

struct Response {
  int64_t n_columns, char_dim, n_filters, depth;  // C, E, F, K
  const float* characters;   // (n, C, E): what a window reaches into is finite
  const int64_t* n_windows;  // of each word, (n): 1 or more, and so many fit
  const float* panels;       // (F / columns, K, columns)
  const int64_t* depths;     // of each panel's widest filter, (F / columns)
  const float* limits;       // how many windows of each filter C columns have, (F)
  float* best;               // (n, F)
  int32_t* where;            // (n, F), the first best one

  // first, last: of the words.
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    typedef typename Isa::Float Float;
    constexpr int W = Isa::width, columns = kVectors * W;
    for (int64_t column = 0; column < n_filters; column += columns)
      for (int64_t word = first; word < last; ++word) {
        const float* const from = characters + word * n_columns * char_dim;
        Float most[kVectors], place[kVectors], limit[kVectors];
        typename Isa::Int is_lost[kVectors];
        for (int v = 0; v < kVectors; ++v) {
          most[v] = splat<Isa>(-std::numeric_limits<float>::infinity());
          place[v] = splat<Isa>(0.0f);
          is_lost[v] = typename Isa::Int{};
          limit[v] = load<Isa>(limits + column + v * W);
        }
        in_tiles<Isa::rows>(n_windows[word], [&](auto n, int64_t row) ELMO_INLINE_LAMBDA {
          constexpr int R = decltype(n)::value;
          Float sums[R][kVectors];
          FromZero<Isa>()(n, row, column, sums);
          const float* const panel = panels + column * depth;
          add_product<Isa, R>(sums, from + row * char_dim, char_dim, 1, panel,
                              depths[column / columns], panel);
          for (int r = 0; r < R; ++r) {
            const Float at = splat<Isa>(static_cast<float>(row + r));
            for (int v = 0; v < kVectors; ++v) {
              const auto is_more = is_less<Isa>(most[v], sums[r][v]) &
                                   is_less<Isa>(at, limit[v]);
              most[v] = choose<Isa>(is_more, sums[r][v], most[v]);
              place[v] = choose<Isa>(is_more, at, place[v]);
              is_lost[v] |= is_nan<Isa>(sums[r][v]);
            }
          }
        });
        for (int v = 0; v < kVectors; ++v) {
          const int64_t to = word * n_filters + column + v * W;
          // What is not a number may not be lost: the pretraining loop looks for it.
          const Float nan = splat<Isa>(std::numeric_limits<float>::quiet_NaN());
          store<Isa>(best + to, choose<Isa>(is_lost[v], nan, most[v]));
          for (int lane = 0; lane < W; ++lane)
            where[to + lane] = static_cast<int32_t>(place[v][lane]);
        }
      }
  }
};

// to (n) += factor · from (n)
template <class Isa>
ELMO_INLINE void add_scaled(float* to, float factor, const float* from, int64_t n) {
  constexpr int W = Isa::width;
  int64_t k = 0;
  for (; k + W <= n; k += W)
    store<Isa>(to + k, load<Isa>(to + k) + factor * load<Isa>(from + k));
  for (; k < n; ++k) to[k] += factor * from[k];
}

struct ResponseBack {
  int64_t n_words, n_columns, char_dim, n_filters, depth;
  const int64_t* depths;  // of each filter, (F)
  const float* d_best;    // (n, F)
  const int32_t* where;   // (n, F)
};

struct CharactersBack : ResponseBack {
  const float* weight;  // (F, K)
  float* d_characters;  // (n, C, E), zeros

  // first, last: of the words.
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    for (int64_t word = first; word < last; ++word)
      for (int64_t f = 0; f < n_filters; ++f) {
        const int64_t place = word * n_filters + f;
        add_scaled<Isa>(d_characters + (word * n_columns + where[place]) * char_dim,
                        d_best[place], weight + f * depth, depths[f]);
      }
  }
};

struct FiltersBack : ResponseBack {
  const float* characters;  // (n, C, E)
  float* d_weight;          // (F, K), zeros

  // first, last: of the filters.
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

}  // namespace spacy_elmo
