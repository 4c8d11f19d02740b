// Fixed-width vectors of the compiler's vector extension: one source for SSE, AVX2, AVX-512 and NEON.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "types.h"

namespace gossamer {

// Internal linkage: every instruction set compiles its own, and the linker must not fold them into one.
namespace {

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

// Sums of four vectors: out[i] = sum of the lanes of v[i].
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
    using I = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    using Mask = Vec<I, W>;
    constexpr int H = W / 2, Q = W / 4;
    Mask low, high, first, second;
    for (int i = 0; i < W; ++i) {
      low[i] = i < H ? i : W + i - H;                   // lower halves of a and b
      high[i] = i < H ? H + i : W + i;                  // upper halves
      const int segment = i / Q, within = i % Q;        // quarters a, b, c, d
      const int base = (segment / 2) * W + (segment % 2) * H;
      first[i] = base + within;
      second[i] = base + Q + within;
    }
    const Vec<T, W> ab = __builtin_shuffle(v[0], v[1], low) + __builtin_shuffle(v[0], v[1], high);
    const Vec<T, W> cd = __builtin_shuffle(v[2], v[3], low) + __builtin_shuffle(v[2], v[3], high);
    Vec<T, W> sum = __builtin_shuffle(ab, cd, first) + __builtin_shuffle(ab, cd, second);
    for (int step = Q / 2; step >= 1; step /= 2) {
      Mask rotate;
      for (int i = 0; i < W; ++i) rotate[i] = (i / Q) * Q + (i % Q + step) % Q;
      sum = sum + __builtin_shuffle(sum, rotate);
    }
    for (int i = 0; i < 4; ++i) out[i] = sum[i * Q];
  }
}

}  // namespace
}  // namespace gossamer
