// Python's door to L_q noise.

#include <nanobind/nanobind.h>

#include <cmath>
#include <cstdint>

#include "dispatch.h"
#include "lq_noise.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(LqNoiseKernelSet, lq_noise_kernels, lq_noise_kernel_set)

namespace {

template <class T>
void on_threads(LqNoiseKernel<T> kernel, const LqNoise<T>& job, int threads) {
  const std::int64_t chunks = (job.count + kNoiseChunk - 1) / kNoiseChunk;
  parallel(job.count < 16384 ? 1 : threads, [&](int part, int parts) {
    kernel(job, chunks * part / parts, chunks * (part + 1) / parts);
  });
}

// 0 < p < 1; dtype 0 is float32, 1 is float64. q = 2 with slope 1 is dropout.
void lq_noise(int dtype, int threads, std::int64_t count, Address d, Address x, Address y, std::uint64_t seed, double p,
              double q, double slope, double epsilon, bool skip_zeros) {
  nb::gil_scoped_release release;
  keep_freed_pages();
  const double scaled = p * 65536, whole = std::floor(scaled), exponent = std::fmin(q / 2 - 1, 1e30);
  const double quarters = 4 * exponent;
  const bool listed = quarters == std::rint(quarters) && std::fabs(quarters) <= 4;
  const int kind = q == 2 ? kDropout : listed ? int(quarters) : kAnyPower;
  const auto run = [&](auto kernel, auto number) {
    using T = decltype(number);
    const T kept = q == 2 ? T(1) / T(1 - p) : T(p / (1 - p));
    const LqNoise<T> job{count, at<const T>(d), at<const T>(x), at<T>(y), seed, std::uint32_t(whole),
                         std::uint32_t((scaled - whole) * 4294967296.0), kept, T(slope), T(epsilon), exponent, kind,
                         skip_zeros};
    on_threads(kernel, job, threads);
  };
  if (dtype == 0) {
    run(lq_noise_kernel_set().f32, float());
  } else {
    run(lq_noise_kernel_set().f64, double());
  }
}

}  // namespace

void bind_lq_noise(nb::module_& m) {
  m.def("lq_noise", &lq_noise, "dtype"_a, "threads"_a, "count"_a, "d"_a, "x"_a, "y"_a, "seed"_a, "p"_a, "q"_a, "slope"_a,
        "epsilon"_a, "skip_zeros"_a);
}

}  // namespace gossamer
