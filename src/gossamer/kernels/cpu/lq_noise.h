// The factor of L_q noise on an array, as plain pointers and sizes; the mathematics stands in kernels/lq_noise.py.
#pragma once

#include <cstdint>

namespace gossamer {

constexpr std::int64_t kNoiseChunk = 64;  // elements whose masks are made at a time

// y = d (1 + slope (|x| + eps)^exponent xi), xi = -1 where an element is dropped and p/(1-p) where it is kept.
// With quarters = kDropout y = d r / (1-p), r = 0 where an element is dropped, else 1.
template <class T>
struct LqNoise {
  std::int64_t count;
  const T *d, *x;
  T* y;
  std::uint64_t seed;       // of the masks: element i of any array has the same mask under the same seed
  std::uint32_t threshold;  // p = (threshold + rest / 2^32) / 2^16
  std::uint32_t rest;
  T kept;            // p/(1-p), or 1/(1-p) with kDropout
  T slope, epsilon;
  double exponent;
  int quarters;      // 4 exponent where that is one of -4 ... 4, or one of the two below
  bool skip_zeros;   // 1 in the place of the factor where x = 0
};

constexpr int kDropout = 5, kAnyPower = 6;

// Elements [begin, end) in chunks.
template <class T>
using LqNoiseKernel = void (*)(const LqNoise<T>&, std::int64_t begin_chunk, std::int64_t end_chunk);

struct LqNoiseKernelSet {
  LqNoiseKernel<float> f32;
  LqNoiseKernel<double> f64;
};

}  // namespace gossamer
