// L_q noise of random arrays on several threads, against a plain loop with std::pow. Made to run under sanitizers: every
// array is exactly as long as it has to be, so that a read or write past its end is caught.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <thread>
#include <type_traits>
#include <vector>

#include "lq_noise.h"

using namespace gossamer;
namespace gossamer::baseline {
extern const LqNoiseKernelSet lq_noise_kernels;
}

namespace {

std::mt19937_64 source(11);
std::int64_t below(std::int64_t n) { return std::int64_t(source() % std::uint64_t(n)); }
double uniform() { return double(source() >> 11) * 0x1p-53; }

template <class T>
void on_threads(const LqNoise<T>& job) {
  LqNoiseKernel<T> kernel;
  if constexpr (std::is_same_v<T, float>) {
    kernel = baseline::lq_noise_kernels.f32;
  } else {
    kernel = baseline::lq_noise_kernels.f64;
  }
  const std::int64_t chunks = (job.count + kNoiseChunk - 1) / kNoiseChunk;
  const int parts = 1 + int(below(3));
  std::vector<std::thread> threads;
  for (int part = 0; part < parts; ++part) {
    threads.emplace_back([=] { kernel(job, chunks * part / parts, chunks * (part + 1) / parts); });
  }
  for (auto& thread : threads) thread.join();
}

template <class T>
int wrong() {
  const std::int64_t n = 1 + below(5 * kNoiseChunk);
  std::vector<T> x(n), d(n), y(n), ones(n, T(1)), mask(n);
  for (auto& value : x) value = below(10) ? T(std::exp(uniform() * 30 - 25) * (below(2) ? 1 : -1)) : T(0);
  for (auto& value : d) value = T(uniform() * 4 - 2);
  const double p = below(4) ? uniform() : uniform() * 0x1p-15, scaled = p * 65536, whole = std::floor(scaled);
  const int quarters = int(below(11)) - 4;
  const double exponent = quarters == kDropout ? 0.0 : quarters == kAnyPower ? uniform() * 3 - 1 : quarters / 4.0;
  const bool skip = below(2);
  LqNoise<T> job{n, ones.data(), ones.data(), mask.data(), source(), std::uint32_t(whole),
                 std::uint32_t((scaled - whole) * 4294967296.0), T(1), T(uniform() * 2), T(1e-12), exponent, kDropout, skip};
  on_threads(job);  // 1 where an element is kept
  job.d = d.data(), job.x = x.data(), job.y = y.data(), job.quarters = quarters;
  job.kept = T(p / (1 - p));
  on_threads(job);
  int failures = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (mask[i] != 0 && mask[i] != 1) ++failures;
    const double xi = mask[i] != 0 ? double(job.kept) : -1.0;
    double noise = double(job.slope) * std::pow(double(T(std::fabs(x[i]) + job.epsilon)), exponent) * xi;
    if (skip && x[i] == 0) noise = 0;
    const double right = quarters == kDropout ? double(d[i]) * (mask[i] != 0 ? double(job.kept) : 0.0) : d[i] * (1 + noise);
    const double size = std::fabs(double(d[i])) * (1 + std::fabs(noise) + double(job.kept));
    if (!(std::fabs(y[i] - right) <= 16 * std::numeric_limits<T>::epsilon() * size)) {
      std::printf("n %d, quarters %d: element %d is %g, not %g\n", int(n), quarters, int(i), double(y[i]), right);
      ++failures;
    }
  }
  return failures;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 200;
  int failures = 0;
  for (int round = 0; round < rounds; ++round) failures += wrong<float>() + wrong<double>();
  std::printf("%d rounds, %d failures\n", rounds, failures);
  return failures != 0;
}
