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
#include "types.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(Kernels, kernels, active)
GOSSAMER_TABLE(Layout, layout, active_layout)

void bind_associative(nb::module_& m);
void bind_convolution(nb::module_& m);
void bind_hoyer(nb::module_& m);
void bind_spspmm(nb::module_& m);
void bind_srelu(nb::module_& m);

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

// A matrix W by rows; with it as csr, the pattern at work is that of W', whose values are in the order of W.
struct Csr {
  const std::int32_t *indptr, *indices;
  std::int64_t rows;
};

Compressed compressed(Address indptr, Address indices, std::int64_t rows) {
  return {at<const std::int32_t>(indptr), at<const std::int32_t>(indices), rows, nullptr, nullptr, 0};
}

// Runs kernel(job, begin, end) on rows balanced by their entries.
template <class Job>
void run(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, const Csr& csr, int threads) {
  const auto& pattern = job.pattern;
  // An entry costs about as much as 40 samples at batch 1, where a number has to be fetched for each.
  const double work = (double(pattern.indptr[pattern.rows]) + double(pattern.rows)) * double(job.batch + 40);
  keep_freed_pages();
  if (work < 1.2e6) threads = 1;  // some 10 microseconds: waking another thread would not pay
  parallel(threads, [&](int part, int parts) {
    const auto begin = balanced_row(pattern.indptr, pattern.rows, part, parts);
    const auto end = balanced_row(pattern.indptr, pattern.rows, part + 1, parts);
    Job mine = job;
    using Element = std::remove_pointer_t<decltype(job.scratch)>;
    const std::int64_t tile = 8 * active().vector_bytes / std::int64_t(sizeof(Compute<Element>));
    // A tile is copied if there is more than one, it needs the better part of the second cache, and every row of it is
    // read often enough to pay for that. The copy's memory stays with the thread: fresh pages would cost more.
    const std::int64_t bytes = job.cols * tile * std::int64_t(sizeof(Element));
    if (job.batch > tile && bytes > l2_bytes() / 2 && pattern.indptr[pattern.rows] >= 8 * job.cols) {
      thread_local std::vector<char> kept;
      if (std::int64_t(kept.size()) < bytes) kept.resize(std::size_t(bytes));
      mine.scratch = reinterpret_cast<Element*>(kept.data());
    }
    std::vector<std::int32_t> next(csr.indptr ? csr.rows : 0), first(csr.indptr && begin > 0 ? csr.rows : 0);
    if (csr.indptr) {
      if (begin > 0) first_from(csr.indptr, csr.indices, csr.rows, pattern.rows, begin, first.data());
      mine.pattern.first = begin > 0 ? first.data() : csr.indptr;
      mine.pattern.next = next.data();
      mine.pattern.others = csr.rows;
    }
    kernel(mine, begin, end);
  });
}

// The matrix from which rows are gathered is cut into blocks that stay in the second cache if it does not fit there as a
// whole. A product alone, which is bound by the way from the second to the first, is cut into blocks for the first too:
// where of each row no more than a line of the cache is needed, and where the batch fills a tile. Any of it pays only
// where a row of the pattern has some entries in a block, since its sums are taken up again for each; to have a dozen, a
// block may be larger than the first cache if the matrix stays in the second. So do the entries of the rows at work.
Blocks blocks_of(const Compressed& pattern, std::int64_t cols, std::int64_t row_bytes, bool fine) {
  const bool narrow = row_bytes <= kNarrowTile;
  const std::int64_t tile = narrow ? row_bytes : 8 * active().vector_bytes;
  const std::int64_t first = l1_bytes() * 3 / 4 / tile, second = l2_bytes() / 2 / tile;
  const double fan_in = double(pattern.indptr[pattern.rows]) / double(pattern.rows), density = fan_in / double(cols);
  const std::int64_t listed = std::int64_t(double(l2_bytes()) / 4 / (8 * fan_in + 1));
  const std::int64_t rows = std::max<std::int64_t>(std::min(second / 4, listed), 16);
  if (fine && !narrow && cols < 2 * second && density * double(first) * 8 / 3 >= 6) {
    const std::int64_t columns = std::max(first, std::min(first * 8 / 3, std::int64_t(12 / density)));
    if (cols >= 2 * columns) return {columns, rows};
  }
  if (fine && cols >= 2 * first && density * double(first) >= 20) return {first, rows};
  if (cols >= 2 * second && density * double(second) >= 16) return {second, rows};
  return {0, 0};
}

void spmm(int dtype, int threads, Address indptr, Address indices, std::int64_t rows, std::int64_t cols,
            Address csr_indptr, Address csr_indices, Address values, Address bias, Address x, Address y,
            std::int64_t batch, std::int64_t x_stride, std::int64_t y_stride, bool relu) {
  nb::gil_scoped_release release;
  if (rows == 0 || batch == 0) return;
  const Csr csr{at<const std::int32_t>(csr_indptr), at<const std::int32_t>(csr_indices), cols};
  with_dtype(dtype, active(), [&](const auto& products, auto storage) {
    using S = decltype(storage);
    const auto pattern = compressed(indptr, indices, rows);
    const Blocks blocks = blocks_of(pattern, cols, batch * std::int64_t(sizeof(S)), true);
    std::vector<std::int32_t> resume(blocks.columns ? rows : 0);
    const Spmm<S, Compute<S>> job{pattern, at<const S>(values), at<const S>(bias), at<const S>(x), at<S>(y),
                                           cols, batch, x_stride, y_stride, relu,
                                           cols * batch * std::int64_t(sizeof(S)) > l1_bytes(), blocks, resume.data(), nullptr};
    run(products.spmm, job, csr, threads);
  });
}

void spmm_sddmm(int dtype, int threads, Address indptr, Address indices, std::int64_t rows, std::int64_t cols,
          Address csr_indptr, Address csr_indices, Address values, Address a, Address b, Address da,
          Address dvalues, std::int64_t batch, std::int64_t a_stride, std::int64_t b_stride, std::int64_t da_stride) {
  nb::gil_scoped_release release;
  if (rows == 0 || batch == 0) return;
  const Csr csr{at<const std::int32_t>(csr_indptr), at<const std::int32_t>(csr_indices), cols};
  with_dtype(dtype, active(), [&](const auto& products, auto storage) {
    using S = decltype(storage);
    using C = Compute<S>;
    const auto pattern = compressed(indptr, indices, rows);
    const Blocks blocks = blocks_of(pattern, cols, 8 * active().vector_bytes, false);
    std::vector<std::int32_t> resume(blocks.columns ? rows : 0);
    const SpmmSddmm<S, C> job{pattern, at<const S>(values), at<const S>(a), at<const S>(b), at<S>(da),
                                 at<C>(dvalues), cols, batch, a_stride, b_stride, da_stride,
                                 cols * batch * std::int64_t(sizeof(S)) > l1_bytes(), blocks, resume.data(), nullptr};
    run(products.spmm_sddmm, job, csr, threads);
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
  bind_associative(m);
  bind_convolution(m);
  bind_hoyer(m);
  bind_spspmm(m);
  bind_srelu(m);
}
