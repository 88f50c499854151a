// Quantized operands: rows of 8-bit integers with their scales.
//
// A row is divided into blocks of 256 numbers, because a few large ones would make all
// others coarse. A block x is quantized to the integers q = round(x / scale), with scale =
// max |x| / 127, so that |q| <= 127; a weight likewise, with a scale for each block of each
// output. A block's products are summed exactly in int32, multiplied by both scales, and
// added in float32, so that all instruction sets compute the same sums, whatever else is
// in the batch.
//
// In memory, a block of a row is its scale, then its integers. A block of a panel is the
// scales of its columns, the numbers at which their sums begin, and the quads of integers.

#pragma once

#include <cstdint>

#include "simd.hh"
#include "tuning.hh"

namespace spacy_elmo {

constexpr int64_t kQuantizedBlock = 256;

// Operands before the numbers of a block of a row.
constexpr int64_t kRowHeader = sizeof(float);

// Units before the numbers of each column of a block of a panel.
constexpr int64_t kPanelHeader = 2;

// Operands of a row of `width` numbers in blocks of `kQuantizedBlock`, headers included.
template <class Isa> ELMO_INLINE int64_t operand_stride(int64_t width) {
  return Isa::is_int8 ? width + ceil_div(width, kQuantizedBlock) * kRowHeader : width;
}

// The units of a vector: integers, or quads of bytes.
template <class Isa> ELMO_INLINE typename Isa::Int load_units(const Quad* from) {
  typename Isa::Int units;
  __builtin_memcpy(&units, from, sizeof units);
  return units;
}

// The scale of a block, and its inverse. Blocks of numbers that are all smaller than
// 1e-30 become zeros, because the inverse has to be finite.
struct Scale {
  float scale, inverse;

  explicit Scale(float most)
      : scale(most < 1e-30f ? 0.0f : most / 127.0f),
        inverse(most < 1e-30f ? 0.0f : 127.0f / most) {}
};

// The largest magnitude of a block. NaN if it has one: its bits are the largest.
template <class Isa> ELMO_INLINE float max_magnitude(const float* row, int64_t n) {
  typedef typename Isa::Int Int;
  Int most{};
  for (int64_t k = 0; k < n; k += Isa::width) {
    const Int bits = bits_of<Isa>(load_first<Isa>(row + k, n - k)) & 0x7fffffff;
    most = bits > most ? bits : most;
  }
  int32_t largest = 0;
  for (int lane = 0; lane < Isa::width; ++lane)
    largest = most[lane] > largest ? most[lane] : largest;
  float magnitude;
  __builtin_memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

// Numbers times `inverse`, rounded to the nearest integer.
template <class Isa>
ELMO_INLINE typename Isa::Int quantize(typename Isa::Float numbers, float inverse) {
  // Adding 1.5 · 2^23 rounds to an integer, which is then in the lowest bits.
  return bits_of<Isa>(numbers * inverse + 12582912.0f) - 0x4b400000;
}

template <class Isa> ELMO_INLINE void store_bytes(int8_t* to, typename Isa::Int integers) {
  typedef int8_t Bytes __attribute__((vector_size(Isa::width)));
  const Bytes bytes = __builtin_convertvector(integers, Bytes);
  __builtin_memcpy(to, &bytes, sizeof bytes);
}

// Quantizes a block of n numbers to `width` integers, those beyond n zeros.
template <class Isa>
ELMO_INLINE void quantize_block(const float* block, int64_t n, int64_t width, int8_t* to) {
  const Scale scale(max_magnitude<Isa>(block, n));
  __builtin_memcpy(to, &scale.scale, sizeof(float));
  to += kRowHeader;
  for (int64_t k = 0; k < width; k += Isa::width) {
    const auto integers =
        quantize<Isa>(load_first<Isa>(block + k, n - k), scale.inverse) + Isa::zero;
    if (width - k >= Isa::width) {
      store_bytes<Isa>(to + k, integers);
    } else {
      int8_t bytes[Isa::width];
      store_bytes<Isa>(bytes, integers);
      __builtin_memcpy(to + k, bytes, width - k);
    }
  }
}

// The same for a row.
template <class Isa>
ELMO_INLINE void quantize_row(const float* row, int64_t n, int64_t width, int8_t* to,
                              int64_t size = kQuantizedBlock) {
  for (int64_t k = 0; k < width; k += size, to += kRowHeader + size) {
    const int64_t depth = width - k < size ? width - k : size;
    quantize_block<Isa>(row + k, n - k < depth ? n - k : depth, depth, to);
  }
}

// Quantizes rows (n_rows, n) to operands.
struct Quantization {
  int64_t n_rows, n, width, block;  // width: n in whole units
  const float* rows;
  int8_t* operands;  // (n_rows, width and headers)

  // Quantizes the rows [first, last).
  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    const int64_t stride = width + ceil_div(width, block) * kRowHeader;
    if constexpr (Isa::is_int8)
      for (int64_t row = first; row < last; ++row)
        quantize_row<Isa>(rows + row * n, n, width, operands + row * stride, block);
  }
};

template <> constexpr bool kTakesInt8<Quantization> = true;

inline void quantize_rows(const Quantization& kernel, int isa, int n_threads) {
  if (n_threads < 1 || kernel.n_rows * kernel.n < kSmallWeight) n_threads = 1;
  run_parts(kernel, kernel.n_rows, ceil_div(kernel.n_rows, n_threads), isa, n_threads);
}

}  // namespace spacy_elmo
