// How a sparse 2-D convolution of a whole batch is cut into frames that fit the caches, and its taps.
//
// Forward, the source is the padded input and the target the output. Backward, the source is the padded gradient of the
// output and the target the gradient of the input: the same product with the taps read by input channel. A stride s
// becomes s phases in each dimension, between which all distances are whole cells, so the product itself knows no
// stride.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "convolution.h"
#include "dispatch.h"
#include "vec.h"

namespace gossamer {

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// ---- geometry -----------------------------------------------------------------------------------------------------

struct Dimension {
  std::int64_t input, output, kernel, stride, dilation, padding;
};

// How source and target lie to each other along one dimension. Kernel index k joins a cell of the target with the cell
// of the source that is distance[k] further on; phase[k] is that of the input, which is the source forward and the
// target backward.
struct Walk {
  Axis source, target;
  std::vector<std::int64_t> phase, distance;
  std::int64_t reach;  // the largest distance
};

// Output pixel j reads input pixel j s + k d - p = (j + distance) s + phase - p.
inline Walk forward_walk(const Dimension& d) {
  Walk walk;
  for (std::int64_t k = 0; k < d.kernel; ++k) {
    walk.phase.push_back(k * d.dilation % d.stride);
    walk.distance.push_back(k * d.dilation / d.stride);
  }
  walk.reach = walk.distance.back();
  const std::int64_t phases = *std::max_element(walk.phase.begin(), walk.phase.end()) + 1;
  walk.source = {d.input, d.stride, d.padding, phases, 0, d.output + walk.reach};
  walk.target = {d.output, 1, 0, 1, 0, d.output};
  return walk;
}

// Input pixel i s + phase - p is read by output pixel i - distance; cells of the target begin at i = p div s.
inline Walk backward_walk(const Dimension& d) {
  Walk walk = forward_walk(d);
  const std::int64_t first = d.padding / d.stride, cells = (d.input - 1 + d.padding) / d.stride - first + 1;
  for (auto& distance : walk.distance) distance = walk.reach - distance;
  walk.source = {d.output, 1, walk.reach - first, 1, 0, cells + walk.reach};
  walk.target = {d.input, d.stride, d.padding - first * d.stride, d.stride, 0, cells};
  return walk;
}

struct Layer {
  std::int64_t samples, inputs, outputs, groups;
  Dimension y, x;
  bool input_innermost, output_innermost;  // whether the sample is the innermost dimension, or the outermost one
};
struct Pattern {  // CSR of (outputs x inputs / groups * kernel), or its transpose
  const std::int32_t *indptr, *indices, *permutation;
};

// ---- plan ---------------------------------------------------------------------------------------------------------

// What a frame and its rows are like. A block of samples and a strip of target rows is one unit of work.
struct Plan {
  std::int64_t lanes;  // samples of a block: whole vectors; or all samples, if they fill none
  bool flat;           // the latter: vectors run over cells and samples alike, margins included
  std::int64_t sample_blocks, strips, strip_rows;
  std::int64_t source_pitch, target_pitch, source_plane, target_plane, source_planes, target_planes;
  std::int64_t channels_per_block;  // of the source; see ConvProduct

