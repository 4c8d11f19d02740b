// The pieces of a sparse convolution, for one instruction set. See convolution.h for what they compute.

#include "convolution.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "transpose.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

// ---- products -----------------------------------------------------------------------------------------------------

template <class C, int V>
void spmm_tile(const ConvProduct<C>& job, std::int64_t tile, std::int64_t begin, std::int64_t end) {
  constexpr int W = kLanes<C>, U = V >= 6 ? 1 : V >= 3 ? 2 : 4;  // taps in flight: hides the latency of the sums
  using Vector = Vec<C, W>;
  std::int64_t from[V];
  for (int i = 0; i < V; ++i) from[i] = job.at_source[tile + i];
  const std::int32_t* to = job.at_target + tile;

  for (std::int64_t block = 0; block < job.blocks; ++block) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int32_t* bounds = job.start + block * job.rows + row;
      const Tap<C>*tap = job.taps + bounds[0], *stop = job.taps + bounds[1];
      if (block > 0 && tap == stop) continue;
      C* y = job.target + row * job.target_stride;
      Vector sum[U][V] = {};
      for (int i = 0; i < V; ++i) {
        sum[0][i] = block > 0 ? load<C, W>(y + to[i]) : broadcast<C, W>(job.bias ? job.bias[row] : C(0));
      }
      const auto add = [&](const Tap<C>& tap, Vector* into) {
        const Vector value = broadcast<C, W>(tap.value);
        const C* x = job.source + tap.offset;
        for (int i = 0; i < V; ++i) into[i] += value * load<C, W>(x + from[i]);
      };
      for (; tap + U <= stop; tap += U)
        for (int u = 0; u < U; ++u) add(tap[u], sum[u]);
      for (; tap < stop; ++tap) add(*tap, sum[0]);
      for (int u = 1; u < U; ++u)
        for (int i = 0; i < V; ++i) sum[0][i] += sum[u][i];
      for (int i = 0; i < V; ++i) store<C, W>(y + to[i], sum[0][i]);
    }
  }
}

template <class C, int V, bool WithTarget>
void spmm_sddmm_tile(const ConvProduct<C>& job, std::int64_t tile, std::int64_t begin, std::int64_t end) {
  constexpr int W = kLanes<C>;
  using Vector = Vec<C, W>;
  std::int64_t from[V];
  for (int i = 0; i < V; ++i) from[i] = job.at_source[tile + i];
  const std::int32_t* to = job.at_target + tile;

  for (std::int64_t block = 0; block < job.blocks; ++block) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int32_t* bounds = job.start + block * job.rows + row;
      std::int32_t entry = bounds[0];
      const std::int32_t stop = bounds[1];
      if (entry == stop && (block > 0 || !WithTarget)) continue;
      C* y = job.target + row * job.target_stride;
      const C* a = job.factor + row * job.target_stride;
      Vector factor[V], sum[V] = {};
      for (int i = 0; i < V; ++i) {
        factor[i] = load<C, W>(a + to[i]);
        if constexpr (WithTarget) {
          if (block > 0) sum[i] = load<C, W>(y + to[i]);
        }
      }
      // Four taps at a time: their sums are independent, which hides latency, and are reduced together.
      const auto visit = [&](auto count) {
        constexpr int N = decltype(count)::value;
        const C* x[N];
        Vector value[N], dot[4] = {};
        for (int u = 0; u < N; ++u) {
          x[u] = job.source + job.taps[entry + u].offset;
          value[u] = broadcast<C, W>(job.taps[entry + u].value);
        }
        for (int i = 0; i < V; ++i) {
          for (int u = 0; u < N; ++u) {
            const Vector here = load<C, W>(x[u] + from[i]);
            if constexpr (WithTarget) sum[i] += value[u] * here;
            dot[u] += factor[i] * here;
          }
        }
        C products[4];
        sum_of_four<C, W>(dot, products);
        for (int u = 0; u < N; ++u) job.dvalues[entry + u] += products[u];
      };
      for (; entry + 4 <= stop; entry += 4) visit(std::integral_constant<int, 4>());
      switch (stop - entry) {
        case 1: visit(std::integral_constant<int, 1>()); break;
        case 2: visit(std::integral_constant<int, 2>()); break;
        case 3: visit(std::integral_constant<int, 3>()); break;
        default: break;
      }
      if constexpr (WithTarget) {
        for (int i = 0; i < V; ++i) store<C, W>(y + to[i], sum[i]);
      }
    }
  }
}

