// 64-bit ARM: NEON, which every processor has, and the instructions for bfloat16 and for
// int8 that only some have.

#pragma once

#if defined(__APPLE__)
#include <sys/sysctl.h>
#else
#include <sys/auxv.h>
#endif

#include "types.hh"

namespace spacy_elmo {

struct Neon : Float32<4, 6> {};
struct NeonBf16 : Bfloat16<Neon> {};
struct NeonHalf : HalfWeights<Neon> {};
struct NeonDotProd : Int8<Neon, 0> {};
struct NeonInt8 : Int8<Neon, 0> {
  static constexpr int rows = 4;
};

// Hides that a number is a constant, as on x86-64.
ELMO_INLINE float hide(float constant) {
  asm("" : "+w"(constant));
  return constant;
}

// The optional instructions are inline assembly: intrinsics are bound to functions for a
// target that has them.

// sums += left · right in pairs; each float holds two neighboring bfloat16 numbers.
ELMO_INLINE void add_pairs(Neon::Float& sums, Neon::Float left, Neon::Float right) {
  asm("bfdot %0.4s, %1.8h, %2.8h" : "+w"(sums) : "w"(left), "w"(right));
}

// Rounds to nearest even.
template <class Isa> ELMO_INLINE void store(Bf16* to, typename Isa::Float numbers) {
  typedef int16_t Halves __attribute__((vector_size(8)));
  Halves rounded;
  asm("bfcvtn %0.4h, %1.4s" : "=w"(rounded) : "w"(numbers));
  __builtin_memcpy(to, &rounded, sizeof rounded);
}

template <class Isa> ELMO_INLINE typename Isa::Float load_weights(const Half* from) {
  typedef int16_t Halves __attribute__((vector_size(8)));
  Halves halves;
  typename Isa::Float numbers;
  __builtin_memcpy(&halves, from, sizeof halves);
  asm("fcvtl %0.4s, %1.4h" : "=w"(numbers) : "w"(halves));
  return numbers;
}

// Rounds to nearest even.
template <class Isa> ELMO_INLINE void store(Half* to, typename Isa::Float numbers) {
  typedef int16_t Halves __attribute__((vector_size(8)));
  Halves rounded;
  asm("fcvtn %0.4h, %1.4s" : "=w"(rounded) : "w"(numbers));
  __builtin_memcpy(to, &rounded, sizeof rounded);
}

// Returns sums plus the products of the quads of left and right, both signed.
template <class Isa>
ELMO_INLINE Neon::Int add_quads(Neon::Int sums, Neon::Int left, Neon::Int right) {
  asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(left), "w"(right));
  return sums;
}

// The same on any processor. Sums of two products fit in 16 bits, because no integer
// exceeds 127 in magnitude.
template <>
ELMO_INLINE Neon::Int add_quads<NeonInt8>(Neon::Int sums, Neon::Int left,
                                          Neon::Int right) {
  Neon::Int low, high;  // products, 16 bits each
  asm("smull %0.8h, %1.8b, %2.8b" : "=w"(low) : "w"(left), "w"(right));
  asm("smull2 %0.8h, %1.16b, %2.16b" : "=w"(high) : "w"(left), "w"(right));
  asm("addp %0.8h, %1.8h, %2.8h" : "=w"(low) : "w"(low), "w"(high));
  asm("sadalp %0.4s, %1.8h" : "+w"(sums) : "w"(low));
  return sums;
}

// The values are those of `InstructionSet.code` in instructions.py.
enum InstructionSet {
  kNeon = 7,
  kNeonInt8 = 8,
  kNeonDotProd = 9,
  kNeonBf16 = 10,
  kNeonHalf = 13,
};

struct Features {
  bool dot_products, bfloat16;
};

// The optional instructions of this processor.
inline Features find_features() {
#if defined(__APPLE__)
  const auto has = [](const char* name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  return {has("hw.optional.arm.FEAT_DotProd"), has("hw.optional.arm.FEAT_BF16")};
#else
  // HWCAP_ASIMDDP and HWCAP2_BF16, which old headers do not define.
  return {(getauxval(AT_HWCAP) >> 20 & 1) != 0, (getauxval(AT_HWCAP2) >> 14 & 1) != 0};
#endif
}

// Whether the processor has an instruction set.
inline bool processor_has(int isa) {
  static const Features features = find_features();
  switch (isa) {
    case kNeon:
    case kNeonInt8:
    case kNeonHalf: return true;
    case kNeonDotProd: return features.dot_products;
    case kNeonBf16: return features.dot_products && features.bfloat16;
    default: return false;
  }
}

// Floats of a vector.
inline int64_t vector_width(int) { return Neon::width; }

// Whether its products in bfloat16 are of bfloat16 operands.
inline bool multiplies_bfloat16(int isa) { return isa == kNeonBf16; }

// Attributes of a function that uses optional instructions, unless all functions may.
#if defined(__ARM_FEATURE_DOTPROD)
#define ELMO_DOT_PRODUCTS
#elif defined(__clang__)
#define ELMO_DOT_PRODUCTS __attribute__((target("dotprod")))
#else
#define ELMO_DOT_PRODUCTS __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define ELMO_BFLOAT16
#elif defined(__clang__)
#define ELMO_BFLOAT16 __attribute__((target("bf16")))
#else
#define ELMO_BFLOAT16 __attribute__((target("arch=armv8.2-a+bf16")))
#endif

// A kernel's `run<Isa>(first, last)` computes some of its parts. One function for each
// instruction set, so that none reserves the others' stack.
template <class Isa, class Kernel>
__attribute__((noinline)) void run_neon(const Kernel& kernel, int64_t first,
                                        int64_t last) {
  kernel.template run<Isa>(first, last);
}

template <class Kernel>
__attribute__((noinline)) ELMO_DOT_PRODUCTS void run_dot_products(const Kernel& kernel,
                                                                  int64_t first,
                                                                  int64_t last) {
  kernel.template run<NeonDotProd>(first, last);
}

template <class Kernel>
__attribute__((noinline)) ELMO_BFLOAT16 void run_bfloat16(const Kernel& kernel,
                                                          int64_t first, int64_t last) {
  kernel.template run<NeonBf16>(first, last);
}

template <class Kernel>
void run_part(const Kernel& kernel, int64_t first, int64_t last, int isa) {
  if constexpr (kTakesInt8<Kernel>) {
    if (isa == kNeonDotProd) return run_dot_products(kernel, first, last);
    if (isa == kNeonInt8) return run_neon<NeonInt8>(kernel, first, last);
  }
  if constexpr (kTakesHalf<Kernel>)
    if (isa == kNeonHalf) return run_neon<NeonHalf>(kernel, first, last);
  if (isa == kNeonBf16)
    run_bfloat16(kernel, first, last);
  else
    run_neon<Neon>(kernel, first, last);
}

}  // namespace spacy_elmo
