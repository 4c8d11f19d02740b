// Python's door to the S-shaped units.

#include <nanobind/nanobind.h>

#include <cstdint>

#include "dispatch.h"
#include "srelu.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(SreluKernelSet, srelu_kernels, srelu_kernel_set)

namespace {

// Units are cut among threads, at whole vectors, and never their values: nothing depends on the number of threads.
template <class Job>
void by_units(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, int threads) {
  const auto [outer, units, inner] = job.shape;
  parallel(outer * units * inner < 32768 ? 1 : threads, [&, units = units](int part, int parts) {
    const auto cut = [&](int p) { return p == parts ? units : units * p / parts / 16 * 16; };
    kernel(job, cut(part), cut(part + 1));
  });
}

template <class Call>
void with_real(int dtype, const Call& call) {
  dtype == 0 ? call(srelu_kernel_set().f32, float()) : call(srelu_kernel_set().f64, double());
}

// dtype 0 is float32, 1 is float64.
void forward(int dtype, int threads, Address x, Address t_l, Address a_l, Address t_r, Address a_r, Address y,
             std::int64_t outer, std::int64_t units, std::int64_t inner) {
  nb::gil_scoped_release release;
  with_real(dtype, [&](const auto& kernels, auto number) {
    using T = decltype(number);
    const SreluPieces<T> pieces{at<const T>(t_l), at<const T>(a_l), at<const T>(t_r), at<const T>(a_r)};
    by_units(kernels.forward, SreluForward<T>{{outer, units, inner}, pieces, at<const T>(x), at<T>(y)}, threads);
  });
}

// The gradients of the pieces go into out (4, units).
void backward(int dtype, int threads, Address d, Address x, Address t_l, Address a_l, Address t_r, Address a_r,
              Address dx, Address out, std::int64_t outer, std::int64_t units, std::int64_t inner) {
  nb::gil_scoped_release release;
  with_real(dtype, [&](const auto& kernels, auto number) {
    using T = decltype(number);
    const SreluPieces<T> pieces{at<const T>(t_l), at<const T>(a_l), at<const T>(t_r), at<const T>(a_r)};
    T* sums = at<T>(out);
    const SreluBackward<T> job{{outer, units, inner}, pieces, at<const T>(d), at<const T>(x), at<T>(dx),
                               sums, sums + units, sums + 2 * units, sums + 3 * units};
    by_units(kernels.backward, job, threads);
  });
}

}  // namespace

void bind_srelu(nb::module_& m) {
  m.def("srelu_forward", &forward, "dtype"_a, "threads"_a, "x"_a, "t_l"_a, "a_l"_a, "t_r"_a, "a_r"_a, "y"_a,
        "outer"_a, "units"_a, "inner"_a);
  m.def("srelu_backward", &backward, "dtype"_a, "threads"_a, "d"_a, "x"_a, "t_l"_a, "a_l"_a, "t_r"_a, "a_r"_a,
        "dx"_a, "out"_a, "outer"_a, "units"_a, "inner"_a);
}

}  // namespace gossamer
