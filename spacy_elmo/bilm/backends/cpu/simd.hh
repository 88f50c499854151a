// Vectors of floats as the processor has them, functions of them, and work in parts for
// several threads.

#pragma once

#include <cstdint>
#include <cstring>

#if !defined(__GNUC__) || !defined(__x86_64__)
#error "Vector extensions of GCC or Clang, and an x86-64 processor, are needed."
#endif

#define ELMO_INLINE inline __attribute__((always_inline))
#define ELMO_INLINE_LAMBDA __attribute__((always_inline))

namespace spacy_elmo {

template <int W> struct Lanes {
  typedef float Float __attribute__((vector_size(4 * W)));
  typedef int32_t Int __attribute__((vector_size(4 * W)));
};

// What a processor has: floats of a vector, and rows of a tile whose sums its registers
// hold.
struct Avx512 {
  typedef float Number;  // what products are formed of,
  typedef float Unit;    // and how many of them at a time
  static constexpr int per_unit = 1;
  static constexpr int width = 16, rows = 6;
  typedef Lanes<16>::Float Float;
  typedef Lanes<16>::Int Int;
};
struct Avx2 {
  typedef float Number;
  typedef float Unit;
  static constexpr int per_unit = 1;
  static constexpr int width = 8, rows = 3;
  typedef Lanes<8>::Float Float;
  typedef Lanes<8>::Int Int;
};


// The upper half of a float's bits.
struct Bf16 {
  uint16_t bits;
};

// Two neighbouring ones.
struct Pair {
  int32_t bits;
};

// Products of pairs of bfloat16 numbers, summed up in float32.
struct Avx512Bf16 : Avx512 {
  typedef Bf16 Number;
  typedef Pair Unit;
  static constexpr int per_unit = 2;
};

template <class Isa> ELMO_INLINE typename Isa::Float load(const float* from) {
  typename Isa::Float vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
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

template <class Isa> ELMO_INLINE typename Isa::Float of_bits(typename Isa::Int bits) {
  typename Isa::Float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// Comparisons, but for those that are a minimum or a maximum, are made of whole numbers'
// arithmetic: GCC takes those of vectors apart in what is not compiled for one processor.

// All bits where a < b, for numbers; else none.
template <class Isa>
ELMO_INLINE typename Isa::Int is_less(typename Isa::Float a, typename Isa::Float b) {
  return bits_of<Isa>(a - b) >> 31;
}

template <class Isa>
ELMO_INLINE typename Isa::Float choose(typename Isa::Int which, typename Isa::Float yes,
                                       typename Isa::Float no) {
  return of_bits<Isa>((bits_of<Isa>(yes) & which) | (bits_of<Isa>(no) & ~which));
}

// All bits where x is not a number; else none.
template <class Isa> ELMO_INLINE typename Isa::Int is_nan(typename Isa::Float x) {
  typedef typename Isa::Int Int;
  const Int beyond_sign = Int{} + 0x7fffffff, infinity = Int{} + 0x7f800000;
  return (infinity - (bits_of<Isa>(x) & beyond_sign)) >> 31;
}

// x, or 0 where `clipped` lies on a bound: it was clamped to them. Not a number is on none.
template <class Isa>
ELMO_INLINE typename Isa::Float if_within(typename Isa::Float clipped, float bound,
                                          typename Isa::Float x) {
  typedef typename Isa::Int Int;
  const Int beyond_sign = Int{} + 0x7fffffff;
  const Int from_bound =
      (bits_of<Isa>(clipped) & beyond_sign) - bits_of<Isa>(splat<Isa>(bound));
  return of_bits<Isa>(bits_of<Isa>(x) & ((from_bound | -from_bound) >> 31));
}

// Not a number stays that: the pretraining loop looks for it.
template <class Isa>
ELMO_INLINE typename Isa::Float clamp(typename Isa::Float x, float low, float high) {
  const typename Isa::Float least = splat<Isa>(low), most = splat<Isa>(high);
  x = least > x ? least : x;
  return most < x ? most : x;
}

// exp(x) as 2^n · exp(r), |r| <= log(2) / 2, with a polynomial of Cephes (S. Moshier) for
// exp(r): off by 2 units in the last place.
template <class Isa> ELMO_INLINE typename Isa::Float exp(typename Isa::Float x) {
  typedef typename Isa::Float Float;
  x = clamp<Isa>(x, -87.0f, 88.0f);
  // Adding it rounds to a whole number, which then stands in the lowest bits.
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
  return sum * of_bits<Isa>((bits_of<Isa>(shifted) + 127) << 23);
}

template <class Isa> ELMO_INLINE typename Isa::Float sigmoid(typename Isa::Float x) {
  return 1.0f / (1.0f + exp<Isa>(-x));
}

template <class Isa> ELMO_INLINE typename Isa::Float tanh(typename Isa::Float x) {
  return 2.0f * sigmoid<Isa>(2.0f * x) - 1.0f;
}

// Instructions for bfloat16 are written as such: the compilers' names for them are many,
// and bound to functions for this processor alone. Clang binds assembly to those too, so
// that `has_bfloat16` says no of what it compiled, and nothing calls these.

// sums += left · right in pairs; each float stands for two neighbouring numbers.
ELMO_INLINE void add_pairs(Avx512::Float& sums, Avx512::Float left, Avx512::Float right) {
#if defined(__clang__)
  __builtin_trap();
#else
  asm("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
#endif
}

// Rounded to the nearest numbers.
template <class Isa> ELMO_INLINE void store(Bf16* to, typename Isa::Float numbers) {
#if defined(__clang__)
  __builtin_trap();
#else
  typedef int16_t Halves __attribute__((vector_size(32)));
  Halves rounded;
  asm("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(numbers));
  __builtin_memcpy(to, &rounded, sizeof rounded);
#endif
}

// bfloat16 numbers, each in the lower half of a vector's element.
template <class Isa> ELMO_INLINE typename Isa::Int load_bits(const Bf16* from) {
  typedef uint16_t Halves __attribute__((vector_size(2 * Isa::width)));
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  return __builtin_convertvector(halves, typename Isa::Int);
}

// What a kernel does is in its `run<Isa>(first, last)`, for a part of its work.
template <class Kernel>
__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))) void run_avx512(
    const Kernel& kernel, int64_t first, int64_t last) {
  kernel.template run<Avx512>(first, last);
}

template <class Kernel>
__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))) void run_avx512_bf16(
    const Kernel& kernel, int64_t first, int64_t last) {
  kernel.template run<Avx512Bf16>(first, last);
}

