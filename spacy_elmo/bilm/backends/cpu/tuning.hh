// The tuned constants of the kernels, with the measurement that set each. Speeds are
// GFLOP/s of one thread, float32, on an AMD EPYC of family 26 (AVX-512), in brackets with
// AVX2. "Original" LSTMs have dim 4096 and projection_dim 512, "small" ones 1024 and 128.

#pragma once

#include <cstdint>

namespace spacy_elmo {

// Vectors side by side in a tile of results: with Isa::rows rows, as many sums as the
// registers hold.
constexpr int kVectors = 4;

// Rows of a product that a thread computes at a time: few enough that the first cache
// holds their results in one panel, enough to amortise reading each weight. LSTMs by 24,
// 48, 96 rows: original with 32 sequences 156, 215, 216 (95, 105, 104), small with 96
// sequences 222, 225, 212 (111, 110, 106).
constexpr int64_t kRowBlock = 48;

// Rows of a panel that all tiles multiply with before the next ones: few enough that the
// second cache holds them and the next ones, which are being prefetched. A linear layer,
// 300 x 2048 x 2048, by 256, 512, 1024 rows: 247, 251, 245 (117, 119, 118).
constexpr int64_t kDepthBlock = 512;

// Rows (in bfloat16, pairs of rows) of a panel whose outer products are summed at a time:
// what the first cache holds. 640 rows of 128 times 4096 columns by 48, 96, 192 rows: 203,
// 207, 199 (110, 113, 110).
constexpr int64_t kOuterBlock = 96;

// Multiplications that justify waking another thread for a matrix product: 1 to 2
// microseconds of one thread, about what it takes to wake it.
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
// all of them. 2048 filters of 7 characters by 4, 16, 64 words: 226, 224, 219 (89, 91, 89).
constexpr int64_t kWordBlock = 16;

// Logits whose gradient is computed at a time: what the caches hold.
constexpr int64_t kLogitsAtOnce = 2 << 20;

// Panels of a vocabulary that a thread multiplies with a block of rows at a time: few
// enough that the last cache holds them for the next block. 50,000 words of width 256, 480
// and 32 rows, by 16, 64, 256 panels: 222, 224, 226 and 195, 205, 202.
constexpr int64_t kPanelsPerRange = 64;

}  // namespace spacy_elmo
