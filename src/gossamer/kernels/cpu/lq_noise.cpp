// Mask, power and product of L_q noise in one pass. Masks follow from a seed and the number of an element alone, so the
// backward pass makes them again, on any number of threads and with any instruction set.

#include "lq_noise.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "philox.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

template <class T>
struct of_its_size;
template <>
struct of_its_size<float> {
  using type = std::int32_t;
};
template <>
struct of_its_size<double> {
  using type = std::int64_t;
};
template <class T, int W>
using Lanes = Vec<typename of_its_size<T>::type, W>;  // -1 or 0, or the bits of numbers

// ---- masks: 16 bits decide about an element, and 32 more in one case of 65536 ---------------------------------------

struct Masks {
  alignas(64) std::int16_t dropped[kNoiseChunk];  // -1 or 0

  // Counters 8 c ... 8 c + 7 make chunk c: their first and second words its lower half, the others its upper half.
  void make(std::int64_t chunk, const PhiloxKeys& keys, std::uint64_t seed, std::uint32_t threshold, std::uint32_t rest) {
    constexpr int kCounters = 8;
    static_assert(kCounters % kDoubles == 0);
    alignas(64) std::uint64_t words[2 * kCounters];
    for (int first = 0; first < kCounters; first += kDoubles) {
      Words c[4] = {};
      for (int lane = 0; lane < kDoubles; ++lane) c[0][lane] = std::uint64_t(lane);
      const std::uint64_t at = std::uint64_t(chunk) * kCounters + std::uint64_t(first);
      c[0] += at;  // a multiple of the lanes: no carry from one half to the other
      c[1] = c[0] >> 32;
      keys.mix(c);
      const Words low = (c[0] & 0xffffffffull) | (c[1] << 32), high = (c[2] & 0xffffffffull) | (c[3] << 32);
      std::memcpy(words + first, &low, sizeof low);
      std::memcpy(words + kCounters + first, &high, sizeof high);
    }
    constexpr int V = kVectorBytes / 2;
    using Halves = Vec<std::uint16_t, V>;
    const auto limit = std::uint16_t(threshold);
    Vec<std::int16_t, V> ties{};
    for (int i = 0; i < kNoiseChunk; i += V) {
      Halves u;
      std::memcpy(&u, reinterpret_cast<const char*>(words) + 2 * i, sizeof u);
      const auto below = u < (Halves{} + limit);
      ties |= u == (Halves{} + limit);
      std::memcpy(dropped + i, &below, sizeof below);
    }
    std::uint64_t parts[kVectorBytes / 8], any = 0;
    std::memcpy(parts, &ties, sizeof ties);
    for (const std::uint64_t part : parts) any |= part;
    if (any) decide_ties(words, chunk, seed, limit, rest);
  }

 private:
  __attribute__((noinline)) void decide_ties(const std::uint64_t* words, std::int64_t chunk, std::uint64_t seed,
                                             std::uint16_t limit, std::uint32_t rest) {
    for (int i = 0; i < kNoiseChunk; ++i) {
      std::uint16_t u;
      std::memcpy(&u, reinterpret_cast<const char*>(words) + 2 * i, sizeof u);
      if (u != limit) continue;
      const std::uint64_t element = std::uint64_t(chunk) * kNoiseChunk + std::uint64_t(i);
      const std::uint32_t v = Philox::first_word(std::uint32_t(element), std::uint32_t(element >> 32), 1, 0, seed);
      dropped[i] = v < rest ? -1 : 0;
    }
  }
};

// ---- powers ----------------------------------------------------------------------------------------------------------

