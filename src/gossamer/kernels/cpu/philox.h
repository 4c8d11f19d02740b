// Philox4x32-10, a generator whose numbers follow from a seed and a counter alone; several counters at a time.
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
using Words = Vec<std::uint64_t, kDoubles>;

template <class To, class From>
inline To same_bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof result);
  return result;
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

// Philox4x32-10 (Salmon et al. 2011): a counter of four words becomes four random words.
struct Philox {
  static constexpr std::uint32_t kFirst = 0xD2511F53u, kSecond = 0xCD9E8D57u, kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

  static std::uint32_t first_word(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2, std::uint32_t c3,
                                  std::uint64_t seed) {
    auto key0 = std::uint32_t(seed), key1 = std::uint32_t(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t first = std::uint64_t(c0) * kFirst, second = std::uint64_t(c2) * kSecond;
      c0 = std::uint32_t(second >> 32) ^ c1 ^ key0;
      c2 = std::uint32_t(first >> 32) ^ c3 ^ key1;
      c1 = std::uint32_t(second);
      c3 = std::uint32_t(first);
      key0 += kWeyl0;
      key1 += kWeyl1;
    }
    return c0;
  }
};

// The keys of all rounds of a seed; and the same for a counter in each lane, where the upper halves of lanes are noise.
class PhiloxKeys {
 public:
  explicit PhiloxKeys(std::uint64_t seed) {
    auto key0 = std::uint32_t(seed), key1 = std::uint32_t(seed >> 32);
    for (int round = 0; round < 10; ++round, key0 += Philox::kWeyl0, key1 += Philox::kWeyl1) {
      first_[round] = Words{} + std::uint64_t(key0);
      second_[round] = Words{} + std::uint64_t(key1);
    }
  }

  void mix(Words* c) const {
    for (int round = 0; round < 10; ++round) {
      const Words first = multiply(c[0], Philox::kFirst), second = multiply(c[2], Philox::kSecond);
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