template <class Kernel>
__attribute__((target("avx2,fma"))) void run_avx2(const Kernel& kernel, int64_t first,
                                                  int64_t last) {
  kernel.template run<Avx2>(first, last);
}

// lanes: numbers of a vector in products, by which instructions have a name: 8 or 16
// floats, or 32 of bfloat16.
template <class Kernel>
void run_part(const Kernel& kernel, int64_t first, int64_t last, int lanes) {
  if (lanes == 32)
    run_avx512_bf16(kernel, first, last);
  else if (lanes == 16)
    run_avx512(kernel, first, last);
  else
    run_avx2(kernel, first, last);
}

// All of the work, `size` of its parts at a time. Which thread takes which is no matter
// to the numbers.
template <class Kernel>
void run_parts(const Kernel& kernel, int64_t n_parts, int64_t size, int lanes,
               int n_threads) {
#pragma omp parallel for schedule(dynamic) num_threads(n_threads < 1 ? 1 : n_threads)
  for (int64_t first = 0; first < n_parts; first += size)
    run_part(kernel, first, first + size < n_parts ? first + size : n_parts, lanes);
}

// Floats of a vector on this processor; 0 if it has no set of instructions that is known
// here.
inline int widest() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    return Avx512::width;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2::width;
  return 0;
}

// Whether it has products of bfloat16 numbers too, and this compiler could write them.
inline bool has_bfloat16() {
#if defined(__clang__)
  return false;
#else
  return widest() == Avx512::width && __builtin_cpu_supports("avx512bf16");
#endif
}

}  // namespace spacy_elmo
