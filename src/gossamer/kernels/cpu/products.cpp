// The products of a sparse layer, for one instruction set. See products.h for what they compute.
//
// A tile of V vectors of W lanes covers V*W columns of the batch. A batch that W does not divide is covered by letting
// its last vector overlap the one before: the shared lanes are computed twice, with the same result.

#include "products.h"

#include <algorithm>

#include "vec.h"

#ifndef GOSSAMER_ISA
#define GOSSAMER_ISA baseline
#endif

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kGatherVectors = 8, kFuseVectors = 8;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kGatherVectors = 8, kFuseVectors = 4;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kGatherVectors = 8, kFuseVectors = 8;
#else
constexpr int kVectorBytes = 16, kGatherVectors = 8, kFuseVectors = 4;
#endif
// Entries between a prefetch and its use: a few rows of the batch, many single numbers.
constexpr std::int32_t kRowsAhead = 8, kValuesAhead = 32;

// The batch from `start` on, V vectors of it; the last one may be shifted left so as to end with the batch.
struct Tile {
  std::int64_t start;
  std::int64_t last;  // offset of the last vector from start
};

// ---- Y = W X ------------------------------------------------------------------------------------------------------

template <class S, int W, int V>
void gather_tile(const GatherProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile) {
  using C = Compute<S>;
  using Vector = Vec<C, W>;
  constexpr int U = V >= 6 ? 1 : V >= 3 ? 2 : V == 2 ? 4 : 8;  // entries in flight: hides the latency of the sums
  const Compressed& pattern = job.pattern;
  const S* x = job.x + tile.start;
  const std::int32_t entries = pattern.indptr[pattern.rows];
  const Vector zero{};

  for (std::int64_t row = begin; row < end; ++row) {
    std::int32_t j = pattern.indptr[row];
    const std::int32_t stop = pattern.indptr[row + 1];
    const C bias = job.bias ? widen(job.bias[row]) : C(0);
    Vector sum[U][V];
    for (int u = 0; u < U; ++u)
      for (int i = 0; i < V; ++i) sum[u][i] = u == 0 ? broadcast<C, W>(bias) : zero;

    auto add = [&](std::int32_t entry, Vector* into) {
      std::int32_t where = entry;
      if (pattern.permutation) {
        where = pattern.permutation[entry];
        if (entry + kValuesAhead < entries) __builtin_prefetch(job.values + pattern.permutation[entry + kValuesAhead]);
      }
      if (job.prefetch && entry + kRowsAhead < entries) {
        const S* coming = x + std::int64_t(pattern.indices[entry + kRowsAhead]) * job.x_stride;
        for (int i = 0; i < V; ++i) __builtin_prefetch(coming + i * W);
      }
      const Vector value = broadcast<C, W>(widen(job.values[where]));
      const S* source = x + std::int64_t(pattern.indices[entry]) * job.x_stride;
      for (int i = 0; i < V - 1; ++i) into[i] += value * load<S, W>(source + i * W);
      into[V - 1] += value * load<S, W>(source + tile.last);
    };
    for (; j + U <= stop; j += U)
      for (int u = 0; u < U; ++u) add(j + u, sum[u]);
    for (; j < stop; ++j) add(j, sum[0]);

    for (int u = 1; u < U; ++u)
      for (int i = 0; i < V; ++i) sum[0][i] += sum[u][i];
    S* y = job.y + row * job.y_stride + tile.start;
    for (int i = 0; i < V; ++i) {
      const Vector result = job.relu ? max0<C, W>(sum[0][i]) : sum[0][i];
      store<S, W>(y + (i == V - 1 ? tile.last : i * W), result);
    }
  }
}

// ---- dA = W' B and dv = <A, B> ------------------------------------------------------------------------------------

