// Python's door to the kernels: addresses and sizes in, nothing out. Callers own the memory and have checked it.

#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>

#ifndef _WIN32
#include <pthread.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <tuple>

#include "dispatch.h"
#include "pattern.h"
#include "products.h"
#include "types.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(Kernels, kernels, active)
GOSSAMER_TABLE(Layout, layout, active_layout)

void bind_convolution(nb::module_& m);
void bind_hoyer(nb::module_& m);
void bind_joint(nb::module_& m);

namespace {

std::atomic<int> isa{0};
std::atomic<bool> forked{false};

int best_isa() {
#ifdef GOSSAMER_HAS_avx512
  __builtin_cpu_init();
  const bool avx2_there = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                          __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (avx2_there && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd")) {
    return 2;
  }
  if (avx2_there) return 1;
#endif
  return 0;
}

// Whether a matrix from which rows are gathered is too large to stay in the cache by itself.
bool outgrows_cache(std::int64_t rows, std::int64_t batch, std::int64_t element) {
  return rows * batch * element > l2_bytes() / 2;
}

Compressed compressed(Address indptr, Address indices, Address permutation, std::int64_t rows) {
  return {at<const std::int32_t>(indptr), at<const std::int32_t>(indices), at<const std::int32_t>(permutation), rows};
}

// Runs kernel(job, begin, end) on rows balanced by their entries.
template <class Job>
void run(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, int threads) {
  const auto& pattern = job.pattern;
  // An entry costs about as much as 40 samples at batch 1, where a number has to be fetched for each.
  const double work = (double(pattern.indptr[pattern.rows]) + double(pattern.rows)) * double(job.batch + 40);
  keep_freed_pages();
  if (work < 1.2e6) threads = 1;  // some 10 microseconds: waking another thread would not pay
  parallel(threads, [&](int part, int parts) {
    const auto begin = balanced_row(pattern.indptr, pattern.rows, part, parts);
    const auto end = balanced_row(pattern.indptr, pattern.rows, part + 1, parts);
    kernel(job, begin, end);
  });
}

void gather(int dtype, int threads, Address indptr, Address indices, Address permutation, std::int64_t rows,
            std::int64_t gathered, Address values, Address bias, Address x, Address y, std::int64_t batch,
            std::int64_t x_stride, std::int64_t y_stride, bool relu) {
  nb::gil_scoped_release release;
  if (rows == 0 || batch == 0) return;
  with_dtype(dtype, active(), [&](const auto& products, auto storage) {
    using S = decltype(storage);
    const GatherProduct<S, Compute<S>> job{compressed(indptr, indices, permutation, rows), at<const S>(values),
                                           at<const S>(bias), at<const S>(x), at<S>(y), batch, x_stride, y_stride,
                                           relu, outgrows_cache(gathered, batch, sizeof(S))};
    run(products.gather, job, threads);
  });
}

void fuse(int dtype, int threads, Address indptr, Address indices, Address permutation, std::int64_t rows,
          std::int64_t gathered, Address values, Address a, Address b, Address da, Address dvalues,
          std::int64_t batch, std::int64_t a_stride, std::int64_t b_stride, std::int64_t da_stride) {
  nb::gil_scoped_release release;
  if (rows == 0 || batch == 0) return;
  with_dtype(dtype, active(), [&](const auto& products, auto storage) {
    using S = decltype(storage);
    using C = Compute<S>;
    const FusedProduct<S, C> job{compressed(indptr, indices, permutation, rows), at<const S>(values), at<const S>(a),
                                 at<const S>(b), at<S>(da), at<C>(dvalues), batch, a_stride, b_stride, da_stride,
                                 outgrows_cache(gathered, batch, sizeof(S))};
    run(products.fuse, job, threads);
  });
}

void relu_gradient(int dtype, int threads, Address g, Address y, Address out, Address dbias, std::int64_t rows,
                   std::int64_t batch, std::int64_t g_stride, std::int64_t y_stride, std::int64_t out_stride) {
  nb::gil_scoped_release release;
  with_dtype(dtype, active(), [&](const auto& products, auto storage) {
    using S = decltype(storage);
    const ReluGradient<S> job{at<const S>(g), at<const S>(y), at<S>(out), at<S>(dbias), batch, g_stride, y_stride, out_stride};
    parallel(rows * batch < 32768 ? 1 : threads, [&](int part, int parts) {
      products.relu_gradient(job, rows * part / parts, rows * (part + 1) / parts);
    });
  });
}

template <class T>
void transposed_copy(void (*kernel)(const CopyTransposed<T>&, std::int64_t, std::int64_t), const CopyTransposed<T>& job,
                     int threads) {
  parallel(job.rows * job.cols < 32768 ? 1 : threads, [&](int part, int parts) {
    kernel(job, job.cols * part / parts, job.cols * (part + 1) / parts);
  });
}

void copy_transposed(int bytes, int threads, Address from, Address to, std::int64_t rows, std::int64_t cols,
                     std::int64_t stride) {
  nb::gil_scoped_release release;
  const Layout& layout = active_layout();
  switch (bytes) {
    case 2:
      return transposed_copy(layout.two_bytes, {at<const std::uint16_t>(from), at<std::uint16_t>(to), rows, cols, stride}, threads);
    case 4:
      return transposed_copy(layout.four_bytes, {at<const std::uint32_t>(from), at<std::uint32_t>(to), rows, cols, stride}, threads);
    case 8:
      return transposed_copy(layout.eight_bytes, {at<const std::uint64_t>(from), at<std::uint64_t>(to), rows, cols, stride}, threads);
    default: throw std::invalid_argument("elements must have 2, 4 or 8 bytes");
  }
}

}  // namespace

