// x86-64: AVX2 and AVX-512, with VNNI for int8 and AVX512-BF16.

#pragma once

#include "types.hh"

namespace spacy_elmo {

struct Avx512 : Float32<16, 6> {};
struct Avx2 : Float32<8, 3> {};
struct Avx512Bf16 : Bfloat16<Avx512> {};
struct Avx512Half : HalfWeights<Avx512> {};
struct Avx2Half : HalfWeights<Avx2> {
  static constexpr int rows = 2;
};
struct Avx512Vnni : Int8<Avx512, 128> {};
struct AvxVnni : Int8<Avx2, 128> {};
struct Avx2Int8 : Int8<Avx2, 0> {
  static constexpr int rows = 2;
};

// Hides that a number is a constant: GCC compares and blends with constants, instead of
// using the instructions for minimum and maximum.
ELMO_INLINE float hide(float constant) {
  asm("" : "+x"(constant));
  return constant;
}

// The bfloat16 instructions are inline assembly: compilers disagree on the names of the
// intrinsics, which are bound to functions for this target alone. Clang binds inline
// assembly to its target too, so under Clang `processor_has` denies AVX512-BF16 and these
// are never called.

// sums += left · right in pairs; each float holds two neighboring bfloat16 numbers.
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

// So are the conversions from and to float16.

template <class Isa> ELMO_INLINE typename Isa::Float load_weights(const Half* from) {
  typename Isa::Float numbers{};
#if defined(__clang__)
  __builtin_trap();
#else
  typedef int16_t Halves
      __attribute__((vector_size(2 * Isa::width), aligned(2), may_alias));
  asm("vcvtph2ps %1, %0" : "=v"(numbers) : "m"(*reinterpret_cast<const Halves*>(from)));
#endif
  return numbers;
}

// Rounds to nearest even.
template <class Isa> ELMO_INLINE void store(Half* to, typename Isa::Float numbers) {
#if defined(__clang__)
  __builtin_trap();
#else
  typedef int16_t Halves __attribute__((vector_size(2 * Isa::width)));
  Halves rounded;
  asm("vcvtps2ph $0, %1, %0" : "=v"(rounded) : "v"(numbers));
  __builtin_memcpy(to, &rounded, sizeof rounded);
#endif
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

// The values are those of `InstructionSet.code` in instructions.py.
enum InstructionSet {
  kAvx2 = 1,
  kAvx512 = 2,
  kAvx512Bf16 = 3,
  kAvx2Int8 = 4,
  kAvxVnni = 5,
  kAvx512Vnni = 6,
  kAvx2Half = 11,
  kAvx512Half = 12,
};

// Whether the processor has an instruction set, and this compiler could use it.
inline bool processor_has(int isa) {
  switch (isa) {
    case kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#if !defined(__clang__)
    case kAvx512Bf16:
      return processor_has(kAvx512) && __builtin_cpu_supports("avx512bf16");
    case kAvx2Int8: return processor_has(kAvx2);
    case kAvxVnni: return processor_has(kAvx2) && __builtin_cpu_supports("avxvnni");
    case kAvx512Vnni:
      return processor_has(kAvx512) && __builtin_cpu_supports("avx512vnni");
    case kAvx2Half: return processor_has(kAvx2) && __builtin_cpu_supports("f16c");
    case kAvx512Half: return processor_has(kAvx512);
#endif
    default: return false;
  }
}

// Floats of a vector.
inline int64_t vector_width(int isa) {
  const bool is_avx2 = isa == kAvx2 || isa == kAvx2Int8 || isa == kAvxVnni ||
                       isa == kAvx2Half;
  return is_avx2 ? Avx2::width : Avx512::width;
}

// Whether its products in bfloat16 are of bfloat16 operands.
inline bool multiplies_bfloat16(int isa) { return isa == kAvx512Bf16; }

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
  if constexpr (kTakesHalf<Kernel>) {
    if (isa == kAvx512Half) return run_avx512<Avx512Half>(kernel, first, last);
    if (isa == kAvx2Half) return run_avx2<Avx2Half>(kernel, first, last);
  }
  if (isa == kAvx512Bf16)
    run_avx512<Avx512Bf16>(kernel, first, last);
  else if (isa == kAvx512)
    run_avx512<Avx512>(kernel, first, last);
  else
    run_avx2<Avx2>(kernel, first, last);
}

}  // namespace spacy_elmo
