// Python's door to the sparseness-enforcing projection.

#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>

#include "dispatch.h"
#include "hoyer.h"
#include "hoyer_tensor.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(HoyerKernelSet, hoyer_kernels, kernel_set)

namespace {

// dtype 0 is float32, 1 is float64; the radius is float64 always.
Taken hoyer_forward(int dtype, int threads, Address x, Address s, Address beta, Address radius, bool radius_per_row,
                    std::int64_t outer, std::int64_t n, std::int64_t inner, bool magnitude) {
  nb::gil_scoped_release release;
  const auto run = [&](const auto& kernels, auto number) {
    using T = decltype(number);
    return forward<T>(kernels, {outer, n, inner}, threads,
                      {at<const T>(x), at<T>(s), at<T>(beta), at<const double>(radius), radius_per_row, magnitude});
  };
  return dtype == 0 ? run(kernel_set().f32, float()) : run(kernel_set().f64, double());
}

void hoyer_backward(int dtype, int threads, Address v, Address s, Address beta, Address radius, bool radius_per_row,
                    Address out, std::int64_t outer, std::int64_t n, std::int64_t inner, bool magnitude) {
  nb::gil_scoped_release release;
  const auto run = [&](const auto& kernels, auto number) {
    using T = decltype(number);
    backward<T>(kernels, {outer, n, inner}, threads, magnitude,
                {at<const T>(v), at<const T>(s), at<const T>(beta), at<const double>(radius), radius_per_row,
                 at<T>(out)});
  };
  dtype == 0 ? run(kernel_set().f32, float()) : run(kernel_set().f64, double());
}

}  // namespace

void bind_hoyer(nb::module_& m) {
  m.def("hoyer_forward", &hoyer_forward, "dtype"_a, "threads"_a, "x"_a, "s"_a, "beta"_a, "radius"_a,
        "radius_per_row"_a, "outer"_a, "n"_a, "inner"_a, "magnitude"_a);
  m.def("hoyer_backward", &hoyer_backward, "dtype"_a, "threads"_a, "v"_a, "s"_a, "beta"_a, "radius"_a,
        "radius_per_row"_a, "out"_a, "outer"_a, "n"_a, "inner"_a, "magnitude"_a);
}

}  // namespace gossamer
