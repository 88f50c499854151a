// Elementwise functions of SIMD vectors of floats, and the dispatch of a kernel to threads.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(_OPENMP)
#include <omp.h>
#endif

#if !defined(__GNUC__)
#error "The kernels need the vector extensions of GCC or Clang."
#elif defined(__x86_64__)
#include "x86.hh"
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
#include "arm.hh"
#else
#error "The kernels need x86-64 or 64-bit ARM."
#endif

namespace spacy_elmo {

template <class Isa> ELMO_INLINE typename Isa::Float load(const float* from) {
  typename Isa::Float vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

// The first n floats; zeros in the other lanes.
template <class Isa>
ELMO_INLINE typename Isa::Float load_first(const float* from, int64_t n) {
  if (n >= Isa::width) return load<Isa>(from);
  float lanes[Isa::width] = {0.0f};
  for (int64_t i = 0; i < n; ++i) lanes[i] = from[i];
  return load<Isa>(lanes);
}

// Packed weights as floats.
template <class Isa> ELMO_INLINE typename Isa::Float load_weights(const float* from) {
  return load<Isa>(from);
}

template <class Isa> ELMO_INLINE void store(float* to, typename Isa::Float vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

template <class Isa> ELMO_INLINE typename Isa::Float splat(float number) {
  return typename Isa::Float{} + number;
}

template <class Isa> ELMO_INLINE typename Isa::Int bits_of(typename Isa::Float x) {
  typename Isa::Int bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

template <class Isa> ELMO_INLINE typename Isa::Float from_bits(typename Isa::Int bits) {
  typename Isa::Float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// Comparisons are computed with integer arithmetic, except for minimum and maximum: in
// functions that are inlined into several targets, GCC splits vector comparisons into
// scalar ones.

// All bits set where a < b; neither may be NaN.
template <class Isa>
ELMO_INLINE typename Isa::Int is_less(typename Isa::Float a, typename Isa::Float b) {
  return bits_of<Isa>(a - b) >> 31;
}

template <class Isa>
ELMO_INLINE typename Isa::Float choose(typename Isa::Int mask, typename Isa::Float yes,
                                       typename Isa::Float no) {
  return from_bits<Isa>((bits_of<Isa>(yes) & mask) | (bits_of<Isa>(no) & ~mask));
}

// All bits set where x is NaN.
template <class Isa> ELMO_INLINE typename Isa::Int is_nan(typename Isa::Float x) {
  typedef typename Isa::Int Int;
  const Int magnitude = Int{} + 0x7fffffff, infinity = Int{} + 0x7f800000;
  return (infinity - (bits_of<Isa>(x) & magnitude)) >> 31;
}

// The gradient of clamp: x, or 0 where the clamped value is at a bound. NaN is at none.
template <class Isa>
ELMO_INLINE typename Isa::Float if_within(typename Isa::Float clamped, float bound,
                                          typename Isa::Float x) {
  typedef typename Isa::Int Int;
  const Int magnitude = Int{} + 0x7fffffff;
  const Int from_bound =
      (bits_of<Isa>(clamped) & magnitude) - bits_of<Isa>(splat<Isa>(bound));
  return from_bits<Isa>(bits_of<Isa>(x) & ((from_bound | -from_bound) >> 31));
}

// NaN stays NaN: the pretraining loop checks for it.
template <class Isa>
ELMO_INLINE typename Isa::Float at_least(typename Isa::Float x, float low) {
  const typename Isa::Float least = splat<Isa>(hide(low));
  return least > x ? least : x;
}

template <class Isa>
ELMO_INLINE typename Isa::Float at_most(typename Isa::Float x, float high) {
  const typename Isa::Float most = splat<Isa>(hide(high));
  return most < x ? most : x;
}

template <class Isa>
ELMO_INLINE typename Isa::Float clamp(typename Isa::Float x, float low, float high) {
  return at_most<Isa>(at_least<Isa>(x, low), high);
}

// exp of anything less is as good as 0.
constexpr float kLeastExponent = -87.0f;

// exp(x) for x in [kLeastExponent, 88] as 2^n · exp(r), |r| <= log(2) / 2, with the
// polynomial of Cephes (S. Moshier) for exp(r). The error is at most 2 units in the last
// place.
template <class Isa> ELMO_INLINE typename Isa::Float exp_within(typename Isa::Float x) {
  typedef typename Isa::Float Float;
  // Adding 1.5 · 2^23 rounds to an integer, which is then in the lowest bits.
  const float rounding = 12582912.0f;
  const Float shifted = x * 1.44269504088896341f + rounding;
  const Float n = shifted - rounding;
  const Float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Float sum = splat<Isa>(1.9875691500e-4f);
  sum = sum * r + 1.3981999507e-3f;
  sum = sum * r + 8.3334519073e-3f;
  sum = sum * r + 4.1665795894e-2f;
  sum = sum * r + 1.6666665459e-1f;
  sum = sum * r + 5.0000001201e-1f;
  sum = sum * (r * r) + r + 1.0f;
  return sum * from_bits<Isa>((bits_of<Isa>(shifted) + 127) << 23);
}

template <class Isa> ELMO_INLINE typename Isa::Float exp(typename Isa::Float x) {
  return exp_within<Isa>(clamp<Isa>(x, kLeastExponent, 88.0f));
}

template <class Isa> ELMO_INLINE typename Isa::Float sigmoid(typename Isa::Float x) {
  return 1.0f / (1.0f + exp<Isa>(-x));
}

template <class Isa> ELMO_INLINE typename Isa::Float tanh(typename Isa::Float x) {
  return 2.0f * sigmoid<Isa>(2.0f * x) - 1.0f;
}

// Bound of the arguments of `rough_exp2`, that of exp(20): sigmoid(±20) is as good as 0 or
// 1, and products of several results do not overflow.
constexpr float kRoughBound = 28.9f;

// 2^x for |x| <= kRoughBound, clamped to that. The relative error is at most 3e-6.
template <class Isa> ELMO_INLINE typename Isa::Float rough_exp2(typename Isa::Float x) {
  typedef typename Isa::Float Float;
  x = clamp<Isa>(x, -kRoughBound, kRoughBound);
  const float rounding = 12582912.0f;  // as in `exp_within`
  const Float shifted = x + rounding;
  const Float r = x - (shifted - rounding);
  Float sum = splat<Isa>(9.570102e-3f);
  sum = sum * r + 5.5917863e-2f;
  sum = sum * r + 2.4024744e-1f;
  sum = sum * r + 6.9312179e-1f;
  sum = sum * r + 9.9999928e-1f;
  return sum * from_bits<Isa>((bits_of<Isa>(shifted) + 127) << 23);
}

// The bits of the first n bfloat16 numbers, each in the lower half of an element; zeros
// in the other elements.
template <class Isa> ELMO_INLINE typename Isa::Int load_bits(const Bf16* from, int64_t n) {
  typedef uint16_t Halves __attribute__((vector_size(2 * Isa::width)));
  Halves halves;
  if (n >= Isa::width) {
    __builtin_memcpy(&halves, from, sizeof halves);
  } else {
    uint16_t lanes[Isa::width] = {0};
    for (int64_t i = 0; i < n; ++i) lanes[i] = from[i].bits;
    __builtin_memcpy(&halves, lanes, sizeof halves);
  }
  return __builtin_convertvector(halves, typename Isa::Int);
}

// Rounded to bfloat16, to nearest even, as floats. NaN stays NaN.
template <class Isa>
ELMO_INLINE typename Isa::Float round_to_bfloat16(typename Isa::Float x) {
  typedef typename Isa::Int Int;
  const Int bits = bits_of<Isa>(x);
  const Int rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & ~0xffff;
  return choose<Isa>(is_nan<Isa>(x), x, from_bits<Isa>(rounded));
}

// Stores operands of a matrix product. rounds: the product is asked for in bfloat16, but
// the instruction set multiplies float32: the operands are rounded all the same.
template <class Isa>
ELMO_INLINE void store_operands(float* to, typename Isa::Float x, bool rounds) {
  store<Isa>(to, rounds ? round_to_bfloat16<Isa>(x) : x);
}

template <class Isa>
ELMO_INLINE void store_operands(Bf16* to, typename Isa::Float x, bool) {
  store<Isa>(to, x);
}

template <class Isa>
ELMO_INLINE void store_operands(Half* to, typename Isa::Float x, bool) {
  store<Isa>(to, x);
}

// Without OpenMP, kernels run on the calling thread alone.
#if defined(_OPENMP)
inline bool has_threads() { return true; }
inline int thread_number() { return omp_get_thread_num(); }
inline int thread_count() { return omp_get_num_threads(); }
#else
inline bool has_threads() { return false; }
inline int thread_number() { return 0; }
inline int thread_count() { return 1; }
#endif

// Runs all parts, `size` of them at a time. The results do not depend on which thread
// runs which part.
template <class Kernel>
void run_parts(const Kernel& kernel, int64_t n_parts, int64_t size, int isa,
               int n_threads) {
#pragma omp parallel for schedule(dynamic) num_threads(n_threads < 1 ? 1 : n_threads)
  for (int64_t first = 0; first < n_parts; first += size)
    run_part(kernel, first, first + size < n_parts ? first + size : n_parts, isa);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace spacy_elmo
