// The spspmm product, for one instruction set. See spspmm.h.

#include "spspmm.h"

#include <algorithm>

#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

constexpr int kGroup = 16;  // a line of indices, and loads on their way at a time

// Adds value * values[u] to the output of each of N entries.
template <int N, class S, class C>
inline void add_entries(const std::int32_t* outputs, const S* values, C value, C* y) {
  for (int u = 0; u < N; ++u) y[outputs[u]] += value * widen(values[u]);
}

// The same with the weights values[place[u]], which lie anywhere: all loads start before the first sum waits for one.
template <int N, class S, class C>
inline void gather_entries(const std::int32_t* outputs, const S* values, const std::int32_t* place, C value, C* y) {
  S weights[N];
  for (int u = 0; u < N; ++u) weights[u] = values[place[u]];
  add_entries<N>(outputs, weights, value, y);
}

// Adds the entries [j, stop) of one input; those of the next one are `ahead` of them in memory.
template <class S, class C>
inline void add_input(const Spspmm<S, C>& job, std::int32_t j, std::int32_t stop, std::int32_t ahead, C value, C* y) {
  constexpr int line = 64 / int(sizeof(S));
  for (; j + kGroup <= stop; j += kGroup) {
    __builtin_prefetch(job.t_indices + j + ahead);
    for (int u = 0; u < kGroup; u += line) __builtin_prefetch(job.values + j + ahead + u);
    add_entries<kGroup>(job.t_indices + j, job.values + j, value, y);
  }
  for (; j + 4 <= stop; j += 4) add_entries<4>(job.t_indices + j, job.values + j, value, y);
  for (; j < stop; ++j) add_entries<1>(job.t_indices + j, job.values + j, value, y);
}

template <class S, class C>
inline void gather_input(const Spspmm<S, C>& job, std::int32_t j, std::int32_t stop, std::int32_t ahead, C value,
                         C* y) {
  for (; j + kGroup <= stop; j += kGroup) {
    __builtin_prefetch(job.t_indices + j + ahead);
    __builtin_prefetch(job.place + j + ahead);
    if (j + 3 * kGroup <= stop) {
      for (int u = 2 * kGroup; u < 3 * kGroup; ++u) __builtin_prefetch(job.values + job.place[j + u]);
    }
    gather_entries<kGroup>(job.t_indices + j, job.values, job.place + j, value, y);
  }
  for (; j + 4 <= stop; j += 4) gather_entries<4>(job.t_indices + j, job.values, job.place + j, value, y);
  for (; j < stop; ++j) gather_entries<1>(job.t_indices + j, job.values, job.place + j, value, y);
}

template <class S>
void scatter(const Spspmm<S, Compute<S>>& job, std::int64_t b, std::int64_t begin, std::int64_t end,
             Compute<S>* y) {
  using C = Compute<S>;
  const std::int32_t* index = job.code.indices + b * job.code.slots;
  const S* code = job.code_values + b * job.code.slots;
  for (std::int64_t slot = begin; slot < end; ++slot) {
    const C value = widen(code[slot]);
    if (value == C(0)) continue;
    const std::int32_t j = job.t_indptr[index[slot]], stop = job.t_indptr[index[slot] + 1];
    // The next input's entries lie elsewhere in memory: ask for them while this one's are added.
    const std::int32_t ahead = slot + 1 < end ? job.t_indptr[index[slot + 1]] - j : 0;
    if (job.place) {
      gather_input(job, j, stop, ahead, value, y);
    } else {
      add_input(job, j, stop, ahead, value, y);
    }
  }
}

template <class S>
void backward(const Spspmm<S, Compute<S>>& job, const S* dy, std::int32_t first, std::int32_t last, S* dcode,
              Compute<S>* dvalues) {
  using C = Compute<S>;
  for (std::int64_t b = 0; b < job.code.batch; ++b) {
    const S* gradient = dy + b * job.outputs;
    for (std::int64_t slot = 0; slot < job.code.slots; ++slot) {
      const std::int64_t at = b * job.code.slots + slot;
      const std::int32_t index = job.code.indices[at];
      if (index < first || index >= last) continue;
      const C value = widen(job.code_values[at]);
      C sum = 0;
      for (std::int32_t j = job.t_indptr[index]; j < job.t_indptr[index + 1]; ++j) {
        const C g = widen(gradient[job.t_indices[j]]);
        sum += widen(job.values[j]) * g;
        if (dvalues) dvalues[j] += value * g;
      }
      if (dcode) dcode[at] = narrow<S>(sum);
    }
  }
}

template <class S>
void finish(const Compute<S>* sum, const S* bias, bool relu, S* y, std::int64_t outputs) {
  using C = Compute<S>;
  for (std::int64_t o = 0; o < outputs; ++o) {
    const C value = sum[o] + (bias ? widen(bias[o]) : C(0));
    y[o] = narrow<S>(relu && value < C(0) ? C(0) : value);
  }
}

template <class S>
std::int64_t pack(const S* x, std::int64_t features, std::int64_t stride, std::int32_t* indices, S* values) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < features; ++i) {  // branch-free: which inputs are active can't be predicted
    const S value = x[i * stride];
    indices[count] = std::int32_t(i);
    values[count] = value;
    count += widen(value) != Compute<S>(0);
  }
  return count;
}

}  // namespace

extern const SpspmmKernels spspmm_kernels;
const SpspmmKernels spspmm_kernels{
    {scatter<float>, backward<float>, finish<float>, pack<float>},
    {scatter<double>, backward<double>, finish<double>, pack<double>},
    {scatter<bfloat16>, backward<bfloat16>, finish<bfloat16>, pack<bfloat16>}};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
