// Python's door to the spspmm product.

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "dispatch.h"
#include "spspmm.h"

namespace nb = nanobind;

namespace gossamer {

GOSSAMER_TABLE(SpspmmKernels, spspmm_kernels, active_spspmm)

namespace {

// One sample: its pairs are shared among threads, each adding into an array of its own. Several: samples are shared.
constexpr double kWorthThreads = 30000;  // connections of active inputs, some 10 microseconds of one thread

template <class S, class Kernels>
void forward(const Kernels& kernels, const Spspmm<S, Compute<S>>& job, const S* bias, bool relu, S* y,
             int threads) {
  using C = Compute<S>;
  const auto outputs = job.outputs;
  if (threads > 1) {
    double work = 0;
    for (std::int64_t at = 0; at < job.code.batch * job.code.slots; ++at) {
      work += job.t_indptr[job.code.indices[at] + 1] - job.t_indptr[job.code.indices[at]];
    }
    if (work < kWorthThreads) threads = 1;
  }
  if (job.code.batch == 1) {
    const std::unique_ptr<C[]> sums(new C[std::size_t(outputs) * std::max(threads, 1)]);
    int used = 1;
    parallel(threads, [&](int part, int parts) {
      if (part == 0) used = parts;
      C* const mine = sums.get() + part * outputs;  // cleared by the thread in whose cache it will be
      std::fill(mine, mine + outputs, C(0));
      kernels.scatter(job, 0, job.code.slots * part / parts, job.code.slots * (part + 1) / parts, mine);
    });
    for (int part = 1; part < used; ++part) {
      const C* other = sums.get() + part * outputs;
      for (std::int64_t o = 0; o < outputs; ++o) sums[o] += other[o];
    }
    kernels.finish(sums.get(), bias, relu, y, outputs);
    return;
  }
  parallel(threads, [&](int part, int parts) {
    std::vector<C> sum(outputs);
    const std::int64_t end = job.code.batch * (part + 1) / parts;
    for (std::int64_t b = job.code.batch * part / parts; b < end; ++b) {
      std::fill(sum.begin(), sum.end(), C(0));
      kernels.scatter(job, b, 0, job.code.slots, sum.data());
      kernels.finish(sum.data(), bias, relu, y + b * outputs, outputs);
    }
  });
}

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
    forward<S>(kernels, job, at<const S>(bias), relu, at<S>(y), threads);
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

// The spspmm product of a dense x (batch x inputs, feature i of sample b at x + b * b_stride + i * f_stride), if enough
// of it is zero that this beats reading every connection; returns false, with y untouched, if not.
bool spspmm_if_sparse(int dtype, int threads, Address t_indptr, Address t_indices, Address values, Address place,
                     Address x, std::int64_t batch, std::int64_t inputs, std::int64_t b_stride, std::int64_t f_stride,
                     double most_active, Address bias, bool relu, Address y, std::int64_t outputs) {
  nb::gil_scoped_release release;
  bool done = false;
  with_dtype(dtype, active_spspmm(), [&](const auto& kernels, auto storage) {
    using S = decltype(storage);
    std::vector<std::int32_t> indices(batch * inputs + 1);
    std::vector<S> code(batch * inputs + 1);
    std::vector<std::int64_t> counts(batch);
    std::int64_t total = 0, most = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      counts[b] = kernels.pack(at<const S>(x) + b * b_stride, inputs, f_stride, indices.data() + b * inputs,
                               code.data() + b * inputs);
      total += counts[b];
      most = std::max(most, counts[b]);
      // A first sample that is far too busy speaks for the batch: do not read the rest for nothing.
      if (b == 0 && double(total) > 1.5 * most_active * double(inputs)) return;
    }
    if (double(total) > most_active * double(batch) * double(inputs)) return;
    for (std::int64_t b = 0; b < batch; ++b) {  // rows of one length: move them together, empty pairs at the end
      for (std::int64_t slot = 0; slot < most; ++slot) {
        const bool live = slot < counts[b];
        indices[b * most + slot] = live ? indices[b * inputs + slot] : 0;
        code[b * most + slot] = live ? code[b * inputs + slot] : S{};
      }
    }
    const Spspmm<S, Compute<S>> job{at<const std::int32_t>(t_indptr), at<const std::int32_t>(t_indices),
                                          at<const S>(values), at<const std::int32_t>(place),
                                          {indices.data(), batch, most}, code.data(), outputs};
    forward<S>(kernels, job, at<const S>(bias), relu, at<S>(y), threads);
    done = true;
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
