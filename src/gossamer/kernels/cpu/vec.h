// Fixed-width vectors of the compiler's vector extension: one source for SSE, AVX2, AVX-512 and NEON.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "types.h"

// The namespace of what is compiled once for every instruction set.
#ifndef GOSSAMER_ISA
#define GOSSAMER_ISA baseline
#endif

namespace gossamer {

// Internal linkage: every instruction set compiles its own, and the linker must not fold them into one.
namespace {

// Bytes of a vector, and registers that hold one, with the instruction set that this file is compiled for.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kRegisters = 32;
#else
constexpr int kVectorBytes = 16, kRegisters = 16;
#endif

template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));  // of a full vector

// Vectors of the tile that a product works on. Of each, spmm holds a sum; spmm_sddmm holds a sum and a factor, beside the
// values and inner products of four entries.
constexpr int kSpmmVectors = 8, kSddmmVectors = kRegisters / 4;

inline float widen(bfloat16 value) {
  std::uint32_t bits = std::uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}
inline float widen(float value) { return value; }
inline double widen(double value) { return value; }

inline bfloat16 narrow_bfloat16(float value) {  // round to nearest, ties to even; a NaN stays a NaN
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {std::uint16_t((bits >> 16) | 0x40u)};
  return {std::uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
template <class S>
inline S narrow(Compute<S> value) {
  if constexpr (std::is_same_v<S, bfloat16>) {
    return narrow_bfloat16(value);
  } else {
    return value;
  }
}

template <class T, int W>
struct vector_of {
  typedef T type __attribute__((vector_size(W * sizeof(T))));
};
template <class T>
struct vector_of<T, 1> {
  using type = T;
};
template <class T, int W>
using Vec = typename vector_of<T, W>::type;

// Vec<float, W> from W stored elements, converted if the storage is narrower.
template <class S, int W>
inline Vec<Compute<S>, W> load(const S* p) {
  if constexpr (W == 1) {
    return widen(*p);
  } else if constexpr (std::is_same_v<S, bfloat16>) {
    Vec<std::uint16_t, W> half;
    std::memcpy(&half, p, sizeof half);
    const Vec<std::uint32_t, W> word = __builtin_convertvector(half, Vec<std::uint32_t, W>) << 16;
    Vec<float, W> result;
    std::memcpy(&result, &word, sizeof result);
    return result;
  } else {
    Vec<S, W> result;
    std::memcpy(&result, p, sizeof result);
    return result;
  }
}

template <class S, int W>
inline void store(S* p, Vec<Compute<S>, W> value) {
  if constexpr (W == 1) {
    *p = narrow<S>(value);
  } else if constexpr (std::is_same_v<S, bfloat16>) {
    for (int i = 0; i < W; ++i) p[i] = narrow_bfloat16(value[i]);
  } else {
    std::memcpy(p, &value, sizeof value);
  }
}

template <class T, int W>
inline Vec<T, W> broadcast(T value) {
  if constexpr (W == 1) {
    return value;
  } else {
    return value - Vec<T, W>{};  // the extension has no splat; scalar op vector broadcasts
  }
}

template <class T, int W>
inline Vec<T, W> max0(Vec<T, W> value) {  // ReLU; NaN passes through
  if constexpr (W == 1) {
    return value < T(0) ? T(0) : value;
  } else {
    return value < Vec<T, W>{} ? Vec<T, W>{} : value;
  }
}

// Lanes of two vectors, chosen by constants: lane i of the result is lane pick(i) of a, or lane pick(i) - W of b.
template <class T, int W, class Pick, std::size_t... I>
inline Vec<T, W> shuffle(Vec<T, W> a, Vec<T, W> b, Pick, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, Pick::lane(int(I))...);
}

template <int W, int half>
struct HalvesOfTwo {  // the lower (or upper) half of a, then that of b
  static constexpr int lane(int i) { return (i < W / 2 ? i : W + i - W / 2) + half * (W / 2); }
};
template <int W, int half>
struct QuartersOfFour {  // a and b hold two segments each: the first (or second) half of every segment
  static constexpr int lane(int i) { return (i / (W / 4)) * (W / 2) + half * (W / 4) + i % (W / 4); }
};
template <int W, int step>
struct RotateQuarters {
  static constexpr int lane(int i) { return (i / (W / 4)) * (W / 4) + (i % (W / 4) + step) % (W / 4); }
};

template <class T, int W, int step>
inline Vec<T, W> sum_quarters(Vec<T, W> v) {
  if constexpr (step == 0) {
    return v;
  } else {
    return sum_quarters<T, W, step / 2>(
        v + shuffle<T, W>(v, v, RotateQuarters<W, step>(), std::make_index_sequence<W>()));
  }
}

// Sums of the lanes of four vectors: out[i] = sum of v[i]. Halves are added and packed until four lanes-to-be are left.
template <class T, int W>
inline void sum_of_four(const Vec<T, W>* v, T* out) {
  if constexpr (W == 1) {
    for (int i = 0; i < 4; ++i) out[i] = v[i];
  } else if constexpr (W < 4) {
    for (int i = 0; i < 4; ++i) {
      T sum = 0;
      for (int lane = 0; lane < W; ++lane) sum += v[i][lane];
      out[i] = sum;
    }
  } else {
    constexpr auto lanes = std::make_index_sequence<W>();
    const auto add = [&](Vec<T, W> a, Vec<T, W> b, auto first, auto second) {
      return shuffle<T, W>(a, b, first, lanes) + shuffle<T, W>(a, b, second, lanes);
    };
    const Vec<T, W> ab = add(v[0], v[1], HalvesOfTwo<W, 0>(), HalvesOfTwo<W, 1>());
    const Vec<T, W> cd = add(v[2], v[3], HalvesOfTwo<W, 0>(), HalvesOfTwo<W, 1>());
    const Vec<T, W> sums = add(ab, cd, QuartersOfFour<W, 0>(), QuartersOfFour<W, 1>());
    const Vec<T, W> total = sum_quarters<T, W, W / 8>(sums);
    for (int i = 0; i < 4; ++i) out[i] = total[i * (W / 4)];
  }
}

}  // namespace
}  // namespace gossamer