template <class T, int W>
Vec<T, W> square_root(Vec<T, W> a) {
#if defined(__AVX512F__)
  if constexpr (sizeof a == 64) {
    if constexpr (sizeof(T) == 4) return same_bits<Vec<T, W>>(_mm512_sqrt_ps(same_bits<__m512>(a)));
    else return same_bits<Vec<T, W>>(_mm512_sqrt_pd(same_bits<__m512d>(a)));
  }
#elif defined(__AVX2__)
  if constexpr (sizeof a == 32) {
    if constexpr (sizeof(T) == 4) return same_bits<Vec<T, W>>(_mm256_sqrt_ps(same_bits<__m256>(a)));
    else return same_bits<Vec<T, W>>(_mm256_sqrt_pd(same_bits<__m256d>(a)));
  }
#elif defined(__SSE2__)
  if constexpr (sizeof a == 16) {
    if constexpr (sizeof(T) == 4) return same_bits<Vec<T, W>>(_mm_sqrt_ps(same_bits<__m128>(a)));
    else return same_bits<Vec<T, W>>(_mm_sqrt_pd(same_bits<__m128d>(a)));
  }
#endif
  for (int lane = 0; lane < W; ++lane) a[lane] = std::sqrt(a[lane]);
  return a;
}

// a^exponent of positive floats to (2 + |exponent|) units in the last place: a = 2^k m with m in [sqrt(1/2), sqrt(2)),
// log2 m by the series of 2 artanh((m - 1) / (m + 1)), 2^f with f about in [-1/2, 1/2] by that of exp. The exponent has a
// part of 12 bits, whose products with k are exact: so the whole part of the power costs no accuracy.
template <int W>
__attribute__((always_inline)) inline Vec<float, W> any_power(Vec<float, W> a, double exponent) {
  using F = Vec<float, W>;
  using I = Vec<std::int32_t, W>;
  constexpr std::int32_t kHalfRoot = 0x3f3504f3;  // sqrt(1/2)
  constexpr float kRound = 12582912.0f;           // 1.5 * 2^23: what is added to it becomes a whole number
  const auto whole_exponent = float(exponent);
  const float high = same_bits<float>(same_bits<std::int32_t>(whole_exponent) & std::int32_t(0xfffff000));
  const auto low = float(exponent - double(high));
  const I bits = same_bits<I>(a), k = (bits - kHalfRoot) >> 23;
  const F m = same_bits<F>(bits - (k << 23)), kf = __builtin_convertvector(k, F);
  const F z = (m - 1.0f) / (m + 1.0f), z2 = z * z;
  F series = z2 * (1.0f / 9) + 1.0f / 7;
  series = series * z2 + 1.0f / 5;
  series = series * z2 + 1.0f / 3;
  const F w = z * 2.8853900817779268f;  // 2 / ln 2
  const F log2 = w + w * (z2 * series);
  const F exact = kf * high, rest = kf * low + log2 * whole_exponent;
  F whole = exact + rest;
  whole = whole < -250.0f ? F{} - 250.0f : whole;
  whole = whole > 250.0f ? F{} + 250.0f : whole;
  const F shifted = whole + kRound;
  F f = (exact - (shifted - kRound)) + rest;
  f = f < -1.0f ? F{} - 1.0f : f;  // where the power overflows or vanishes
  f = (f > 1.0f ? F{} + 1.0f : f) * 0.69314718055994531f;
  F e = f * (1.0f / 5040) + 1.0f / 720;
  e = e * f + 1.0f / 120;
  e = e * f + 1.0f / 24;
  e = e * f + 1.0f / 6;
  e = e * f + 0.5f;
  e = e * f + 1.0f;
  e = e * f + 1.0f;
  const I n = same_bits<I>(shifted) - same_bits<std::int32_t>(kRound), half = n >> 1;
  const F result = e * same_bits<F>((half + 127) << 23) * same_bits<F>((n - half + 127) << 23);
  return a == a ? result : a;  // NaN stays NaN
}

template <int W>
inline Vec<double, W> any_power(Vec<double, W> a, double exponent) {
  for (int lane = 0; lane < W; ++lane) a[lane] = std::pow(a[lane], exponent);
  return a;
}