template <class S, int W, int V, bool WithDa>
void fuse_tile(const FusedProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end, Tile tile, bool first) {
  using C = Compute<S>;
  using Vector = Vec<C, W>;
  const Compressed& pattern = job.pattern;
  const S* b = job.b + tile.start;
  const std::int32_t entries = pattern.indptr[pattern.rows];
  auto where = [&](std::int32_t entry) { return pattern.permutation ? pattern.permutation[entry] : entry; };
  // Lanes that the vector before the last one covers already count only once in the inner products.
  const std::int64_t overlap = (V - 1) * W - tile.last;

  for (std::int64_t row = begin; row < end; ++row) {
    const std::int32_t start = pattern.indptr[row], stop = pattern.indptr[row + 1];
    const S* source = job.a + row * job.a_stride + tile.start;
    Vector a[V], da[V];
    for (int i = 0; i < V; ++i) {
      a[i] = load<S, W>(source + (i == V - 1 ? tile.last : i * W));
      da[i] = Vector{};
    }
    if constexpr (W > 1) {
      for (std::int64_t lane = 0; lane < overlap; ++lane) a[V - 1][lane] = 0;
    }

    // Four entries at a time: their sums are independent, which hides latency, and are reduced together.
    auto visit = [&](std::int32_t entry, auto count) {
      constexpr int N = decltype(count)::value;
      const S* other[N];
      Vector value[N], dot[4] = {};
      for (int u = 0; u < N; ++u) {
        other[u] = b + std::int64_t(pattern.indices[entry + u]) * job.b_stride;
        if constexpr (WithDa) value[u] = broadcast<C, W>(widen(job.values[where(entry + u)]));
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
        C& target = job.dvalues[where(entry + u)];
        target = first ? products[u] : target + products[u];
      }
    };

    std::int32_t j = start;
    for (; j + 4 <= stop; j += 4) {
      if (pattern.permutation && j + 4 + kValuesAhead <= entries) {
        for (int u = 0; u < 4; ++u) {
          const std::int32_t coming = pattern.permutation[j + kValuesAhead + u];
          if constexpr (WithDa) __builtin_prefetch(job.values + coming);
          __builtin_prefetch(job.dvalues + coming, 1);
        }
      }
      if (job.prefetch && j + 4 + kRowsAhead <= entries) {
        for (int u = 0; u < 4; ++u) {
          const S* coming = b + std::int64_t(pattern.indices[j + kRowsAhead + u]) * job.b_stride;
          for (int i = 0; i < V; ++i) __builtin_prefetch(coming + i * W);
        }
      }
      visit(j, std::integral_constant<int, 4>());
    }
    for (; j < stop; ++j) visit(j, std::integral_constant<int, 1>());

    if constexpr (WithDa) {
      S* target = job.da + row * job.da_stride + tile.start;
      for (int i = 0; i < V; ++i) store<S, W>(target + (i == V - 1 ? tile.last : i * W), da[i]);
    }
  }
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

template <class S, int W>
void gather_width(const GatherProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end) {
  over_tiles<W>(job.batch, kGatherVectors, [&](int vectors, Tile tile, bool) {
    switch (vectors) {
      case 1: return gather_tile<S, W, 1>(job, begin, end, tile);
      case 2: return gather_tile<S, W, 2>(job, begin, end, tile);
      case 3: return gather_tile<S, W, 3>(job, begin, end, tile);
      case 4: return gather_tile<S, W, 4>(job, begin, end, tile);
      case 5: return gather_tile<S, W, 5>(job, begin, end, tile);
      case 6: return gather_tile<S, W, 6>(job, begin, end, tile);
      case 7: return gather_tile<S, W, 7>(job, begin, end, tile);
      default: return gather_tile<S, W, 8>(job, begin, end, tile);
    }
  });
}

template <class S, int W, bool WithDa>
void fuse_width(const FusedProduct<S, Compute<S>>& job, std::int64_t begin, std::int64_t end) {
  over_tiles<W>(job.batch, kFuseVectors, [&](int vectors, Tile tile, bool first) {
    switch (vectors) {
      case 1: return fuse_tile<S, W, 1, WithDa>(job, begin, end, tile, first);
      case 2: return fuse_tile<S, W, 2, WithDa>(job, begin, end, tile, first);
      case 3: return fuse_tile<S, W, 3, WithDa>(job, begin, end, tile, first);
      case 4: return fuse_tile<S, W, 4, WithDa>(job, begin, end, tile, first);
      default: break;
    }
    if constexpr (kFuseVectors > 4) {
      switch (vectors) {
        case 5: return fuse_tile<S, W, 5, WithDa>(job, begin, end, tile, first);
        case 6: return fuse_tile<S, W, 6, WithDa>(job, begin, end, tile, first);
        case 7: return fuse_tile<S, W, 7, WithDa>(job, begin, end, tile, first);
        default: return fuse_tile<S, W, 8, WithDa>(job, begin, end, tile, first);
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
