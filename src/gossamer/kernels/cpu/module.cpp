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
#include <type_traits>
#include <vector>

#include "dispatch.h"
#include "pattern.h"
#include "products.h"
#include "products_work.h"
#include "types.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(Layout, layout, active_layout)

void bind_activations(nb::module_& m);
void bind_associative(nb::module_& m);
void bind_convolution(nb::module_& m);
void bind_divisive(nb::module_& m);
void bind_hoyer(nb::module_& m);
void bind_linear(nb::module_& m);
void bind_lq_noise(nb::module_& m);
void bind_prediction(nb::module_& m);
void bind_recurrent(nb::module_& m);
void bind_spspmm(nb::module_& m);
void bind_srelu(nb::module_& m);
void bind_tensor(nb::module_& m);
void bind_training_step(nb::module_& m);

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

void spmm(int dtype, int threads, Address indptr, Address indices, std::int64_t rows, std::int64_t cols,
            Address csr_indptr, Address csr_indices, Address values, Address bias, Address x, Address y,
            std::int64_t batch, std::int64_t x_stride, std::int64_t y_stride, bool relu) {
  nb::gil_scoped_release release;
  const Csr csr{at<const std::int32_t>(csr_indptr), at<const std::int32_t>(csr_indices), cols};
  with_dtype(dtype, active(), [&](const auto& products, auto storage) {
    using S = decltype(storage);
    run_spmm(products, compressed(at<const std::int32_t>(indptr), at<const std::int32_t>(indices), rows), csr, threads,
             at<const S>(values), at<const S>(bias), at<const S>(x), at<S>(y), cols, batch, x_stride, y_stride, relu);
  });
}

void spmm_sddmm(int dtype, int threads, Address indptr, Address indices, std::int64_t rows, std::int64_t cols,
          Address csr_indptr, Address csr_indices, Address values, Address a, Address b, Address da,
          Address dvalues, std::int64_t batch, std::int64_t a_stride, std::int64_t b_stride, std::int64_t da_stride) {
  nb::gil_scoped_release release;
  const Csr csr{at<const std::int32_t>(csr_indptr), at<const std::int32_t>(csr_indices), cols};
  with_dtype(dtype, active(), [&](const auto& products, auto storage) {
    using S = decltype(storage);
    run_spmm_sddmm(products, compressed(at<const std::int32_t>(indptr), at<const std::int32_t>(indices), rows), csr,
                   threads, at<const S>(values), at<const S>(a), at<const S>(b), at<S>(da), at<Compute<S>>(dvalues), cols,
                   batch, a_stride, b_stride, da_stride);
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

  m.def("spmm", &spmm, "dtype"_a, "threads"_a, "indptr"_a, "indices"_a, "rows"_a, "cols"_a,
        "csr_indptr"_a, "csr_indices"_a, "values"_a, "bias"_a, "x"_a, "y"_a, "batch"_a, "x_stride"_a, "y_stride"_a, "relu"_a);
  m.def("spmm_sddmm", &spmm_sddmm, "dtype"_a, "threads"_a, "indptr"_a, "indices"_a, "rows"_a, "cols"_a,
        "csr_indptr"_a, "csr_indices"_a, "values"_a, "a"_a, "b"_a, "da"_a, "dvalues"_a, "batch"_a, "a_stride"_a, "b_stride"_a, "da_stride"_a);

  m.def("copy_transposed", &copy_transposed, "bytes"_a, "threads"_a, "source"_a, "target"_a, "rows"_a, "cols"_a,
        "stride"_a);
  m.def("relu_gradient", &relu_gradient);
  m.def("sample_sorted", [](std::int64_t positions, std::int64_t count, std::uint64_t seed, Address out) {
    nb::gil_scoped_release release;
    sample_sorted(positions, count, seed, at<std::int64_t>(out));
  });
  m.def("transpose", [](Address indptr, Address indices, std::int64_t rows, std::int64_t cols, Address t_indptr,
                        Address t_indices) {
    nb::gil_scoped_release release;
    transpose(at<const std::int32_t>(indptr), at<const std::int32_t>(indices), rows, cols, at<std::int32_t>(t_indptr),
              at<std::int32_t>(t_indices));
  });
  m.def("csc_permutation", [](Address indptr, Address t_indptr, Address t_indices, std::int64_t rows, std::int64_t cols,
                        Address out) {
    nb::gil_scoped_release release;
    csc_permutation(at<const std::int32_t>(indptr), at<const std::int32_t>(t_indptr), at<const std::int32_t>(t_indices), rows,
              cols, at<std::int32_t>(out));
  });
  m.def("flat_indices_of", [](Address indptr, Address indices, std::int64_t rows, std::int64_t cols, Address out) {
    nb::gil_scoped_release release;
    flat_indices_of(at<const std::int32_t>(indptr), at<const std::int32_t>(indices), rows, cols, at<std::int64_t>(out));
  });
  m.def("merge", [](Address a, std::int64_t a_count, Address b, std::int64_t b_count, Address out, Address from_a) {
    nb::gil_scoped_release release;
    merge(at<const std::int64_t>(a), a_count, at<const std::int64_t>(b), b_count, at<std::int64_t>(out), at<bool>(from_a));
  });
  m.def("csr_of", [](Address flat_indices, std::int64_t count, std::int64_t rows, std::int64_t cols, Address indptr,
                     Address indices) {
    nb::gil_scoped_release release;
    csr_of(at<const std::int64_t>(flat_indices), count, rows, cols, at<std::int32_t>(indptr), at<std::int32_t>(indices));
  });
  m.def("split", [](Address list, Address chosen, std::int64_t count, Address yes, Address no) {
    nb::gil_scoped_release release;
    split(at<const std::int64_t>(list), at<const bool>(chosen), count, at<std::int64_t>(yes), at<std::int64_t>(no));
  });
  m.def("empty_at", [](Address occupied, std::int64_t count, Address ranks, std::int64_t wanted, Address out) {
    nb::gil_scoped_release release;
    empty_at(at<const std::int64_t>(occupied), count, at<const std::int64_t>(ranks), wanted, at<std::int64_t>(out));
  });
  m.def("follow", [](int bytes, Address source, Address stays, std::int64_t before, Address place, std::int64_t count,
                     Address out) {
    nb::gil_scoped_release release;
    const auto moved = [&](auto like) {
      using T = decltype(like);
      follow(at<const T>(source), at<const bool>(stays), before, at<const bool>(place), count, at<T>(out));
    };
    switch (bytes) {
      case 1: return moved(std::uint8_t());
      case 2: return moved(std::uint16_t());
      case 4: return moved(std::uint32_t());
      case 8: return moved(std::uint64_t());
      default: throw std::invalid_argument("elements must have 1, 2, 4 or 8 bytes");
    }
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
  bind_activations(m);
  bind_associative(m);
  bind_convolution(m);
  bind_divisive(m);
  bind_hoyer(m);
  bind_linear(m);
  bind_lq_noise(m);
  bind_prediction(m);
  bind_recurrent(m);
  bind_spspmm(m);
  bind_srelu(m);
  bind_tensor(m);
  bind_training_step(m);
}
