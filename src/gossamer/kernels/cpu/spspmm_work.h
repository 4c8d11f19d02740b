// The spspmm product of whole matrices, shared among threads; and that of a dense matrix of which most is zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "dispatch.h"
#include "spspmm.h"

namespace gossamer {

GOSSAMER_TABLE(SpspmmKernels, spspmm_kernels, active_spspmm)

namespace {

// One sample: its pairs are shared among threads, each adding into an array of its own. Several: samples are shared.
constexpr double kWorthThreads = 30000;  // connections of active inputs, some 10 microseconds of one thread

template <class S, class Kernels>
void spspmm_forward(const Kernels& kernels, const Spspmm<S, Compute<S>>& job, const S* bias, bool relu, S* y,
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

// The product with the non-zero entries of a dense x (batch x inputs, feature i of sample b at x + b * b_stride + i *
// f_stride), if they are at most the share `most_active` of it; returns false, with y (batch x outputs) untouched, if not.
// `whole` has no code yet.
template <class S, class Kernels>
bool multiply_active(const Kernels& kernels, const Spspmm<S, Compute<S>>& whole, const S* x, std::int64_t inputs,
                     std::int64_t b_stride, std::int64_t f_stride, double most_active, const S* bias, bool relu, S* y,
                     int threads) {
  constexpr std::int64_t kGlance = 128;  // inputs of the first sample that speak for all: do not read the rest for nothing
  const std::int64_t batch = whole.code.batch;
  const std::unique_ptr<std::int32_t[]> indices(new std::int32_t[std::size_t(batch * inputs + 1)]);
  const std::unique_ptr<S[]> code(new S[std::size_t(batch * inputs + 1)]);
  const std::int64_t seen = std::min(kGlance, inputs);
  if (double(kernels.pack(x, seen, f_stride, indices.get(), code.get())) > 2 * most_active * double(seen) + 8) return false;
  std::vector<std::int64_t> counts(batch);
  std::int64_t total = 0, most = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    counts[b] = kernels.pack(x + b * b_stride, inputs, f_stride, indices.get() + b * inputs, code.get() + b * inputs);
    total += counts[b];
    most = std::max(most, counts[b]);
    if (b == 0 && double(total) > 1.5 * most_active * double(inputs)) return false;
  }
  if (double(total) > most_active * double(batch) * double(inputs)) return false;
  for (std::int64_t b = 0; b < batch; ++b) {  // rows of one length: move them together, empty pairs at the end
    for (std::int64_t slot = 0; slot < most; ++slot) {
      const bool filled = slot < counts[b];
      indices[b * most + slot] = filled ? indices[b * inputs + slot] : 0;
      code[b * most + slot] = filled ? code[b * inputs + slot] : S{};
    }
  }
  Spspmm<S, Compute<S>> job = whole;
  job.code = {indices.get(), batch, most};
  job.code_values = code.get();
  spspmm_forward<S>(kernels, job, bias, relu, y, threads);
  return true;
}

}  // namespace
}  // namespace gossamer