std::int64_t l1_bytes() {
  static const std::int64_t bytes = [] {
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    const long found = sysconf(_SC_LEVEL1_DCACHE_SIZE);
    if (found > 0) return std::int64_t(found);
#endif
    return std::int64_t(1) << 15;
  }();
  return bytes;
}

std::int64_t l2_bytes() {
  static const std::int64_t bytes = [] {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    const long found = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (found > 0) return std::int64_t(found);
#endif
    return std::int64_t(1) << 20;
  }();
  return bytes;
}

// glibc hands freed memory back to the system above a threshold that grows, up to 64 MiB, once a large block has been
// freed. A training step frees and asks for the same few megabytes again and again, and would pay for fresh pages every
// time: free one such block at the first call.
void keep_freed_pages() {
  static const bool done = [] {
    void* volatile block = std::malloc((std::size_t(32) << 20) - (std::size_t(64) << 10));
    std::free(block);
    return true;
  }();
  (void)done;
}

int active_isa() { return isa; }
bool after_fork() { return forked; }

}  // namespace gossamer

NB_MODULE(_cpu, m) {
  using namespace gossamer;
  isa = best_isa();
#ifndef _WIN32
  pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

  m.def("gather", &gather, "dtype"_a, "threads"_a, "indptr"_a, "indices"_a, "permutation"_a, "rows"_a, "gathered"_a,
        "values"_a, "bias"_a, "x"_a, "y"_a, "batch"_a, "x_stride"_a, "y_stride"_a, "relu"_a);
  m.def("fuse", &fuse, "dtype"_a, "threads"_a, "indptr"_a, "indices"_a, "permutation"_a, "rows"_a, "gathered"_a,
        "values"_a, "a"_a, "b"_a, "da"_a, "dvalues"_a, "batch"_a, "a_stride"_a, "b_stride"_a, "da_stride"_a);

  m.def("copy_transposed", &copy_transposed, "bytes"_a, "threads"_a, "source"_a, "target"_a, "rows"_a, "cols"_a,
        "stride"_a);
  m.def("relu_gradient", &relu_gradient);
  m.def("sample_sorted", [](std::int64_t cells, std::int64_t count, std::uint64_t seed, Address out) {
    nb::gil_scoped_release release;
    sample_sorted(cells, count, seed, at<std::int64_t>(out));
  });
  m.def("transpose", [](Address indptr, Address indices, std::int64_t rows, std::int64_t cols, Address t_indptr,
                        Address t_indices, Address permutation) {
    nb::gil_scoped_release release;
    transpose(at<const std::int32_t>(indptr), at<const std::int32_t>(indices), rows, cols, at<std::int32_t>(t_indptr),
              at<std::int32_t>(t_indices), at<std::int32_t>(permutation));
  });
  m.def("check", [](Address indptr, Address indices, std::int64_t rows, std::int64_t cols, std::int64_t nnz) {
    nb::gil_scoped_release release;
    std::int64_t where = 0;
    const int code = check(at<const std::int32_t>(indptr), at<const std::int32_t>(indices), rows, cols, nnz, &where);
    return std::tuple<int, std::int64_t>(code, where);
  });

  m.def("isa", [] { return active().name; });
  m.def("vector_bytes", [] { return active().vector_bytes; });
  m.def("use_isa", [](int wanted) {
    if (wanted < 0 || wanted > best_isa()) throw std::invalid_argument("this processor lacks that instruction set");
    isa = wanted;
  });
  bind_convolution(m);
  bind_hoyer(m);
  bind_joint(m);
}
