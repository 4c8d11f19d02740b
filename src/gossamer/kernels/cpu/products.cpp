// The products of a sparse layer, for one instruction set. See products.h for what they compute.
//
// A tile of V vectors of W lanes covers V*W columns of the batch. A batch that W does not divide is covered by letting
// its last vector overlap the one before: the shared lanes are computed twice, with the same result.

#include "products.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "vec.h"

#ifndef GOSSAMER_ISA
#define GOSSAMER_ISA baseline
#endif

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

constexpr int kGatherVectors = 8, kFuseVectors = kRegisters / 4;  // of a tile
// Entries between a prefetch and its use: a few rows of a wide tile, many single numbers; counters before what they count.
constexpr std::int32_t kValuesAhead = 32, kCountersAhead = 64;
constexpr std::int32_t rows_ahead(int vectors) { return vectors > 4 ? 4 : vectors > 1 ? 16 : kValuesAhead; }

// The batch from `start` on, V vectors of it; the last one may be shifted left so as to end with the batch.
struct Tile {
  std::int64_t start;
  std::int64_t last;  // offset of the last vector from start
};

// Counters of a transpose start again with every tile.
inline void restart(const Compressed& pattern) {
  if (pattern.next) std::memcpy(pattern.next, pattern.first, std::size_t(pattern.others) * sizeof(std::int32_t));
}

// Where the value of an entry is that names row `other` of W.
inline std::int32_t value_of(const Compressed& pattern, std::int32_t entry, std::int32_t other) {
  return pattern.next ? pattern.next[other]++ : entry;
}

// ---- Y = W X ------------------------------------------------------------------------------------------------------

// The columns below `limit` that are left of each row. Unless whole, sums go on from what is in Y and in `resume`.
template <class S, int W, int V, bool whole, bool transposed>
void gather_tile(const GatherProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile,
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
  const std::int32_t ahead =
      transposed || (whole && job.prefetch) ? pattern.indptr[pattern.rows] - (transposed ? kCountersAhead : kValuesAhead) : 0;
  const bool relu = job.relu && ends;
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
      for (; j < stop && indices[j] < limit; ++j) add(j, sum[0]);
      job.resume[row] = j;
    }

    for (int u = 1; u < U; ++u)
      for (int i = 0; i < V; ++i) sum[0][i] += sum[u][i];
    for (int i = 0; i < V; ++i) {
      const Vector result = relu ? max0<C, W>(sum[0][i]) : sum[0][i];
      store<S, W>(y + (i == V - 1 ? tile.last : i * W), result);
    }
  }
}

// Calls part(begin, end, limit, starts, ends) for all rows at once; or, if the job says so, for some rows and a block of
// columns at a time. A batch that ends in the middle of a vector is not cut: its last two vectors overlap, and what both
// hold would be added twice.
template <class Job, class Part>
void over_blocks(const Job& job, std::int64_t begin, std::int64_t end, bool whole_vectors, const Part& part) {
  const Blocks& blocks = job.blocks;
  if (blocks.columns == 0 || !whole_vectors) return part(begin, end, INT32_MAX, true, true, std::true_type());
  for (std::int64_t row = begin; row < end; row += blocks.rows) {
    const std::int64_t last = std::min(row + blocks.rows, end);
    for (std::int64_t from = 0; from < job.cols; from += blocks.columns) {
      const std::int64_t to = std::min(from + blocks.columns, job.cols);
      part(row, last, std::int32_t(to), from == 0, to == job.cols, std::false_type());
    }
  }
}

template <class S, int W, int V>
void gather_blocks(const GatherProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile) {
  restart(job.pattern);
  if constexpr (V == kGatherVectors && std::is_same_v<S, Compute<S>>) {
    if (!job.pattern.next) {
      return over_blocks(job, begin, end, tile.last == (V - 1) * W, [&](auto row, auto last, auto limit, bool starts, bool ends, auto whole) {
        gather_tile<S, W, V, whole, false>(job, row, last, tile, limit, starts, ends);
      });
    }
  }
  if (job.pattern.next) return gather_tile<S, W, V, true, true>(job, begin, end, tile, 0, true, true);
  gather_tile<S, W, V, true, false>(job, begin, end, tile, 0, true, true);
}

// ---- dA = W' B and dv = <A, B> ------------------------------------------------------------------------------------

// The columns below `limit` that are left of each row, as above.
template <class S, int W, int V, bool WithDa, bool whole>
void fuse_tile(const FusedProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile, bool first,
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
void fuse_blocks(const FusedProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile, bool first) {
  restart(job.pattern);
  if constexpr (V == kFuseVectors && std::is_same_v<S, Compute<S>>) {
    return over_blocks(job, begin, end, tile.last == (V - 1) * W, [&](auto row, auto last, auto limit, bool starts, bool, auto whole) {
      fuse_tile<S, W, V, WithDa, whole>(job, row, last, tile, first, limit, starts);
    });
  }
  fuse_tile<S, W, V, WithDa, true>(job, begin, end, tile, first, 0, true);
}

// ---- the gradient of a ReLU behind the product --------------------------------------------------------------------

template <class S>
void relu_gradient(const ReluGradient<S>& job, std::int64_t begin, std::int64_t end) {
  using C = Compute<S>;
  constexpr int W = kVectorBytes / int(sizeof(C));
  using Vector = Vec<C, W>;
  for (std::int64_t row = begin; row < end; ++row) {
    const S *g = job.g + row * job.g_stride, *y = job.y + row * job.y_stride;
    S* out = job.out + row * job.out_stride;
    Vector sums{};
    std::int64_t b = 0;
    for (; b + W <= job.batch; b += W) {
      const Vector passed = load<S, W>(y + b) <= Vector{} ? Vector{} : load<S, W>(g + b);
      store<S, W>(out + b, passed);
      sums += passed;
    }
    C sum = 0;
    for (int lane = 0; lane < W; ++lane) sum += sums[lane];
    for (; b < job.batch; ++b) {
      const C passed = widen(y[b]) <= C(0) ? C(0) : widen(g[b]);
      out[b] = narrow<S>(passed);
      sum += passed;
    }
    job.dbias[row] = narrow<S>(sum);
  }
}

// ---- cutting the batch into tiles ---------------------------------------------------------------------------------

// Calls tile(width, vectors, where, first) for each tile of the batch, all of about equal size.
template <int W, class Call>
void over_tiles(std::int64_t batch, int most, const Call& call) {
  const std::int64_t vectors = (batch + W - 1) / W, tiles = (vectors + most - 1) / most;
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t from = vectors * t / tiles, to = vectors * (t + 1) / tiles;
    const std::int64_t start = from * W, last = std::min((to - 1) * W, batch - W) - start;
    call(int(to - from), Tile{start, last}, t == 0);
  }
}

