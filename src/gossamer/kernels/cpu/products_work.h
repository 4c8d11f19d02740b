// The products of a sparse layer on whole matrices: cut into blocks, and shared among threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "dispatch.h"
#include "pattern.h"
#include "products.h"

namespace gossamer {

GOSSAMER_TABLE(Kernels, kernels, active)

namespace {

// A matrix W by rows; with it as csr, the pattern at work is that of W', whose values are in the order of W.
struct Csr {
  const std::int32_t *indptr, *indices;
  std::int64_t rows;
};

inline Compressed compressed(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows) {
  return {indptr, indices, rows, nullptr, nullptr, 0};
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
inline Blocks blocks_of(const Compressed& pattern, std::int64_t cols, std::int64_t row_bytes, bool fine) {
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

// Y = W X (+ bias, ReLU) for the pattern of W, or with csr that of W'; X has `cols` rows.
template <class S, class C>
void run_spmm(const Products<S, C>& products, const Compressed& pattern, const Csr& csr, int threads, const S* values,
              const S* bias, const S* x, S* y, std::int64_t cols, std::int64_t batch, std::int64_t x_stride,
              std::int64_t y_stride, bool relu) {
  if (pattern.rows == 0 || batch == 0) return;
  const Blocks blocks = blocks_of(pattern, cols, batch * std::int64_t(sizeof(S)), true);
  std::vector<std::int32_t> resume(blocks.columns ? pattern.rows : 0);
  const Spmm<S, C> job{pattern, values, bias, x, y, cols, batch, x_stride, y_stride, relu,
                       cols * batch * std::int64_t(sizeof(S)) > l1_bytes(), blocks, resume.data(), nullptr};
  run(products.spmm, job, csr, threads);
}

// dA = W B, if da is not null, and dv = <A, B> on the pattern; likewise.
template <class S, class C>
void run_spmm_sddmm(const Products<S, C>& products, const Compressed& pattern, const Csr& csr, int threads,
                    const S* values, const S* a, const S* b, S* da, C* dvalues, std::int64_t cols, std::int64_t batch,
                    std::int64_t a_stride, std::int64_t b_stride, std::int64_t da_stride) {
  if (pattern.rows == 0 || batch == 0) return;
  const Blocks blocks = blocks_of(pattern, cols, 8 * active().vector_bytes, false);
  std::vector<std::int32_t> resume(blocks.columns ? pattern.rows : 0);
  const SpmmSddmm<S, C> job{pattern, values, a, b, da, dvalues, cols, batch, a_stride, b_stride, da_stride,
                            cols * batch * std::int64_t(sizeof(S)) > l1_bytes(), blocks, resume.data(), nullptr};
  run(products.spmm_sddmm, job, csr, threads);
}

}  // namespace
}  // namespace gossamer