template <class C>
using TileFunction = void (*)(const ConvProduct<C>&, std::int64_t, std::int64_t, std::int64_t);

// Calls the function for as many vectors as a tile has; tiles are of about equal size.
template <class C, std::size_t N>
void over_tiles(const std::array<TileFunction<C>, N>& functions, const ConvProduct<C>& job, std::int64_t begin,
                std::int64_t end) {
  const std::int64_t tiles = (job.vectors + std::int64_t(N) - 1) / std::int64_t(N);
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t from = job.vectors * t / tiles, to = job.vectors * (t + 1) / tiles;
    functions[to - from - 1](job, from, begin, end);
  }
}

template <class C, int... V>
constexpr std::array<TileFunction<C>, sizeof...(V)> spmm_tiles(std::integer_sequence<int, V...>) {
  return {spmm_tile<C, V + 1>...};
}
template <class C, bool WithTarget, int... V>
constexpr std::array<TileFunction<C>, sizeof...(V)> spmm_sddmm_tiles(std::integer_sequence<int, V...>) {
  return {spmm_sddmm_tile<C, V + 1, WithTarget>...};
}

template <class C>
void spmm(const ConvProduct<C>& job, std::int64_t begin, std::int64_t end) {
  over_tiles(spmm_tiles<C>(std::make_integer_sequence<int, kSpmmVectors>()), job, begin, end);
}

template <class C>
void spmm_sddmm(const ConvProduct<C>& job, std::int64_t begin, std::int64_t end) {
  constexpr auto vectors = std::make_integer_sequence<int, kSddmmVectors>();
  over_tiles(job.target ? spmm_sddmm_tiles<C, true>(vectors) : spmm_sddmm_tiles<C, false>(vectors), job, begin, end);
}

// ---- frames -------------------------------------------------------------------------------------------------------

template <class T>
void transpose_into(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t cols, T* to,
                    std::int64_t to_stride) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    transpose_matrix<std::uint16_t, kLanes<std::uint16_t>>(&from->bits, stride, rows, cols, &to->bits, to_stride);
  } else {
    transpose_matrix<T, kLanes<T>>(from, stride, rows, cols, to, to_stride);
  }
}

template <class S, class C>
inline void widen_into(const S* from, C* to, std::int64_t count) {
  constexpr int W = kLanes<C>;
  std::int64_t i = 0;
  for (; i + W <= count; i += W) store<C, W>(to + i, load<S, W>(from + i));
  for (; i < count; ++i) to[i] = widen(from[i]);
}

template <class S, class C>
inline void narrow_into(const C* from, S* to, std::int64_t count) {
  constexpr int W = kLanes<C>;
  std::int64_t i = 0;
  for (; i + W <= count; i += W) store<S, W>(to + i, load<C, W>(from + i));
  for (; i < count; ++i) to[i] = narrow<S>(from[i]);
}

// The cells [low, high) of one row of a frame that have a pixel, and the pixel of the first.
struct Run {
  std::int64_t low, high, pixel;
};
inline Run run_of(const Axis& axis, std::int64_t phase) {
  const std::int64_t offset = axis.first * axis.stride + phase - axis.shift;  // pixel of the first cell held
  const auto cells_below = [&](std::int64_t pixel) {  // cells whose pixel is less than this one
    const std::int64_t distance = pixel - offset;
    return distance <= 0 ? 0 : std::min(axis.length, (distance + axis.stride - 1) / axis.stride);
  };
  const std::int64_t low = cells_below(0);
  return {low, std::max(low, cells_below(axis.size)), offset + low * axis.stride};
}

// Calls visit(first number of a row of the frame, its row of the map or -1, run of cells) for every row of a channel.
template <class S, class C, class Visit>
inline void over_rows(const Frame<S, C>& frame, std::int64_t channel, const Visit& visit) {
  for (std::int64_t py = 0; py < frame.y.phases; ++py) {
    for (std::int64_t px = 0; px < frame.x.phases; ++px) {
      C* plane = frame.cells + ((channel * frame.y.phases + py) * frame.x.phases + px) * frame.plane;
      const Run run = run_of(frame.x, px);
      for (std::int64_t i = 0; i < frame.y.length; ++i) {
        const std::int64_t row = (frame.y.first + i) * frame.y.stride + py - frame.y.shift;
        visit(plane + i * frame.pitch * frame.lanes, row < 0 || row >= frame.y.size ? -1 : row, run);
      }
    }
  }
}

