// Vectors of doubles beside bytes, whole numbers and bits; and Philox4x32-10, several counters at a time.
#pragma once

#include <cstdint>
#include <cstring>

#include "vec.h"

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC 12's own header
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace gossamer {
namespace {

constexpr int kDoubles = kLanes<double>;
using Doubles = Vec<double, kDoubles>;
using Longs = Vec<std::int64_t, kDoubles>;
using Words = Vec<std::uint64_t, kDoubles>;

template <class To, class From>
inline To same_bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

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

// Of 64 bytes, one bit for each that is below a limit of at most 256.
inline std::uint64_t bytes_below(const std::uint8_t* p, int limit) {
  std::uint64_t bits = 0;
#if defined(__AVX2__)
  if (limit == 0) return 0;
  const __m256i last = _mm256_set1_epi8(char(limit - 1));
  for (int part = 0; part < 64; part += 32) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + part));
    const __m256i below = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, last), bytes);
    bits |= std::uint64_t(std::uint32_t(_mm256_movemask_epi8(below))) << part;
  }
#else
  for (int byte = 0; byte < 64; ++byte) bits |= std::uint64_t(p[byte] < limit) << byte;
#endif
  return bits;
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

// Bytes 0 or 255 as masks.
inline Longs load_mask(const std::uint8_t* p) {
#if defined(__AVX512F__)
  return same_bits<Longs>(_mm512_cvtepi8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  std::int32_t four;
  std::memcpy(&four, p, 4);
  return same_bits<Longs>(_mm256_cvtepi8_epi64(_mm_cvtsi32_si128(four)));
#else
  Longs result{};
  for (int lane = 0; lane < kDoubles; ++lane) result[lane] = std::int8_t(p[lane]);
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

// The product of the lower halves with a word of 32 bits.
inline Words multiply(Words a, std::uint32_t b) {
#if defined(__AVX512F__)
  return same_bits<Words>(_mm512_mul_epu32(same_bits<__m512i>(a), _mm512_set1_epi64(b)));
#elif defined(__AVX2__)
  return same_bits<Words>(_mm256_mul_epu32(same_bits<__m256i>(a), _mm256_set1_epi64x(b)));
#elif defined(__SSE2__)
  return same_bits<Words>(_mm_mul_epu32(same_bits<__m128i>(a), _mm_set1_epi64x(b)));
#else
  return (a & 0xffffffffu) * std::uint64_t(b);
#endif
}

// Philox4x32-10 (Salmon et al. 2011) under one seed: a counter of four words in each lane becomes four random words, where
// the upper halves of lanes are noise.
class PhiloxKeys {
 public:
  static constexpr std::uint32_t kFirst = 0xD2511F53u, kSecond = 0xCD9E8D57u, kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

  explicit PhiloxKeys(std::uint64_t seed) {
    auto key0 = std::uint32_t(seed), key1 = std::uint32_t(seed >> 32);
    for (int round = 0; round < 10; ++round, key0 += kWeyl0, key1 += kWeyl1) {
      first_[round] = Words{} + std::uint64_t(key0);
      second_[round] = Words{} + std::uint64_t(key1);
    }
  }

  void mix(Words* c) const {
    for (int round = 0; round < 10; ++round) {
      const Words first = multiply(c[0], kFirst), second = multiply(c[2], kSecond);
      c[0] = (second >> 32) ^ c[1] ^ first_[round];
      c[2] = (first >> 32) ^ c[3] ^ second_[round];
      c[1] = second;
      c[3] = first;
    }
  }

 private:
  Words first_[10], second_[10];
};

}  // namespace
}  // namespace gossamer
