// dA = W B and dv = <A, B> on the pattern of W. Of row r and its entries j, in columns c(j),
//   da(r) = sum of w(j) b(c(j))      dv(j) = <a(r), b(c(j))> over the batch,
// with a(r) and b(c) rows of A and B. Both need b(c(j)): it is read once and used twice. With W' for W, X for A and the
// gradient of Y for B, they are the gradients of Y = W X. Where dA is not wanted, dv is computed alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "products.h"
#include "tiles.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {  // internal linkage, as in vec.h

// The columns below `limit` that are left of each row. Unless whole, sums go on from what is in dA and in `resume`.
// Those of dv go on from the tile before, unless it is the first.
template <class S, int W, int V, bool WithDa, bool whole>
void spmm_sddmm_tile(const SpmmSddmm<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile, bool first,
               std::int32_t limit, bool starts) {
  using C = Compute<S>;
  using Vector = Vec<C, W>;
  const Compressed pattern = job.pattern;
  const S* const b = job.b + tile.start;
  const std::int32_t entries = pattern.indptr[pattern.rows];
  // Lanes that the vector before the last one covers already count only once in the inner products.
  const std::int64_t overlap = (V - 1) * W - tile.last;

  for (std::int64_t row = begin; row < end; ++row) {
    const std::int32_t start = whole || starts ? pattern.indptr[row] : job.resume[row];
    std::int32_t stop = pattern.indptr[row + 1];
    if constexpr (!whole) {
      stop = std::int32_t(std::lower_bound(pattern.indices + start, pattern.indices + stop, limit) - pattern.indices);
      job.resume[row] = stop;
    }
    S* const target = WithDa ? job.da + row * job.da_stride + tile.start : nullptr;
    const S* source = job.a + row * job.a_stride + tile.start;
    Vector a[V], da[V];
    for (int i = 0; i < V; ++i) {
      a[i] = load<S, W>(source + (i == V - 1 ? tile.last : i * W));
      da[i] = Vector{};
      if constexpr (WithDa && !whole) {
        if (!starts) da[i] = load<S, W>(target + (i == V - 1 ? tile.last : i * W));
      }
    }
    if constexpr (W > 1) {
      for (std::int64_t lane = 0; lane < overlap; ++lane) a[V - 1][lane] = 0;
    }

    // Four entries at a time: their sums are independent, which hides latency, and are reduced together.
    auto visit = [&](std::int32_t entry, auto count) {
      constexpr int N = decltype(count)::value;
      const S* other[N];
      std::int32_t where[N];
      Vector value[N], dot[4] = {};
      for (int u = 0; u < N; ++u) {
        const std::int32_t column = pattern.indices[entry + u];
        other[u] = b + std::int64_t(column) * job.b_stride;
        where[u] = value_of(pattern, entry + u, column);
        if constexpr (WithDa) value[u] = broadcast<C, W>(widen(job.values[where[u]]));
      }
      for (int i = 0; i < V; ++i) {
        for (int u = 0; u < N; ++u) {
          const Vector y = load<S, W>(other[u] + (i == V - 1 ? tile.last : i * W));
          if constexpr (WithDa) da[i] += value[u] * y;
          dot[u] += a[i] * y;
        }
      }
      C products[4];
      sum_of_four<C, W>(dot, products);
      for (int u = 0; u < N; ++u) {
        C& target = job.dvalues[where[u]];
        target = first ? products[u] : target + products[u];
      }
    };

    std::int32_t j = start;
    for (; j + 4 <= stop; j += 4) {
      if (j + 4 + kCountersAhead <= entries) {
        if (job.prefetch) {
          for (int u = 0; u < 4; ++u) {
            const S* coming = b + std::int64_t(pattern.indices[j + rows_ahead(V) + u]) * job.b_stride;
            for (int i = 0; i < V; ++i) __builtin_prefetch(coming + i * W);
          }
        }
        if (pattern.next) {
          for (int u = 0; u < 4; ++u) {
            __builtin_prefetch(pattern.next + pattern.indices[j + kCountersAhead + u]);
            const std::int32_t coming = pattern.next[pattern.indices[j + kValuesAhead + u]];
            if constexpr (WithDa) __builtin_prefetch(job.values + coming);
            __builtin_prefetch(job.dvalues + coming, 1);
          }
        }
      }
      visit(j, std::integral_constant<int, 4>());
    }
    for (; j < stop; ++j) visit(j, std::integral_constant<int, 1>());

    if constexpr (WithDa) {
      for (int i = 0; i < V; ++i) store<S, W>(target + (i == V - 1 ? tile.last : i * W), da[i]);
    }
  }
}

template <class S, int W, int V, bool WithDa>
void spmm_sddmm_blocks(const SpmmSddmm<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile, bool first) {
  restart(job.pattern);
  if constexpr (V == kSddmmVectors && std::is_same_v<S, Compute<S>>) {
    return over_blocks(job, begin, end,
                       [&](auto row, auto last, auto limit, bool starts, bool, auto whole) {
                         spmm_sddmm_tile<S, W, V, WithDa, whole>(job, row, last, tile, first, limit, starts);
                       });
  }
  spmm_sddmm_tile<S, W, V, WithDa, true>(job, begin, end, tile, first, 0, true);
}

template <class S, int W, bool WithDa>
void spmm_sddmm_width(const SpmmSddmm<S, Compute<S>>& whole, std::int64_t begin, std::int64_t end) {
  over_tiles<W>(whole.batch, kSddmmVectors, [&](int vectors, Tile tile, bool first) {
    auto job = whole;
    if (job.scratch) job.b = packed<S, W>(whole.b, job.b_stride, job.cols, tile, job.scratch);
    switch (vectors) {
      case 1: return spmm_sddmm_blocks<S, W, 1, WithDa>(job, begin, end, tile, first);
      case 2: return spmm_sddmm_blocks<S, W, 2, WithDa>(job, begin, end, tile, first);
      case 3: return spmm_sddmm_blocks<S, W, 3, WithDa>(job, begin, end, tile, first);
      case 4: return spmm_sddmm_blocks<S, W, 4, WithDa>(job, begin, end, tile, first);
      default: break;
    }
    if constexpr (kSddmmVectors > 4) {
      switch (vectors) {
        case 5: return spmm_sddmm_blocks<S, W, 5, WithDa>(job, begin, end, tile, first);
        case 6: return spmm_sddmm_blocks<S, W, 6, WithDa>(job, begin, end, tile, first);
        case 7: return spmm_sddmm_blocks<S, W, 7, WithDa>(job, begin, end, tile, first);
        default: return spmm_sddmm_blocks<S, W, 8, WithDa>(job, begin, end, tile, first);
      }
    }
  });
}

template <class S>
void spmm_sddmm(const SpmmSddmm<S, Compute<S>>& job, std::int64_t begin, std::int64_t end) {
  with_width<S>(job.batch, [&](auto width) {
    constexpr int W = decltype(width)::value;
    return job.da ? spmm_sddmm_width<S, W, true>(job, begin, end) : spmm_sddmm_width<S, W, false>(job, begin, end);
  });
}

}  // namespace
}  // namespace GOSSAMER_ISA
}  // namespace gossamer