// The pixels [pixel, pixel + count) of a channel with all lanes together, from the map or, laid out anew, from scratch.
template <class S, class C>
const S* spmm_lanes(const Frame<S, C>& frame, const S* pixels, std::int64_t count, S* scratch) {
  if (frame.samples < frame.lanes) std::fill_n(scratch, count * frame.lanes, S{});
  if (frame.pixel == 1) {
    transpose_into(pixels, frame.sample, frame.samples, count, scratch, frame.lanes);
  } else {
    for (std::int64_t p = 0; p < count; ++p)
      for (std::int64_t n = 0; n < frame.samples; ++n) scratch[p * frame.lanes + n] = pixels[p * frame.pixel + n];
  }
  return scratch;
}

template <class S, class C>
void pack(const Frame<S, C>& frame, std::int64_t begin, std::int64_t end, S* scratch) {
  const std::int64_t width = frame.x.size, lanes = frame.lanes;
  const std::int64_t low = lowest_row(frame.y), count = (highest_row(frame.y) - low) * width;
  const bool in_place = lanes == 1 || (frame.sample == 1 && frame.samples == lanes);
  const std::int64_t step = in_place ? frame.pixel : lanes;
  for (std::int64_t c = begin; c < end; ++c) {
    const S* pixels = frame.image + c * frame.channel + low * width * frame.pixel;
    if (!in_place && count > 0) pixels = spmm_lanes(frame, pixels, count, scratch);
    over_rows(frame, c, [&](C* cells, std::int64_t row, Run run) {
      if (row < 0) run = {frame.pitch, frame.pitch, 0};
      std::fill_n(cells, run.low * lanes, C(0));
      const S* source = pixels + ((row - low) * width + run.pixel) * step;
      const std::int64_t apart = frame.x.stride * step;
      if (row >= 0 && apart == lanes) {
        widen_into(source, cells + run.low * lanes, (run.high - run.low) * lanes);
      } else {
        for (std::int64_t j = run.low; j < run.high; ++j) {
          widen_into(source + (j - run.low) * apart, cells + j * lanes, lanes);
        }
      }
      std::fill_n(cells + run.high * lanes, (frame.pitch - run.high) * lanes, C(0));
    });
    const std::int64_t phases = frame.y.phases * frame.x.phases, used = frame.y.length * frame.pitch * lanes;
    for (std::int64_t p = c * phases; p < (c + 1) * phases; ++p) {
      std::fill_n(frame.cells + p * frame.plane + used, kLanes<C>, C(0));
    }
  }
}

template <class S, class C>
void unpack(const Frame<S, C>& frame, std::int64_t begin, std::int64_t end, S* scratch) {
  const std::int64_t width = frame.x.size, lanes = frame.lanes;
  const std::int64_t low = lowest_row(frame.y), count = (highest_row(frame.y) - low) * width;
  const bool as_it_is = std::is_same_v<S, C> && frame.x.stride == 1 && frame.y.stride == 1 && frame.pitch == width;
  for (std::int64_t c = begin; c < end; ++c) {
    S* image = frame.image + c * frame.channel + low * width * frame.pixel;
    S* collected = lanes == 1 ? image : scratch;
    const S* pixels = collected;
    if (as_it_is) {
      pixels = reinterpret_cast<const S*>(frame.cells + c * frame.plane);
    } else {
      over_rows(frame, c, [&](const C* cells, std::int64_t row, const Run& run) {
        if (row < 0) return;
        S* target = collected + ((row - low) * width + run.pixel) * lanes;
        if (frame.x.stride == 1) return narrow_into(cells + run.low * lanes, target, (run.high - run.low) * lanes);
        for (std::int64_t j = run.low; j < run.high; ++j) {
          narrow_into(cells + j * lanes, target + (j - run.low) * frame.x.stride * lanes, lanes);
        }
      });
    }
    if (pixels == image) continue;
    if (frame.pixel == 1) {
      transpose_into(pixels, lanes, count, frame.samples, image, frame.sample);
    } else {
      for (std::int64_t p = 0; p < count; ++p) std::copy_n(pixels + p * lanes, frame.samples, image + p * frame.pixel);
    }
  }
}

template <class S, class C>
constexpr Convolution<S, C> table() {
  return {kLanes<C>, kSpmmVectors, spmm<C>, spmm_sddmm<C>, pack<S, C>, unpack<S, C>};
}

}  // namespace

extern const ConvolutionKernels convolution_kernels;  // const alone would make it internal
const ConvolutionKernels convolution_kernels{table<float, float>(), table<double, double>(), table<bfloat16, float>()};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
