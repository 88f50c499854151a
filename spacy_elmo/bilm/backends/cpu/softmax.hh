// The sampled softmax: the log of the sum of what a place can choose from, and the way
// back, without all logits in memory.
//
// Shapes: n places, S drawn words, P = their width.

#pragma once

#include <cstdint>
#include <limits>

#include "gemm.hh"

namespace spacy_elmo {

// What has no type here has the numbers that products are formed of.
struct Logits {
  int64_t n_samples, width;
  const void* hidden;     // (n, P)
  const void* panels;     // of the drawn rows, (S / columns, P, columns)
  const float* bias;      // (S)
  const int64_t* places;  // among the drawn words, from 1, or 0, (n)

  // Of n rows from `first` on.
  template <class Isa, class Done>
  ELMO_INLINE void in_panels(int64_t first, int64_t n, const Done& done) const {
    const auto with_bias = [&](auto number, int64_t, int64_t column,
                               auto& sums) ELMO_INLINE_LAMBDA {
      for (int v = 0; v < kVectors; ++v) {
        const auto own = load<Isa>(bias + column + v * Isa::width);
        for (int r = 0; r < decltype(number)::value; ++r) sums[r][v] = own;
      }
    };
    typedef typename Isa::Number Number;
    const auto* const rows = static_cast<const Number*>(hidden) + first * width;
    const auto* const right = static_cast<const Number*>(panels);
    multiply<Isa>(n, n_samples, {{rows, width, right}}, with_bias, done);
  }

  // The place of row `row` in this panel, or -1.
  template <class Isa> ELMO_INLINE int64_t place(int64_t row, int64_t column) const {
    const int64_t found = places[row] - 1 - column;
    return found >= 0 && found < kVectors * Isa::width ? found : -1;
  }
};

struct LogSumExp : Logits {
  float* total;  // of each place's logits, (n)
  float* there;  // the logit at `places`, where there is one, (n)

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    typedef typename Isa::Float Float;
    constexpr int W = Isa::width, columns = kVectors * W;
    const int64_t n = last - first;
    // A most and a sum for each lane: they are put together at the end.
    Float most[kMostRows], sum[kMostRows];
    for (int64_t r = 0; r < n; ++r) {
      most[r] = splat<Isa>(-std::numeric_limits<float>::max());
      sum[r] = splat<Isa>(0.0f);
    }
    this->template in_panels<Isa>(
        first, n, [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
          for (int64_t r = 0; r < n; ++r) {
            Float logits[kVectors], highest = most[r];
            for (int v = 0; v < kVectors; ++v) {
              logits[v] = load<Isa>(results + r * columns + v * W);
              highest = logits[v] > highest ? logits[v] : highest;
            }
            Float more = sum[r] * exp<Isa>(most[r] - highest);
            for (int v = 0; v < kVectors; ++v) more += exp<Isa>(logits[v] - highest);
            most[r] = highest;
            sum[r] = more;
            const int64_t at = this->template place<Isa>(first + r, column);
            if (at >= 0) there[first + r] = results[r * columns + at];
          }
        });
    for (int64_t r = 0; r < n; ++r) {
      float highest = most[r][0];
      for (int lane = 1; lane < W; ++lane)
        highest = most[r][lane] > highest ? most[r][lane] : highest;
      const Float parts = sum[r] * exp<Isa>(most[r] - highest);
      float whole = 0.0f;
      for (int lane = 0; lane < W; ++lane) whole += parts[lane];
      total[first + r] = highest + __builtin_logf(whole);
    }
  }
};

struct LogitsBack : Logits {
  const float* total;        // of each place, (n), with what is not among the drawn words
  const float* d_loss;       // (n)
  const void* back_panels;   // of the drawn rows, (P / columns, S, columns)
  void* d_logits;            // (n, S)
  float* d_hidden;           // (n, P)

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    constexpr int W = Isa::width, columns = kVectors * W;
    const int64_t n = last - first;
    typedef typename Isa::Number Number;
    Number* const own = static_cast<Number*>(d_logits) + first * n_samples;
    this->template in_panels<Isa>(
        first, n, [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
          for (int64_t r = 0; r < n; ++r) {
            const float all = total[first + r], scale = d_loss[first + r];
            for (int v = 0; v < kVectors; ++v) {
              const auto logits = load<Isa>(results + r * columns + v * W);
              store<Isa>(results + r * columns + v * W, scale * exp<Isa>(logits - all));
            }
            const int64_t at = this->template place<Isa>(first + r, column);
            if (at >= 0) results[r * columns + at] -= scale;
          }
          copy_panel<Isa>(results, n, own + column, n_samples);
        });
    const auto* const right = static_cast<const Number*>(back_panels);
    multiply<Isa>(n, width, {{own, n_samples, right}}, FromZero<Isa>(),
                  [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
                    copy_panel<Isa>(results, n, d_hidden + first * width + column, width);
                  });
  }
};

}  // namespace spacy_elmo
