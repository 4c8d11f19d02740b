// Vectors of doubles beside bytes, whole numbers and bits.
#pragma once

#include <cstdint>
#include <cstring>

#include "philox.h"
#include "vec.h"

namespace gossamer {
namespace {

using Doubles = Vec<double, kDoubles>;
using Longs = Vec<std::int64_t, kDoubles>;

inline Doubles load_doubles(const double* p) { return load<double, kDoubles>(p); }
inline Doubles all(double value) { return broadcast<double, kDoubles>(value); }
inline Doubles magnitude(Doubles value) {
  return same_bits<Doubles>(same_bits<Longs>(value) & std::int64_t(0x7fffffffffffffff));
}
inline Doubles sign_of(Doubles value) {  // 1 or -1
  return same_bits<Doubles>((same_bits<Longs>(value) & std::int64_t(-0x7fffffffffffffff - 1)) | same_bits<Longs>(all(1)));
}
inline double sum_of(Doubles value) {
  double sum = 0;
  for (int lane = 0; lane < kDoubles; ++lane) sum += value[lane];
  return sum;
}
inline Doubles where(Longs mask, Doubles value) { return same_bits<Doubles>(same_bits<Longs>(value) & mask); }

// One bit for each lane of a mask, the first lane lowest.
inline std::uint64_t bits_of(Longs mask) {
#if defined(__AVX512F__)
  return std::uint64_t(_mm512_movepi64_mask(same_bits<__m512i>(mask)));
#elif defined(__AVX2__)
  return std::uint64_t(_mm256_movemask_pd(same_bits<__m256d>(mask)));
#elif defined(__SSE2__)
  return std::uint64_t(_mm_movemask_pd(same_bits<__m128d>(mask)));
#else
  std::uint64_t bits = 0;
  for (int lane = 0; lane < kDoubles; ++lane) bits |= std::uint64_t(mask[lane] != 0) << lane;
  return bits;
#endif
}

// The lowest bits of a word, one after the other, where a mask has ones.
inline std::uint64_t deposit(std::uint64_t bits, std::uint64_t mask) {
#if defined(__BMI2__)
  return _pdep_u64(bits, mask);
#else
  std::uint64_t result = 0;
  for (; bits && mask; bits >>= 1, mask &= mask - 1) {
    if (bits & 1) result |= mask & -mask;
  }
  return result;
#endif
}

// Bytes 0 or 1 as doubles.
inline Doubles load_bytes(const std::uint8_t* p) {
#if defined(__AVX512F__)
  return same_bits<Doubles>(
      _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))));
#elif defined(__AVX2__)
  std::int32_t four;
  std::memcpy(&four, p, 4);
  return same_bits<Doubles>(_mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four))));
#else
  Doubles result{};
  for (int lane = 0; lane < kDoubles; ++lane) result[lane] = p[lane];
  return result;
#endif
}

inline Doubles load_whole(const std::int32_t* p) {
#if defined(__AVX512F__)
  return same_bits<Doubles>(_mm512_cvtepi32_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__AVX2__)
  return same_bits<Doubles>(_mm256_cvtepi32_pd(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__SSE2__)
  return same_bits<Doubles>(_mm_cvtepi32_pd(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  Doubles result{};
  for (int lane = 0; lane < kDoubles; ++lane) result[lane] = p[lane];
  return result;
#endif
}

}  // namespace
}  // namespace gossamer
