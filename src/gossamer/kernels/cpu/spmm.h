// Y = W X, with bias and, if wanted, ReLU. Row r of Y is
//   y(r) = max(bias(r) + sum of w(j) x(c(j)), 0)   over the entries j of row r of the pattern, in columns c(j),
// with x(c) row c of X. The part of y(r) in a tile of the batch stays in registers: an entry is one broadcast, and one
// multiply-add for each vector of the tile.
#pragma once

#include <cstdint>
#include <type_traits>

#include "products.h"
#include "tiles.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {  // internal linkage, as in vec.h

// The columns below `limit` that are left of each row. Unless whole, sums go on from what is in Y and in `resume`.
template <class S, int W, int V, bool whole, bool transposed>
void spmm_tile(const Spmm<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile,
                 std::int32_t limit, bool starts, bool ends) {
  using C = Compute<S>;
  using Vector = Vec<C, W>;
  constexpr int U = V >= 6 ? 1 : V >= 3 ? 2 : V == 2 ? 4 : 8;  // entries in flight: hides the latency of the sums
  const Compressed pattern = job.pattern;
  const S *const x = job.x + tile.start, *const values = job.values;
  const std::int64_t stride = job.x_stride;
  const std::int32_t* const indices = pattern.indices;
  std::int32_t* const next = pattern.next;
  // Until this entry something is fetched ahead.
  const std::int32_t ahead = transposed || (whole && job.prefetch)
                                 ? pattern.indptr[pattern.rows] - (transposed ? kCountersAhead : kValuesAhead)
                                 : 0;
  const bool relu = job.relu && ends;
  std::int32_t taken = 0;  // of the row before, in this block
  const Vector zero{};

  for (std::int64_t row = begin; row < end; ++row) {
    std::int32_t j = whole || starts ? pattern.indptr[row] : job.resume[row];
    const std::int32_t stop = pattern.indptr[row + 1];
    S* y = job.y + row * job.y_stride + tile.start;
    Vector sum[U][V];
    for (int u = 0; u < U; ++u)
      for (int i = 0; i < V; ++i) sum[u][i] = zero;
    if (whole || starts) {
      const C bias = job.bias ? widen(job.bias[row]) : C(0);
      for (int i = 0; i < V; ++i) sum[0][i] = broadcast<C, W>(bias);
    } else {
      for (int i = 0; i < V; ++i) sum[0][i] = load<S, W>(y + (i == V - 1 ? tile.last : i * W));
    }

    auto add = [&](std::int32_t entry, Vector* into) {
      if (whole && entry < ahead) {
        const S* coming = x + std::int64_t(indices[entry + rows_ahead(V)]) * stride;
        for (int i = 0; i < V; ++i) __builtin_prefetch(coming + i * W);
        if constexpr (transposed) {
          __builtin_prefetch(next + indices[entry + kCountersAhead]);
          __builtin_prefetch(values + next[indices[entry + kValuesAhead]]);
        }
      }
      const std::int32_t column = indices[entry];
      const Vector value = broadcast<C, W>(widen(values[transposed ? next[column]++ : entry]));
      const S* source = x + std::int64_t(column) * stride;
      for (int i = 0; i < V - 1; ++i) into[i] += value * load<S, W>(source + i * W);
      into[V - 1] += value * load<S, W>(source + tile.last);
    };
    if constexpr (whole) {
      for (; j + U <= stop; j += U)
        for (int u = 0; u < U; ++u) add(j + u, sum[u]);
      for (; j < stop; ++j) add(j, sum[0]);
    } else {
      if (row + kRowsAhead < end) {  // a row's entries in this block are too few for the processor to see a stream
        const std::int32_t coming = starts ? pattern.indptr[row + kRowsAhead] : job.resume[row + kRowsAhead];
        for (std::int32_t k = 0; k < taken; k += 64 / sizeof(S)) {
          __builtin_prefetch(indices + coming + k);
          __builtin_prefetch(values + coming + k);
        }
      }
      const std::int32_t before = j;
      for (; j + U <= stop && indices[j + U - 1] < limit; j += U)
        for (int u = 0; u < U; ++u) add(j + u, sum[u]);
      for (; j < stop && indices[j] < limit; ++j) add(j, sum[0]);
      job.resume[row] = j;
      taken = j - before;
    }

    for (int u = 1; u < U; ++u)
      for (int i = 0; i < V; ++i) sum[0][i] += sum[u][i];
    for (int i = 0; i < V; ++i) {
      const Vector result = relu ? max0<C, W>(sum[0][i]) : sum[0][i];
      store<S, W>(y + (i == V - 1 ? tile.last : i * W), result);
    }
  }
}

