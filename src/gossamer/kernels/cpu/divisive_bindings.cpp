// Python's door to the activations of Hebbian blocks and to their cost.

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstdint>

#include "dispatch.h"
#include "divisive.h"
#include "winners.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(DivisiveKernelSet, divisive_kernels, divisive_kernel_set)
GOSSAMER_TABLE(WinnersKernelSet, winners_kernels, winners_kernel_set)

namespace {

// Images, or runs of locations, are cut among threads: nothing depends on their number.
template <class Job>
void shared(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, std::int64_t pieces,
            std::int64_t piece, std::int64_t end, std::int64_t numbers, int threads) {
  const std::int64_t most = numbers < 32768 ? 1 : std::min<std::int64_t>(threads, pieces);
  parallel(int(most), [&](int part, int parts) {
    const auto cut = [&](int p) { return std::min(end, pieces * p / parts * piece); };
    kernel(job, cut(part), cut(part + 1));
  });
}

template <class Job>
void by_images(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, int threads) {
  const auto [images, channels, height, width] = job.shape;
  shared(kernel, job, images, 1, images, images * channels * height * width, threads);
}

template <class Job>
void by_locations(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, int threads) {
  const auto [outer, channels, inner] = job.shape;
  const std::int64_t run = 64;
  shared(kernel, job, (outer * inner + run - 1) / run, run, outer * inner, outer * channels * inner, threads);
}

// dtype 0 is float32, 1 is float64.
void divisive_forward(int dtype, int threads, Address u, Address z, Address local, Address divisor, Address threshold,
                      std::int64_t images, std::int64_t channels, std::int64_t height, std::int64_t width, double sigma,
                      int window, std::int64_t rank) {
  nb::gil_scoped_release release;
  const auto run = [&](const auto& kernels, auto number) {
    using T = decltype(number);
    by_images(kernels.forward,
              DivisiveForward<T>{{images, channels, height, width}, sigma, window, rank, at<const T>(u), at<T>(z),
                                 at<T>(local), at<T>(divisor), at<T>(threshold)},
              threads);
  };
  dtype == 0 ? run(divisive_kernel_set().f32, float()) : run(divisive_kernel_set().f64, double());
}

void divisive_backward(int dtype, int threads, Address g, Address u, Address local, Address divisor, Address threshold,
                       Address du, std::int64_t images, std::int64_t channels, std::int64_t height, std::int64_t width,
                       double sigma, int window, bool straight) {
  nb::gil_scoped_release release;
  const auto run = [&](const auto& kernels, auto number) {
    using T = decltype(number);
    by_images(kernels.backward,
              DivisiveBackward<T>{{images, channels, height, width}, sigma, window, straight, at<const T>(g),
                                  at<const T>(u), at<const T>(local), at<const T>(divisor), at<const T>(threshold),
                                  at<T>(du)},
              threads);
  };
  dtype == 0 ? run(divisive_kernel_set().f32, float()) : run(divisive_kernel_set().f64, double());
}

void winners_forward(int dtype, int threads, Address u, Address cost, Address least, std::int64_t outer,
                     std::int64_t channels, std::int64_t inner, std::int64_t winners, double rest) {
  nb::gil_scoped_release release;
  const auto run = [&](const auto& kernels, auto number) {
    using T = decltype(number);
    by_locations(kernels.forward,
                 WinnersForward<T>{{outer, channels, inner}, winners, rest, at<const T>(u), at<T>(cost), at<T>(least)},
                 threads);
  };
  dtype == 0 ? run(winners_kernel_set().f32, float()) : run(winners_kernel_set().f64, double());
}

void winners_backward(int dtype, int threads, Address g, Address u, Address least, Address du, std::int64_t outer,
                      std::int64_t channels, std::int64_t inner, std::int64_t winners, double rest) {
  nb::gil_scoped_release release;
  const auto run = [&](const auto& kernels, auto number) {
    using T = decltype(number);
    by_locations(kernels.backward,
                 WinnersBackward<T>{{outer, channels, inner}, winners, rest, at<const T>(g), at<const T>(u),
                                    at<const T>(least), at<T>(du)},
                 threads);
  };
  dtype == 0 ? run(winners_kernel_set().f32, float()) : run(winners_kernel_set().f64, double());
}

}  // namespace

void bind_divisive(nb::module_& m) {
  m.def("divisive_forward", &divisive_forward, "dtype"_a, "threads"_a, "u"_a, "z"_a, "local"_a, "divisor"_a,
        "threshold"_a, "images"_a, "channels"_a, "height"_a, "width"_a, "sigma"_a, "window"_a, "rank"_a);
  m.def("divisive_backward", &divisive_backward, "dtype"_a, "threads"_a, "g"_a, "u"_a, "local"_a, "divisor"_a,
        "threshold"_a, "du"_a, "images"_a, "channels"_a, "height"_a, "width"_a, "sigma"_a, "window"_a, "straight"_a);
  m.def("winners_forward", &winners_forward, "dtype"_a, "threads"_a, "u"_a, "cost"_a, "least"_a, "outer"_a,
        "channels"_a, "inner"_a, "winners"_a, "rest"_a);
  m.def("winners_backward", &winners_backward, "dtype"_a, "threads"_a, "g"_a, "u"_a, "least"_a, "du"_a, "outer"_a,
        "channels"_a, "inner"_a, "winners"_a, "rest"_a);
}

}  // namespace gossamer
