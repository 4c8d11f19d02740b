// A 2-D convolution of which only the stored entries exist, in three pieces that one thread does one after the other:
//   pack      part of an image batch, padded, into a frame whose innermost dimension is the sample
//   multiply  frame by entries: every product is contiguous, and what is read stays in the cache
//   unpack    the frame of results into the image batch
// convolution_bindings.cpp cuts the layer into such parts.
#pragma once

#include <cstdint>

#include "types.h"

namespace gossamer {

// ---- frames -------------------------------------------------------------------------------------------------------

// One dimension of a frame. Its cell f of phase r is pixel f * stride + r - shift of the map; there may be none.
struct Axis {
  std::int64_t size;  // of the map
  std::int64_t stride, shift;
  std::int64_t phases;
  std::int64_t first, length;  // cells first … first + length - 1 are held
};

// A frame holds numbers [channel][phase y][phase x][cell y][cell x][sample]. Its cells without a pixel are zero.
template <class S, class C>
struct Frame {
  C* cells;
  std::int64_t plane;    // numbers of one [channel][phase y][phase x]; one vector of zeros follows the last cell
  std::int64_t pitch;    // cells from one row to the next, at least x.length
  std::int64_t lanes;    // samples from one cell to the next
  std::int64_t samples;  // of which the first ones exist
  Axis y, x;
  // The map: pixel (row, column) of sample n in channel c is at image + n * sample + c * channel + (row * width +
  // column) * pixel. One of `sample` and `pixel` is 1.
  S* image;
  std::int64_t sample, channel, pixel;
};

// ---- products -----------------------------------------------------------------------------------------------------

template <class C>
struct Tap {  // a stored entry
  C value;
  std::int32_t offset;  // from a vector of the source to the one that the entry multiplies
};

// The taps of all rows come in blocks, so that the part of the source that a block reads stays in the first cache.
// With x(v) the vector of the source at at_source[v], and y(r, v) that of row r of the target at at_target[v]:
//   spmm:  y(r, v) = bias(r) + sum of tap.value * x(v + tap.offset)   over the taps of row r
//   spmm_sddmm:    the same (without bias, and unless target is null), and
//            dvalues[tap] += <factor(r, v), x(v + tap.offset)>          summed over v
template <class C>
struct ConvProduct {
  const Tap<C>* taps;
  const std::int32_t* start;  // taps of row r in block b: from start[b * rows + r] up to the next start
  std::int64_t blocks, rows;
  const std::int32_t *at_source, *at_target;
  std::int64_t vectors;
  const C* source;
  C* target;
  std::int64_t target_stride;  // from row to row; also of factor
  const C* bias;               // null: none
  const C* factor;
  C* dvalues;  // one for each tap
};

template <class S, class C>
struct Convolution {
  int lanes;         // of a vector
  int tile_vectors;  // vectors that are worked on together
  // Rows [begin, end) of the target.
  void (*spmm)(const ConvProduct<C>&, std::int64_t begin, std::int64_t end);
  void (*spmm_sddmm)(const ConvProduct<C>&, std::int64_t begin, std::int64_t end);
  // Channels [begin, end); `scratch` has room for the pixels that the frame covers of one channel, for all lanes.
  void (*pack)(const Frame<S, C>&, std::int64_t begin, std::int64_t end, S* scratch);
  void (*unpack)(const Frame<S, C>&, std::int64_t begin, std::int64_t end, S* scratch);
};

struct ConvolutionKernels {
  Convolution<float, float> f32;
  Convolution<double, double> f64;
  Convolution<bfloat16, float> bf16;
};

// Rows [low, high) of the map that the frame covers.
inline std::int64_t lowest_row(const Axis& y) {
  const std::int64_t row = y.first * y.stride - y.shift;
  return row < 0 ? 0 : row > y.size ? y.size : row;
}
inline std::int64_t highest_row(const Axis& y) {
  const std::int64_t row = (y.first + y.length - 1) * y.stride + y.phases - y.shift;
  return row < 0 ? 0 : row > y.size ? y.size : row;
}

}  // namespace gossamer
