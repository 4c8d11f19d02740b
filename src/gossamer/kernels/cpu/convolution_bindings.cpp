// Python's door to sparse convolutions.

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>

#include <array>
#include <cstdint>

#include "convolution.h"
#include "convolution_work.h"
#include "dispatch.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(ConvolutionKernels, convolution_kernels, active_convolution)

namespace {

// samples; input channels, output channels; groups; then pairs (vertical, horizontal): input, output, kernel, stride,
// dilation, padding above and left; whether the sample is innermost in input and output
using Numbers = std::array<std::int64_t, 18>;

Layer layer_of(const Numbers& n) {
  return {n[0], n[1], n[2], n[3], {n[4], n[6], n[8], n[10], n[12], n[14]}, {n[5], n[7], n[9], n[11], n[13], n[15]},
          n[16] != 0, n[17] != 0};
}

// bias may be null.
void conv_forward(int dtype, int threads, Address indptr, Address indices, Address values, Address bias, Address x,
                  Address y, const Numbers& layer) {
  nb::gil_scoped_release release;
  keep_freed_pages();
  with_dtype(dtype, active_convolution(), [&](const auto& kernels, auto storage) {
    using S = decltype(storage);
    convolve(kernels, layer_of(layer), {at<const std::int32_t>(indptr), at<const std::int32_t>(indices), nullptr},
             at<const S>(values), at<const S>(bias), at<const S>(x), at<S>(y), threads);
  });
}

// dx or dvalues may be null, and both if there is nothing to do. Without dx, values may be, and without dvalues, x.
// dvalues is float for bfloat16.
void conv_backward(int dtype, int threads, Address t_indptr, Address t_indices, Address csc_permutation, Address values,
                   Address x, Address dy, Address dx, Address dvalues, const Numbers& layer) {
  nb::gil_scoped_release release;
  if (!dx && !dvalues) return;
  keep_freed_pages();
  with_dtype(dtype, active_convolution(), [&](const auto& kernels, auto storage) {
    using S = decltype(storage);
    convolve_back(kernels, layer_of(layer),
                  {at<const std::int32_t>(t_indptr), at<const std::int32_t>(t_indices),
                   at<const std::int32_t>(csc_permutation)},
                  at<const S>(values), at<const S>(x), at<const S>(dy), at<S>(dx), at<Compute<S>>(dvalues), threads);
  });
}

}  // namespace

void bind_convolution(nb::module_& m) {
  m.def("conv_forward", &conv_forward, "dtype"_a, "threads"_a, "indptr"_a, "indices"_a, "values"_a, "bias"_a, "x"_a,
        "y"_a, "layer"_a);
  m.def("conv_backward", &conv_backward, "dtype"_a, "threads"_a, "t_indptr"_a, "t_indices"_a, "csc_permutation"_a,
        "values"_a, "x"_a, "dy"_a, "dx"_a, "dvalues"_a, "layer"_a);
}

}  // namespace gossamer