  std::int64_t units() const { return sample_blocks * strips; }
};

template <class S, class C>
Plan make_plan(const Convolution<S, C>& kernels, const Walk& y, const Walk& x, std::int64_t samples,
               std::int64_t source_channels, std::int64_t target_channels, std::int64_t groups, std::int64_t nnz,
               bool fused, int target_frames) {
  const std::int64_t W = kernels.lanes, V = kernels.tile_vectors, rows = y.target.length, cols = x.target.length;
  Plan plan;
  plan.flat = samples < W;
  const std::int64_t vectors = std::min(divide_up(samples, W), divide_up(V, rows * cols));
  plan.lanes = plan.flat ? samples : W * vectors;
  plan.sample_blocks = divide_up(samples, plan.lanes);
  plan.source_pitch = x.source.length;
  plan.target_pitch = plan.flat ? x.source.length : cols;
  plan.source_planes = source_channels * y.source.phases * x.source.phases;
  plan.target_planes = target_channels * y.target.phases * x.target.phases;

  // Strips: the frames of a unit stay in the second cache.
  const std::int64_t source_row = plan.source_planes * plan.source_pitch * plan.lanes * std::int64_t(sizeof(C));
  const std::int64_t target_row =
      plan.target_planes * plan.target_pitch * plan.lanes * std::int64_t(sizeof(C)) * target_frames;
  const std::int64_t fit = (l2_bytes() * 3 / 4 - y.reach * source_row) / (source_row + target_row);
  plan.strips = divide_up(rows, std::max<std::int64_t>(4, fit));
  plan.strip_rows = divide_up(rows, plan.strips);
  plan.strips = divide_up(rows, plan.strip_rows);
  plan.source_plane = (plan.strip_rows + y.reach) * plan.source_pitch * plan.lanes + W;
  plan.target_plane = plan.strip_rows * plan.target_pitch * plan.lanes + W;
  if (plan.source_planes * plan.source_plane > std::numeric_limits<std::int32_t>::max() ||
      plan.target_plane > std::numeric_limits<std::int32_t>::max()) {
    throw std::length_error("a strip of the images is too large for sparse convolution");
  }

  // Blocks of channels: what a tile reads of one stays in the first cache, if that leaves enough taps between reading
  // and writing the sums of a row.
  const std::int64_t cells_read = (std::min<std::int64_t>(plan.strip_rows, 2) + y.reach) *
                                  (std::min(cols, std::max<std::int64_t>(1, V / 2)) + x.reach);
  const std::int64_t numbers_read =
      plan.flat ? std::min(plan.source_plane, V * W + (y.reach * plan.source_pitch + x.reach) * plan.lanes)
                : cells_read * W;
  const std::int64_t channel_bytes =
      numbers_read * std::int64_t(sizeof(C)) * y.source.phases * x.source.phases;
  const double taps = double(nnz) * double(groups) / (double(plan.target_planes) * double(source_channels));
  plan.channels_per_block = std::max<std::int64_t>(1, l1_bytes() * 3 / 4 / channel_bytes);
  if (double(plan.channels_per_block) * taps < (fused ? 24 : 12)) plan.channels_per_block = source_channels;
  return plan;
}

// ---- taps ---------------------------------------------------------------------------------------------------------

template <class C>
struct Taps {
  std::vector<Tap<C>> taps;
  std::vector<std::int32_t> start, position;  // see ConvProduct; position of each tap's value in row order
  std::vector<std::int32_t> before;           // taps of the target channels before each
  std::int64_t blocks;
};

// The block of each source channel.
inline std::vector<std::int64_t> blocks_of(const Plan& plan, std::int64_t channels) {
  std::vector<std::int64_t> block(channels);
  for (std::int64_t c = 0; c < channels; ++c) block[c] = c / plan.channels_per_block;
  return block;
}

// `each(begin, end, emit)` calls emit(row, block, offset, position) for every tap that belongs to one of the items
// [begin, end); no two items share a row.
template <class S, class C, class Each>
Taps<C> list_taps(const Plan& plan, std::int64_t source_channels, std::int64_t target_channels, std::int64_t nnz,
                  const S* values, std::int64_t items, int threads, const Each& each) {
  Taps<C> list;
  list.blocks = divide_up(source_channels, plan.channels_per_block);
  const std::int64_t rows = plan.target_planes;
  std::vector<std::int32_t> next(list.blocks * rows + 1);
  const auto over_items = [&](const auto& emit) {
    parallel(nnz < 30000 ? 1 : threads,
             [&](int part, int parts) { each(items * part / parts, items * (part + 1) / parts, emit); });
  };
  over_items([&](std::int64_t row, std::int64_t block, std::int64_t, std::int64_t) { ++next[block * rows + row]; });
  list.before.assign(target_channels + 1, 0);
  for (std::int64_t i = 0; i < list.blocks * rows; ++i) list.before[i % rows / (rows / target_channels) + 1] += next[i];
  for (std::int64_t c = 0; c < target_channels; ++c) list.before[c + 1] += list.before[c];
  std::int32_t total = 0;
  for (auto& count : next) {
    const std::int32_t here = count;
    count = total;
    total += here;
  }
  list.start = next;
  list.taps.resize(nnz);
  list.position.resize(nnz);
  over_items([&](std::int64_t row, std::int64_t block, std::int64_t offset, std::int64_t position) {
    const std::int32_t to = next[block * rows + row]++;
    list.taps[to] = {values ? widen(values[position]) : C(0), std::int32_t(offset)};
    list.position[to] = std::int32_t(position);
  });
  return list;
}

template <class S, class C>
Taps<C> forward_taps(const Layer& layer, const Plan& plan, const Walk& y, const Walk& x, const Pattern& pattern,
                     const S* values, int threads) {
  const std::int64_t kernel = layer.y.kernel * layer.x.kernel, group_inputs = layer.inputs / layer.groups;
  const std::int64_t channel_numbers = y.source.phases * x.source.phases * plan.source_plane;
  struct Column {
    std::int32_t channel, offset;
  };
  std::vector<Column> columns;
  for (std::int64_t column = 0; column < group_inputs * kernel; ++column) {
    const std::int64_t channel = column / kernel, ky = column % kernel / layer.x.kernel, kx = column % layer.x.kernel;
    const std::int64_t plane = y.phase[ky] * x.source.phases + x.phase[kx];
    const std::int64_t cell = y.distance[ky] * plan.source_pitch + x.distance[kx];
    columns.push_back({std::int32_t(channel),
                       std::int32_t(channel * channel_numbers + plane * plan.source_plane + cell * plan.lanes)});
  }
  const std::vector<std::int64_t> block = blocks_of(plan, layer.inputs);
  const auto each = [&](std::int64_t begin, std::int64_t end, const auto& emit) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t first = row / (layer.outputs / layer.groups) * group_inputs;  // channel of the group
      for (std::int32_t j = pattern.indptr[row]; j < pattern.indptr[row + 1]; ++j) {
        const Column& column = columns[pattern.indices[j]];
        emit(row, block[first + column.channel], first * channel_numbers + column.offset, j);
      }
    }
  };
  return list_taps<S, C>(plan, layer.inputs, layer.outputs, pattern.indptr[layer.outputs], values, layer.outputs,
                         threads, each);
}