template <class S, int W, int V>
void spmm_blocks(const Spmm<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile) {
  restart(job.pattern);
  constexpr bool narrow = W > 1 && V * W * int(sizeof(S)) <= kNarrowTile;
  if constexpr ((V == kSpmmVectors || narrow) && std::is_same_v<S, Compute<S>>) {
    if (!job.pattern.next) {
      return over_blocks(job, begin, end,
                         [&](auto row, auto last, auto limit, bool starts, bool ends, auto whole) {
                           spmm_tile<S, W, V, whole, false>(job, row, last, tile, limit, starts, ends);
                         });
    }
  }
  if (job.pattern.next) return spmm_tile<S, W, V, true, true>(job, begin, end, tile, 0, true, true);
  spmm_tile<S, W, V, true, false>(job, begin, end, tile, 0, true, true);
}

template <class S, int W>
void spmm_width(const Spmm<S, Compute<S>>& whole, std::int64_t begin, std::int64_t end) {
  over_tiles<W>(whole.batch, kSpmmVectors, [&](int vectors, Tile tile, bool) {
    auto job = whole;
    if (job.scratch) job.x = packed<S, W>(whole.x, job.x_stride, job.cols, tile, job.scratch);
    switch (vectors) {
      case 1: return spmm_blocks<S, W, 1>(job, begin, end, tile);
      case 2: return spmm_blocks<S, W, 2>(job, begin, end, tile);
      case 3: return spmm_blocks<S, W, 3>(job, begin, end, tile);
      case 4: return spmm_blocks<S, W, 4>(job, begin, end, tile);
      case 5: return spmm_blocks<S, W, 5>(job, begin, end, tile);
      case 6: return spmm_blocks<S, W, 6>(job, begin, end, tile);
      case 7: return spmm_blocks<S, W, 7>(job, begin, end, tile);
      default: return spmm_blocks<S, W, 8>(job, begin, end, tile);
    }
  });
}

// One sample has no rows to read. Its numbers are fetched one by one and put together to vectors of four, which halves
// the loads of values; four sums hide the latency.
template <class S>
void spmm_one(const Spmm<S, Compute<S>>& job, std::int64_t begin, std::int64_t end) {
  using C = Compute<S>;
  constexpr int L = 4, U = 4;
  using Vector = Vec<C, L>;
  const S *const x = job.x, *const values = job.values;
  const std::int32_t* const indices = job.pattern.indices;
  const std::int32_t ahead = job.prefetch ? job.pattern.indptr[job.pattern.rows] - kValuesAhead - U * L : 0;
  for (std::int64_t row = begin; row < end; ++row) {
    std::int32_t j = job.pattern.indptr[row];
    const std::int32_t stop = job.pattern.indptr[row + 1];
    Vector sums[U] = {};
    const auto add = [&](std::int32_t entry, Vector& sum) {
      const std::int32_t* column = indices + entry;
      const Vector taken{widen(x[column[0]]), widen(x[column[1]]), widen(x[column[2]]), widen(x[column[3]])};
      sum += load<S, L>(values + entry) * taken;
    };
    for (; j + U * L <= stop; j += U * L) {
      if (j < ahead) {
        for (int u = 0; u < U * L; ++u) __builtin_prefetch(x + indices[j + kValuesAhead + u]);
      }
      for (int u = 0; u < U; ++u) add(j + u * L, sums[u]);
    }
    for (int u = 0; j + L <= stop; j += L) add(j, sums[u++]);
    C rest = job.bias ? widen(job.bias[row]) : C(0);
    for (; j < stop; ++j) rest += widen(values[j]) * widen(x[indices[j]]);
    const Vector sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    const C result = (sum[0] + sum[1]) + (sum[2] + sum[3]) + rest;
    job.y[row * job.y_stride] = narrow<S>(job.relu ? max0<C, 1>(result) : result);
  }
}

template <class S>
void spmm(const Spmm<S, Compute<S>>& job, std::int64_t begin, std::int64_t end) {
  if (job.batch == 1 && job.x_stride == 1 && !job.pattern.next) return spmm_one<S>(job, begin, end);
  with_width<S>(job.batch, [&](auto width) { spmm_width<S, decltype(width)::value>(job, begin, end); });
}

}  // namespace
}  // namespace GOSSAMER_ISA
}  // namespace gossamer