// a^(quarters/4)
template <class T, int W, int quarters>
Vec<T, W> power(Vec<T, W> a, double exponent) {
  if constexpr (quarters == kAnyPower) {
    return any_power<W>(a, exponent);
  } else if constexpr (quarters < 0) {
    return T(1) / power<T, W, -quarters>(a, exponent);
  } else if constexpr (quarters == 4) {
    return a;
  } else {
    const Vec<T, W> root = square_root<T, W>(a);
    if constexpr (quarters == 2) return root;
    if constexpr (quarters == 1) return square_root<T, W>(root);
    return root * square_root<T, W>(root);
  }
}

// ---- the pass ----------------------------------------------------------------------------------------------------------

template <class T, int W, int quarters>
Vec<T, W> noisy(const LqNoise<T>& job, Vec<T, W> d, Vec<T, W> x, const std::int16_t* dropped) {
  using Mask = Lanes<T, W>;
  const Vec<T, W> zero{};
  Vec<std::int16_t, W> narrow;
  std::memcpy(&narrow, dropped, sizeof narrow);
  const Mask drop = __builtin_convertvector(narrow, Mask);
  if constexpr (quarters == kDropout) {
    return d * (drop ? zero : zero + job.kept);
  } else {
    const Vec<T, W> xi = drop ? zero - T(1) : zero + job.kept;
    const Vec<T, W> size = x < zero ? -x : x;
    Vec<T, W> noise = job.slope * xi;
    if constexpr (quarters != 0) noise *= power<T, W, quarters>(size + job.epsilon, job.exponent);
    if (job.skip_zeros) noise = x == zero ? zero : noise;
    return d * (noise + T(1));
  }
}

template <class T, int quarters>
void pass(const LqNoise<T>& job, std::int64_t begin, std::int64_t end) {
  constexpr int W = kLanes<T>;
  const PhiloxKeys keys(job.seed);
  Masks masks;
  for (std::int64_t chunk = begin; chunk < end; ++chunk) {
    masks.make(chunk, keys, job.seed, job.threshold, job.rest);
    const std::int64_t first = chunk * kNoiseChunk, left = job.count - first;
    if (left >= kNoiseChunk) {
      for (std::int64_t i = 0; i < kNoiseChunk; i += W) {
        const Vec<T, W> d = load<T, W>(job.d + first + i), x = load<T, W>(job.x + first + i);
        store<T, W>(job.y + first + i, noisy<T, W, quarters>(job, d, x, masks.dropped + i));
      }
      continue;
    }
    alignas(64) T d[kNoiseChunk] = {}, x[kNoiseChunk] = {}, y[kNoiseChunk];  // of the last, incomplete chunk
    std::copy_n(job.d + first, left, d);
    std::copy_n(job.x + first, left, x);
    for (std::int64_t i = 0; i < kNoiseChunk; i += W) {
      store<T, W>(y + i, noisy<T, W, quarters>(job, load<T, W>(d + i), load<T, W>(x + i), masks.dropped + i));
    }
    std::copy_n(y, left, job.y + first);
  }
}

template <class T>
void run(const LqNoise<T>& job, std::int64_t begin, std::int64_t end) {
  switch (job.quarters) {
    case -4: return pass<T, -4>(job, begin, end);
    case -3: return pass<T, -3>(job, begin, end);
    case -2: return pass<T, -2>(job, begin, end);
    case -1: return pass<T, -1>(job, begin, end);
    case 0: return pass<T, 0>(job, begin, end);
    case 1: return pass<T, 1>(job, begin, end);
    case 2: return pass<T, 2>(job, begin, end);
    case 3: return pass<T, 3>(job, begin, end);
    case 4: return pass<T, 4>(job, begin, end);
    case kDropout: return pass<T, kDropout>(job, begin, end);
    default: return pass<T, kAnyPower>(job, begin, end);
  }
}

}  // namespace

extern const LqNoiseKernelSet lq_noise_kernels;
const LqNoiseKernelSet lq_noise_kernels{run<float>, run<double>};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