template <class S, class C>
Taps<C> backward_taps(const Layer& layer, const Plan& plan, const Walk& y, const Walk& x, const Pattern& pattern,
                      const S* values, int threads) {
  const std::int64_t kernel = layer.y.kernel * layer.x.kernel, group_inputs = layer.inputs / layer.groups;
  const std::int64_t group_outputs = layer.outputs / layer.groups;
  const std::vector<std::int64_t> block = blocks_of(plan, layer.outputs);
  const auto each = [&](std::int64_t begin, std::int64_t end, const auto& emit) {
    for (std::int64_t column = begin * kernel; column < end * kernel; ++column) {
      const std::int64_t ky = column % kernel / layer.x.kernel, kx = column % layer.x.kernel;
      const std::int64_t cell = (y.distance[ky] * plan.source_pitch + x.distance[kx]) * plan.lanes;
      std::int64_t channel = column / kernel, last = group_outputs;  // input channel; end of its group's outputs
      for (std::int32_t j = pattern.indptr[column]; j < pattern.indptr[column + 1]; ++j) {
        const std::int64_t output = pattern.indices[j];
        while (output >= last) last += group_outputs, channel += group_inputs;
        emit((channel * y.target.phases + y.phase[ky]) * x.target.phases + x.phase[kx], block[output],
             output * plan.source_plane + cell, pattern.permutation[j]);
      }
    }
  };
  return list_taps<S, C>(plan, layer.outputs, layer.inputs, pattern.indptr[group_inputs * kernel], values,
                         group_inputs, threads, each);
}

}  // namespace gossamer
