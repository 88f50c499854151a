// SIMD vectors of floats for each instruction set, elementwise functions of them, and the
// dispatch of a kernel to an instruction set and to threads.

#pragma once

#include <cstdint>
#include <cstring>

#if !defined(__GNUC__) || !defined(__x86_64__)
#error "The kernels need the vector extensions of GCC or Clang, and x86-64."
#endif

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

// Two neighbouring bfloat16 numbers.
struct Pair {
  int32_t bits;
};

// Four neighbouring 8-bit integers.
struct Quad {
  int32_t bits;
};

// An instruction set: the width of its vectors in floats, the rows of a tile whose sums
// its registers hold, the operands of its matrix products, and the unit in which its
// multiply-add takes them.
struct Avx512 {
  typedef float Operand;
  typedef float Unit;
  static constexpr int per_unit = 1;
  static constexpr int width = 16, rows = 6;
  static constexpr bool is_int8 = false;
  typedef Lanes<16>::Float Float;
  typedef Lanes<16>::Int Int;
};
struct Avx2 {
  typedef float Operand;
  typedef float Unit;
  static constexpr int per_unit = 1;
  static constexpr int width = 8, rows = 3;
  static constexpr bool is_int8 = false;
  typedef Lanes<8>::Float Float;
  typedef Lanes<8>::Int Int;
};
// Multiplies pairs of bfloat16 numbers and accumulates in float32.
struct Avx512Bf16 : Avx512 {
  typedef Bf16 Operand;
  typedef Pair Unit;
  static constexpr int per_unit = 2;
};

// Multiplies quads of 8-bit integers and accumulates in int32. A row's integers are stored
// with `zero` added: VNNI multiplies unsigned by signed ones.
template <class Base> struct Int8 : Base {
  typedef int8_t Operand;
  typedef Quad Unit;
  static constexpr int per_unit = 4;
  static constexpr bool is_int8 = true;
};
struct Avx512Vnni : Int8<Avx512> {
  static constexpr int zero = 128;
};
struct AvxVnni : Int8<Avx2> {
  static constexpr int zero = 128;
};
struct Avx2Int8 : Int8<Avx2> {
  static constexpr int rows = 2, zero = 0;
};

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

// Hides that a number is a constant: GCC compares and blends with constants, instead of
// using the instructions for minimum and maximum.
ELMO_INLINE float hide(float constant) {
  asm("" : "+x"(constant));
  return constant;
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

// The bfloat16 instructions are inline assembly: compilers disagree on the names of the
// intrinsics, which are bound to functions for this target alone. Clang binds inline
// assembly to its target too, so under Clang `processor_has` denies AVX512-BF16 and these
// are never called.

// sums += left · right in pairs; each float holds two neighbouring bfloat16 numbers.
ELMO_INLINE void add_pairs(Avx512::Float& sums, Avx512::Float left, Avx512::Float right) {
#if defined(__clang__)
  __builtin_trap();
#else
  asm("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
#endif
}

// Rounds to nearest even.
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

// The products with int8 are inline assembly for the same reason.

// Returns sums plus the products of the quads of left, unsigned, and right, signed.
template <class Isa>
ELMO_INLINE typename Isa::Int add_quads(typename Isa::Int sums, typename Isa::Int left,
                                        typename Isa::Int right) {
#if defined(__clang__)
  __builtin_trap();
#else
  if constexpr (Isa::width == Avx512::width)
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
  else
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(left), "x"(right));
#endif
  return sums;
}

// The same without VNNI, both factors signed. Sums of two products are saturated at 16
// bits, which |left| · |right| <= 127 · 127 never are.
template <>
ELMO_INLINE Avx2::Int add_quads<Avx2Int8>(Avx2::Int sums, Avx2::Int left,
                                          Avx2::Int right) {
#if defined(__clang__)
  __builtin_trap();
#else
  Avx2::Int magnitude, products;
  const Avx2::Int ones = Avx2::Int{} + 0x00010001;
  asm("vpabsb %1, %0" : "=x"(magnitude) : "x"(left));
  asm("vpsignb %2, %1, %0" : "=x"(products) : "x"(right), "x"(left));
  asm("vpmaddubsw %1, %2, %0" : "=x"(products) : "x"(products), "x"(magnitude));
  asm("vpmaddwd %2, %1, %0" : "=x"(products) : "x"(products), "x"(ones));
  sums += products;
#endif
  return sums;
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

// The values are those of `InstructionSet.code` in instructions.py.
enum InstructionSet {
  kAvx2 = 1,
  kAvx512 = 2,
  kAvx512Bf16 = 3,
  kAvx2Int8 = 4,
  kAvxVnni = 5,
  kAvx512Vnni = 6,
};

// Whether the processor has an instruction set, and this compiler could use it.
inline bool processor_has(int isa) {
  switch (isa) {
    case kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    case kAvx512Bf16:
#if defined(__clang__)
      return false;
#else
      return processor_has(kAvx512) && __builtin_cpu_supports("avx512bf16");
#endif
    case kAvx2Int8:
#if defined(__clang__)
      return false;
#else
      return processor_has(kAvx2);
#endif
    case kAvxVnni:
      return processor_has(kAvx2Int8) && __builtin_cpu_supports("avxvnni");
    case kAvx512Vnni:
      return processor_has(kAvx2Int8) && processor_has(kAvx512) &&
             __builtin_cpu_supports("avx512vnni");
    default: return false;
  }
}

// Floats of a vector.
inline int64_t vector_width(int isa) {
  const bool is_avx2 = isa == kAvx2 || isa == kAvx2Int8 || isa == kAvxVnni;
  return is_avx2 ? Avx2::width : Avx512::width;
}

// Whether a kernel computes with int8, too.
template <class Kernel> constexpr bool kTakesInt8 = false;

// A kernel's `run<Isa>(first, last)` computes some of its parts.
template <class Isa, class Kernel>
__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))) void run_avx512(
    const Kernel& kernel, int64_t first, int64_t last) {
  kernel.template run<Isa>(first, last);
}

template <class Isa, class Kernel>
__attribute__((target("avx2,fma"))) void run_avx2(const Kernel& kernel, int64_t first,
                                                  int64_t last) {
  kernel.template run<Isa>(first, last);
}

template <class Kernel>
void run_part(const Kernel& kernel, int64_t first, int64_t last, int isa) {
  if constexpr (kTakesInt8<Kernel>) {
    if (isa == kAvx512Vnni) return run_avx512<Avx512Vnni>(kernel, first, last);
    if (isa == kAvxVnni) return run_avx2<AvxVnni>(kernel, first, last);
    if (isa == kAvx2Int8) return run_avx2<Avx2Int8>(kernel, first, last);
  }
  if (isa == kAvx512Bf16)
    run_avx512<Avx512Bf16>(kernel, first, last);
  else if (isa == kAvx512)
    run_avx512<Avx512>(kernel, first, last);
  else
    run_avx2<Avx2>(kernel, first, last);
}

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