// Rows of a large batch lie far apart, often by a power of two, and so meet in a few sets of the cache: the part of a
// tile is copied together. Returns where row 0 would begin if the whole batch were there.
template <class S, int W>
const S* packed(const S* x, std::int64_t& stride, std::int64_t rows, Tile tile, S* scratch) {
  const std::int64_t width = tile.last + W;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::memcpy(scratch + row * width, x + row * stride + tile.start, std::size_t(width) * sizeof(S));
  }
  stride = width;
  return scratch - tile.start;
}

template <class S, int W>
void gather_width(const GatherProduct<S, Compute<S>>& whole, std::int64_t begin, std::int64_t end) {
  over_tiles<W>(whole.batch, kGatherVectors, [&](int vectors, Tile tile, bool) {
    auto job = whole;
    if (job.scratch) job.x = packed<S, W>(whole.x, job.x_stride, job.cols, tile, job.scratch);
    switch (vectors) {
      case 1: return gather_blocks<S, W, 1>(job, begin, end, tile);
      case 2: return gather_blocks<S, W, 2>(job, begin, end, tile);
      case 3: return gather_blocks<S, W, 3>(job, begin, end, tile);
      case 4: return gather_blocks<S, W, 4>(job, begin, end, tile);
      case 5: return gather_blocks<S, W, 5>(job, begin, end, tile);
      case 6: return gather_blocks<S, W, 6>(job, begin, end, tile);
      case 7: return gather_blocks<S, W, 7>(job, begin, end, tile);
      default: return gather_blocks<S, W, 8>(job, begin, end, tile);
    }
  });
}

template <class S, int W, bool WithDa>
void fuse_width(const FusedProduct<S, Compute<S>>& whole, std::int64_t begin, std::int64_t end) {
  over_tiles<W>(whole.batch, kFuseVectors, [&](int vectors, Tile tile, bool first) {
    auto job = whole;
    if (job.scratch) job.b = packed<S, W>(whole.b, job.b_stride, job.cols, tile, job.scratch);
    switch (vectors) {
      case 1: return fuse_blocks<S, W, 1, WithDa>(job, begin, end, tile, first);
      case 2: return fuse_blocks<S, W, 2, WithDa>(job, begin, end, tile, first);
      case 3: return fuse_blocks<S, W, 3, WithDa>(job, begin, end, tile, first);
      case 4: return fuse_blocks<S, W, 4, WithDa>(job, begin, end, tile, first);
      default: break;
    }
    if constexpr (kFuseVectors > 4) {
      switch (vectors) {
        case 5: return fuse_blocks<S, W, 5, WithDa>(job, begin, end, tile, first);
        case 6: return fuse_blocks<S, W, 6, WithDa>(job, begin, end, tile, first);
        case 7: return fuse_blocks<S, W, 7, WithDa>(job, begin, end, tile, first);
        default: return fuse_blocks<S, W, 8, WithDa>(job, begin, end, tile, first);
      }
    }
  });
}

// The widest vector that the batch fills; below four samples, scalars.
template <class S, class Call>
void with_width(std::int64_t batch, const Call& call) {
  constexpr int full = kVectorBytes / int(sizeof(Compute<S>));
  if constexpr (full >= 16) {
    if (batch >= 16) return call(std::integral_constant<int, 16>());
  }
  if constexpr (full >= 8) {
    if (batch >= 8) return call(std::integral_constant<int, 8>());
  }
  if constexpr (full >= 4) {
    if (batch >= 4) return call(std::integral_constant<int, 4>());
  }
  if constexpr (full == 2) {
    if (batch >= 2) return call(std::integral_constant<int, 2>());
  }
  call(std::integral_constant<int, 1>());
}

template <class S>
void gather(const GatherProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end) {
  with_width<S>(job.batch, [&](auto width) { gather_width<S, decltype(width)::value>(job, begin, end); });
}

template <class S>
void fuse(const FusedProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end) {
  with_width<S>(job.batch, [&](auto width) {
    constexpr int W = decltype(width)::value;
    return job.da ? fuse_width<S, W, true>(job, begin, end) : fuse_width<S, W, false>(job, begin, end);
  });
}

}  // namespace

#define GOSSAMER_NAME_(isa) #isa
#define GOSSAMER_NAME(isa) GOSSAMER_NAME_(isa)

extern const Kernels kernels;  // const alone would make it internal
const Kernels kernels{GOSSAMER_NAME(GOSSAMER_ISA),
                      kVectorBytes,
                      {gather<float>, fuse<float>, relu_gradient<float>},
                      {gather<double>, fuse<double>, relu_gradient<double>},
                      {gather<bfloat16>, fuse<bfloat16>, relu_gradient<bfloat16>}};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
