// The softmax over a vocabulary or over sampled words, without ever holding all logits in
// memory: the log-sum-exp and the entropy of each row's distribution, and the gradient of
// the sampled loss.
//
// Shapes: n targets, P = width of a row, S words. S is the true number; biases and
// gradients of logits have whole panels of columns, and the padding's bias is so low that
// it adds nothing.

#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "gemm.hh"

namespace spacy_elmo {

struct Logits {
  int64_t n_rows, n_words, width, depth;  // n, S, P, and P as it is multiplied
  const void* hidden;      // operands (n, depth)
  const void* panels;      // of the words' weights, (S / columns, P, columns)
  const float* bias;       // (whole panels)
  const int64_t* columns;  // position of the target among the words, from 1; or 0, (n)

  // Computes the logits [first_column, last_column) of n rows from `first` on, a panel at
  // a time.
  template <class Isa, class Done>
  ELMO_INLINE void in_panels(int64_t first, int64_t n, int64_t first_column,
                             int64_t last_column, const Done& done) const {
    typedef typename Isa::Operand Operand;
    const auto* const rows = static_cast<const Operand*>(hidden) + first * depth;
    multiply<Isa>(n, first_column, last_column, {{rows, depth, depth, panels}},
                  FromBias<Isa>{bias}, done);
  }

  // The position of a row's target within a panel, or -1.
  template <class Isa> ELMO_INLINE int64_t place(int64_t row, int64_t column) const {
    const int64_t at = columns[row] - 1 - column;
    return at >= 0 && at < kColumns<Isa> ? at : -1;
  }
};

// Sums over logits x, of one row or, in vectors, of a row's lanes. They are relative to
// the maximum so far, which keeps them exact, and clamped so that padding adds nothing.
template <class Number> struct Moments {
  Number most;      // max x
  Number sum;       // sum of exp(x - most)
  Number weighted;  // sum of exp(x - most) · (x - most)
};

// The logits of a row in one panel.
template <class Isa>
ELMO_INLINE void add_logits(Moments<typename Isa::Float>& row, const float* logits) {
  typedef typename Isa::Float Float;
  Float highest = row.most;
  for (int v = 0; v < kVectors; ++v) {
    const Float x = load<Isa>(logits + v * Isa::width);
    highest = x > highest ? x : highest;
  }
  const Float shift = at_least<Isa>(row.most - highest, kLeastExponent);
  const Float scale = exp_within<Isa>(shift);
  row.weighted = (row.weighted + row.sum * shift) * scale;
  row.sum *= scale;
  row.most = highest;
  for (int v = 0; v < kVectors; ++v) {
    const Float x = load<Isa>(logits + v * Isa::width) - highest;
    const Float shifted = at_least<Isa>(x, kLeastExponent);
    const Float power = exp_within<Isa>(shifted);
    row.sum += power;
    row.weighted += power * shifted;
  }
}

// The moments of all lanes.
template <class Isa>
ELMO_INLINE Moments<float> add_lanes(const Moments<typename Isa::Float>& row) {
  float highest = row.most[0];
  for (int lane = 1; lane < Isa::width; ++lane)
    highest = row.most[lane] > highest ? row.most[lane] : highest;
  const auto shift = at_least<Isa>(row.most - highest, kLeastExponent);
  const auto scale = exp_within<Isa>(shift);
  const auto sums = row.sum * scale, weighted = (row.weighted + row.sum * shift) * scale;
  Moments<float> all{highest, 0.0f, 0.0f};
  for (int lane = 0; lane < Isa::width; ++lane) {
    all.sum += sums[lane];
    all.weighted += weighted[lane];
  }
  return all;
}

// The log-sum-exp and the entropy of each row's logits. The words are divided into ranges
// whose size depends on nothing else, so that a row has the same results, to the last
// bit, whatever the other rows and the number of threads.
struct LogSumExp : Logits {
  float* total;    // log-sum-exp, (n)
  float* target;   // the logit of the target, if it is one of the words, (n)
  float* entropy;  // of the distribution, in nats, (n)

  int64_t rows_per_block, n_blocks, n_ranges;
  Moments<float>* moments;  // (n_ranges, n)

