// The sampled softmax: the log-sum-exp over each target's candidates, and its gradient,
// without ever holding all logits in memory.
//
// Shapes: n targets, P = width of a row, S sampled words. S is the true number; biases and
// gradients of logits have whole panels of columns, and the padding's bias is so low that
// it adds nothing.

#pragma once

#include <cstdint>
#include <limits>

#include "gemm.hh"

namespace spacy_elmo {

struct Logits {
  int64_t n_rows, n_samples, width, depth;  // n, S, P, and P as it is multiplied
  const void* hidden;      // operands (n, depth)
  const void* panels;      // of the sampled rows, (S / columns, P, columns)
  const float* bias;       // (whole panels)
  const int64_t* columns;  // position among the sampled words, from 1; or 0, (n)

  // Computes the logits of n rows from `first` on, a panel at a time.
  template <class Isa, class Done>
  ELMO_INLINE void in_panels(int64_t first, int64_t n, const Done& done) const {
    typedef typename Isa::Operand Operand;
    const auto* const rows = static_cast<const Operand*>(hidden) + first * depth;
    const auto* const right = static_cast<const Operand*>(panels);
    multiply<Isa>(n, 0, round_up(n_samples, kColumns<Isa>), {{rows, depth, depth, right}},
                  FromBias<Isa>{bias}, done);
  }

  // The position of a row's target within a panel, or -1.
  template <class Isa> ELMO_INLINE int64_t place(int64_t row, int64_t column) const {
    const int64_t at = columns[row] - 1 - column;
    return at >= 0 && at < kColumns<Isa> ? at : -1;
  }
};

struct LogSumExp : Logits {
  float* total;   // of each target's logits, (n)
  float* target;  // the logit of a target that was sampled, (n)

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    typedef typename Isa::Float Float;
    constexpr int W = Isa::width;
    const int64_t n = last - first;
    // A maximum and a sum for each lane; they are combined at the end.
    Float most[kRowBlock], sum[kRowBlock];
    for (int64_t r = 0; r < n; ++r) {
      most[r] = splat<Isa>(-std::numeric_limits<float>::max());
      sum[r] = splat<Isa>(0.0f);
    }
    this->template in_panels<Isa>(
        first, n, [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
          for (int64_t r = 0; r < n; ++r) {
            Float logits[kVectors], highest = most[r];
            for (int v = 0; v < kVectors; ++v) {
              logits[v] = load<Isa>(results + r * kColumns<Isa> + v * W);
              highest = logits[v] > highest ? logits[v] : highest;
            }
            Float more = sum[r] * exp<Isa>(most[r] - highest);
            for (int v = 0; v < kVectors; ++v) more += exp<Isa>(logits[v] - highest);
            most[r] = highest;
            sum[r] = more;
            const int64_t at = this->template place<Isa>(first + r, column);
            if (at >= 0) target[first + r] = results[r * kColumns<Isa> + at];
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

struct LogitGradient : Logits {
  const float* total;         // log-sum-exp with the target, if it was not sampled, (n)
  const float* d_loss;        // (n)
  const void* back_panels;    // of the sampled rows, (P / columns, S, columns)
  int64_t n_padded;           // S in whole panels
  int64_t back_depth;         // S as it is multiplied
  void* d_logits;             // operands (n, n_padded)
  float* d_hidden;            // (n, P)
  bool rounds;                // see `store_operands`

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    typedef typename Isa::Operand Operand;
    constexpr int W = Isa::width;
    const int64_t n = last - first;
    Operand* const own = static_cast<Operand*>(d_logits) + first * n_padded;
    this->template in_panels<Isa>(
        first, n, [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
          for (int64_t r = 0; r < n; ++r) {
            const float all = total[first + r], scale = d_loss[first + r];
            float* const row = results + r * kColumns<Isa>;
            for (int v = 0; v < kVectors; ++v) {
              const auto logits = load<Isa>(row + v * W);
              store<Isa>(row + v * W, scale * exp<Isa>(logits - all));
            }
            const int64_t at = this->template place<Isa>(first + r, column);
            if (at >= 0) row[at] -= scale;
          }
          copy_panel<Isa>(results, n, own + column, n_padded, kColumns<Isa>, rounds);
        });
    const auto* const right = static_cast<const Operand*>(back_panels);
    float* const to = d_hidden + first * width;
    multiply<Isa>(n, 0, round_up(width, kColumns<Isa>),
                  {{own, n_padded, back_depth, right}}, FromZero<Isa>(),
                  [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
                    copy_panel<Isa>(results, n, to + column, width, width - column);
                  });
  }
};

// kernel: LogSumExp or LogitGradient.
template <class Kernel> void run_rows(const Kernel& kernel, int isa, int n_threads) {
  if (!kernel.n_rows) return;
  const int64_t share = ceil_div(kernel.n_rows, n_threads < 1 ? 1 : n_threads);
  run_parts(kernel, kernel.n_rows, share < kRowBlock ? share : kRowBlock, isa, n_threads);
}

}  // namespace spacy_elmo
