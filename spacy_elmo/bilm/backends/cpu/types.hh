// Vectors, the operands of matrix products, and what describes an instruction set.

#pragma once

#include <cstdint>

#define ELMO_INLINE inline __attribute__((always_inline))
#define ELMO_INLINE_LAMBDA __attribute__((always_inline))

namespace spacy_elmo {

template <int W> struct Lanes {
  typedef float Float __attribute__((vector_size(4 * W)));
  typedef int32_t Int __attribute__((vector_size(4 * W)));
};

// The upper half of a float's bits.
struct Bf16 {
  uint16_t bits;
};

// Two neighboring bfloat16 numbers.
struct Pair {
  int32_t bits;
};

// Four neighboring 8-bit integers.
struct Quad {
  int32_t bits;
};

// A number in IEEE 754's half precision.
struct Half {
  uint16_t bits;
};

// An instruction set: the width of its vectors in floats, the rows of a tile whose sums
// its registers hold, the operands of its matrix products, the unit in which its
// multiply-add takes them, and both as packed weights store them.
template <int W, int R> struct Float32 {
  typedef float Operand;
  typedef float Unit;
  typedef float PackedOperand;
  typedef float PackedUnit;
  static constexpr int per_unit = 1;
  static constexpr int width = W, rows = R;
  static constexpr bool is_int8 = false, is_half = false;
  typedef typename Lanes<W>::Float Float;
  typedef typename Lanes<W>::Int Int;
};

// Multiplies pairs of bfloat16 numbers and accumulates in float32.
template <class Base> struct Bfloat16 : Base {
  typedef Bf16 Operand;
  typedef Pair Unit;
  typedef Bf16 PackedOperand;
  typedef Pair PackedUnit;
  static constexpr int per_unit = 2;
};

// Multiplies quads of 8-bit integers and accumulates in int32. A row's integers are stored
// with `zero` added, because VNNI multiplies unsigned by signed ones.
template <class Base, int Zero> struct Int8 : Base {
  typedef int8_t Operand;
  typedef Quad Unit;
  typedef int8_t PackedOperand;
  typedef Quad PackedUnit;
  static constexpr int per_unit = 4, zero = Zero;
  static constexpr bool is_int8 = true;
};

// Multiplies in float32 by weights that are stored in float16.
template <class Base> struct HalfWeights : Base {
  typedef Half PackedOperand;
  typedef Half PackedUnit;
  static constexpr bool is_half = true;
};

// Whether a kernel computes with int8, too.
template <class Kernel> constexpr bool kTakesInt8 = false;

// Whether a kernel reads or packs weights in float16, too.
template <class Kernel> constexpr bool kTakesHalf = false;

}  // namespace spacy_elmo