  // Parts are ranges of words times blocks of rows. Successive parts share a range, which
  // is then read from memory once.
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    for (int64_t part = first; part < last; ++part)
      run_block<Isa>(part / n_blocks, part % n_blocks * rows_per_block);
  }

  // Combines the ranges of a row.
  void combine(int64_t row) const {
    float highest = moments[row].most;
    for (int64_t range = 1; range < n_ranges; ++range) {
      const float most = moments[range * n_rows + row].most;
      highest = most > highest ? most : highest;
    }
    double sum = 0.0, weighted = 0.0;
    for (int64_t range = 0; range < n_ranges; ++range) {
      const Moments<float>& part = moments[range * n_rows + row];
      const double shift = part.most - highest, scale = __builtin_exp(shift);
      sum += part.sum * scale;
      weighted += (part.weighted + part.sum * shift) * scale;
    }
    const double log_sum = __builtin_log(sum);
    total[row] = static_cast<float>(highest + log_sum);
    entropy[row] = static_cast<float>(log_sum - weighted / sum);
  }

 private:
  template <class Isa> ELMO_INLINE void run_block(int64_t range, int64_t first) const {
    constexpr int64_t range_columns = kPanelsPerRange * kColumns<Isa>;
    const int64_t n = n_rows - first < rows_per_block ? n_rows - first : rows_per_block;
    const int64_t first_column = range * range_columns;
    const int64_t end = first_column + range_columns;
    const int64_t n_columns = round_up(n_words, kColumns<Isa>);
    Moments<typename Isa::Float> lanes[kRowBlock];
    for (int64_t r = 0; r < n; ++r)
      lanes[r] = {splat<Isa>(-std::numeric_limits<float>::max()), splat<Isa>(0.0f),
                  splat<Isa>(0.0f)};
    this->template in_panels<Isa>(
        first, n, first_column, end < n_columns ? end : n_columns,
        [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
          for (int64_t r = 0; r < n; ++r) {
            add_logits<Isa>(lanes[r], results + r * kColumns<Isa>);
            const int64_t at = this->template place<Isa>(first + r, column);
            if (at >= 0) target[first + r] = results[r * kColumns<Isa> + at];
          }
        });
    for (int64_t r = 0; r < n; ++r)
      moments[range * n_rows + first + r] = add_lanes<Isa>(lanes[r]);
  }
};

// May throw std::bad_alloc, before any thread has started.
inline void log_sum_exp(LogSumExp kernel, int isa, int n_threads) {
  if (!kernel.n_rows) return;
  if (n_threads < 1) n_threads = 1;
  const int64_t n_panels = ceil_div(kernel.n_words, panel_columns(isa));
  kernel.n_ranges = ceil_div(n_panels, kPanelsPerRange);
  // Few words and few rows occupy all threads.
  const int64_t share = ceil_div(kernel.n_rows, ceil_div(n_threads, kernel.n_ranges));
  kernel.rows_per_block = share < kRowBlock ? share : kRowBlock;
  kernel.n_blocks = ceil_div(kernel.n_rows, kernel.rows_per_block);
  std::unique_ptr<Moments<float>[]> moments(
      new Moments<float>[kernel.n_ranges * kernel.n_rows]);
  kernel.moments = moments.get();
  run_parts(kernel, kernel.n_ranges * kernel.n_blocks, 1, isa, n_threads);
  for (int64_t row = 0; row < kernel.n_rows; ++row) kernel.combine(row);
}

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
        first, n, 0, round_up(n_words, kColumns<Isa>),
        [&](int64_t column, float* results) ELMO_INLINE_LAMBDA {
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
    float* const to = d_hidden + first * width;
    multiply<Isa>(n, 0, round_up(width, kColumns<Isa>),
                  {{own, n_padded, back_depth, back_panels}}, FromZero<Isa>(),
                  [&](int64_t column, const float* results) ELMO_INLINE_LAMBDA {
                    copy_panel<Isa>(results, n, to + column, width, width - column);
                  });
  }
};

inline void logit_gradients(const LogitGradient& kernel, int isa, int n_threads) {
  if (!kernel.n_rows) return;
  const int64_t share = ceil_div(kernel.n_rows, n_threads < 1 ? 1 : n_threads);
  run_parts(kernel, kernel.n_rows, share < kRowBlock ? share : kRowBlock, isa, n_threads);
}

}  // namespace spacy_elmo
