// The tuned constants of the kernels, each with the measurement that set it.

#pragma once

#include <cstdint>

namespace spacy_elmo {

// Vectors side by side in a tile of results: with Isa::rows rows, as many sums as the
// registers hold.
constexpr int kVectors = 4;

// Rows of a product that a thread computes at a time: few enough that the first cache
// holds their results in one panel, enough to amortise reading each weight.
constexpr int64_t kRowBlock = 48;

// Rows of a panel that all tiles of a row block multiply with before the next ones: few
// enough that the second cache holds them and the next ones, which are being prefetched.
constexpr int64_t kDepthBlock = 512;

// Rows (in bfloat16, pairs of rows) of a panel whose outer products are summed at a time:
// what the first cache holds.
constexpr int64_t kOuterBlock = 96;

// Multiplications that justify waking another thread for a matrix product.
constexpr int64_t kWorkPerThread = 1 << 17;

// Elements of a weight that are packed before a second thread would have started.
constexpr int64_t kSmallWeight = 1 << 16;

// An LSTM's input weights of more bytes than this do not stay in the second cache: they
// are read once for several steps. Smaller ones are read at each step, unless the step has
// too few rows to fill a tile.
constexpr int64_t kLargeWeightBytes = 4 << 20;

// Sequences that a thread needs to run them through all steps on its own. With fewer it
// reads the weights more often than it computes with them, and threads rather share the
// columns of each step's products.
constexpr int64_t kSequencesPerThread = 12;

// Words whose characters a thread convolves at a time: a panel of filters is read once for
// all of them.
constexpr int64_t kWordBlock = 16;

// Logits whose gradient is computed at a time: what the caches hold.
constexpr int64_t kLogitsAtOnce = 2 << 20;

}  // namespace spacy_elmo
