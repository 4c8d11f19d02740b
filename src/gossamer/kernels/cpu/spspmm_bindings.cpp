// Python's door to the spspmm product.

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstdint>

#include "dispatch.h"
#include "spspmm_work.h"

namespace nb = nanobind;

namespace gossamer {

namespace {

// Whether every index names an input.
bool in_range(const CodeShape& code, std::int64_t inputs) {
  std::int32_t low = 0, high = 0;
  for (std::int64_t i = 0; i < code.batch * code.slots; ++i) {
    low = std::min(low, code.indices[i]);
    high = std::max(high, code.indices[i]);
  }
  return low >= 0 && (high < inputs || code.batch * code.slots == 0);
}

// The next two return false, with nothing done, if an index of the code names no input.
bool spspmm(int dtype, int threads, Address t_indptr, Address t_indices, Address values,
           Address place, Address indices, Address code, std::int64_t batch, std::int64_t slots, Address bias, bool relu, Address y,
           std::int64_t inputs, std::int64_t outputs) {
  nb::gil_scoped_release release;
  if (!in_range({at<const std::int32_t>(indices), batch, slots}, inputs)) return false;
  with_dtype(dtype, active_spspmm(), [&](const auto& kernels, auto storage) {
    using S = decltype(storage);
    const Spspmm<S, Compute<S>> job{at<const std::int32_t>(t_indptr), at<const std::int32_t>(t_indices),
                                          at<const S>(values), at<const std::int32_t>(place),
                                          {at<const std::int32_t>(indices), batch, slots}, at<const S>(code), outputs};
    spspmm_forward<S>(kernels, job, at<const S>(bias), relu, at<S>(y), threads);
  });
  return true;
}

bool spspmm_backward(int dtype, int threads, Address t_indptr, Address t_indices, Address values,
                    Address indices, Address code, std::int64_t batch, std::int64_t slots, Address dy, Address dcode,
                    Address dvalues, std::int64_t inputs, std::int64_t outputs) {
  nb::gil_scoped_release release;
  if (!in_range({at<const std::int32_t>(indices), batch, slots}, inputs)) return false;
  with_dtype(dtype, active_spspmm(), [&](const auto& kernels, auto storage) {
    using S = decltype(storage);
    const Spspmm<S, Compute<S>> job{at<const std::int32_t>(t_indptr), at<const std::int32_t>(t_indices),
                                          at<const S>(values), nullptr,
                                          {at<const std::int32_t>(indices), batch, slots}, at<const S>(code), outputs};
    parallel(threads, [&](int part, int parts) {  // inputs are shared, so that no two threads meet at a weight
      const auto first = balanced_row(job.t_indptr, inputs, part, parts);
      const auto last = balanced_row(job.t_indptr, inputs, part + 1, parts);
      kernels.backward(job, at<const S>(dy), std::int32_t(first), std::int32_t(last), at<S>(dcode),
                       at<Compute<S>>(dvalues));
    });
  });
  return true;
}

// The spspmm product of a dense x; returns false, with y untouched, if too much of it is not zero.
bool spspmm_if_sparse(int dtype, int threads, Address t_indptr, Address t_indices, Address values, Address place,
                     Address x, std::int64_t batch, std::int64_t inputs, std::int64_t b_stride, std::int64_t f_stride,
                     double most_active, Address bias, bool relu, Address y, std::int64_t outputs) {
  nb::gil_scoped_release release;
  bool done = false;
  with_dtype(dtype, active_spspmm(), [&](const auto& kernels, auto storage) {
    using S = decltype(storage);
    const Spspmm<S, Compute<S>> job{at<const std::int32_t>(t_indptr), at<const std::int32_t>(t_indices),
                                          at<const S>(values), at<const std::int32_t>(place),
                                          {nullptr, batch, 0}, nullptr, outputs};
    done = multiply_active<S>(kernels, job, at<const S>(x), inputs, b_stride, f_stride, most_active, at<const S>(bias),
                              relu, at<S>(y), threads);
  });
  return done;
}

}  // namespace

void bind_spspmm(nb::module_& m) {
  m.def("spspmm", &spspmm);
  m.def("spspmm_backward", &spspmm_backward);
  m.def("spspmm_if_sparse", &spspmm_if_sparse);
}

}  // namespace gossamer
