// A sparse 2-D convolution of a whole batch: leads workers through the units of a plan.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "convolution.h"
#include "convolution_plan.h"
#include "dispatch.h"

namespace gossamer {

template <class S>
struct Image {  // images in memory; no data: not there
  S* data = nullptr;
  std::int64_t sample = 0, channel = 0, pixel = 0;  // strides

  Image() = default;
  Image(S* at, std::int64_t samples, std::int64_t channels, std::int64_t pixels, bool innermost)
      : data(at),
        sample(innermost ? 1 : channels * pixels),
        channel(innermost ? pixels * samples : pixels),
        pixel(innermost ? samples : 1) {}
};

struct Release {
  void operator()(void* memory) const { ::operator delete(memory, std::align_val_t(64)); }
};
template <class T>
using Memory = std::unique_ptr<T[], Release>;
template <class T>
Memory<T> allocate(std::int64_t count) {
  return Memory<T>(static_cast<T*>(::operator new(std::size_t(count) * sizeof(T), std::align_val_t(64))));
}

// Where the vectors of a strip of so many rows begin, in a plane of the source and of the target. Two rows of a few
// cells each make a tile: its neighbourhood is smaller than that of as many cells of one row.
struct Vectors {
  std::int64_t rows = 0;
  std::vector<std::int32_t> source, target;
};

inline Vectors list_vectors(const Plan& plan, std::int64_t rows, std::int64_t cols, std::int64_t W, std::int64_t V) {
  Vectors list{rows, {}, {}};
  if (plan.flat) {
    const std::int64_t numbers = ((rows - 1) * plan.target_pitch + cols) * plan.lanes;
    for (std::int64_t i = 0; i < numbers; i += W) {
      list.source.push_back(std::int32_t(i));
      list.target.push_back(std::int32_t(i));
    }
    return list;
  }
  const std::int64_t broad = std::max<std::int64_t>(1, V / 2);
  for (std::int64_t top = 0; top < rows; top += 2) {
    for (std::int64_t left = 0; left < cols; left += broad) {
      for (std::int64_t row = top; row < std::min(top + 2, rows); ++row) {
        for (std::int64_t col = left; col < std::min(left + broad, cols); ++col) {
          for (std::int64_t lane = 0; lane < plan.lanes; lane += W) {
            list.source.push_back(std::int32_t((row * plan.source_pitch + col) * plan.lanes + lane));
            list.target.push_back(std::int32_t((row * plan.target_pitch + col) * plan.lanes + lane));
          }
        }
      }
    }
  }
  return list;
}

template <class S, class C>
struct Work {
  const Convolution<S, C>& kernels;
  const Plan& plan;
  const Walk &y, &x;
  std::int64_t samples, source_channels, target_channels;
  Image<const S> source, factor;  // the factor is there for the gradient of the values
  Image<S> target;
  const Taps<C>& taps;
  const C* bias;

  std::int64_t source_numbers() const { return plan.source_planes * plan.source_plane; }
  std::int64_t target_numbers() const { return plan.target_planes * plan.target_plane; }
  std::int64_t scratch_numbers() const {
    const auto pixels = [](const Axis& y, const Axis& x, std::int64_t rows) {
      return std::min(y.size, rows * y.stride) * x.size;
    };
    return plan.lanes * std::max(pixels(y.source, x.source, plan.strip_rows + y.reach),
                                 pixels(y.target, x.target, plan.strip_rows));
  }

  struct Place {  // where one worker, or all together, keep the frames of a unit
    C *source, *target, *factor, *dvalues;
    Vectors vectors;
    std::int64_t unit;  // whose source is there
  };

  template <class T>
  Frame<S, C> frame(const Image<T>& image, C* cells, const Axis& y_axis, const Axis& x_axis, bool is_source,
                    std::int64_t unit) const {
    Axis strip = y_axis;
    strip.first = unit % plan.strips * plan.strip_rows;
    strip.length = strip_rows(unit) + (is_source ? y.reach : 0);
    const std::int64_t n = unit / plan.strips * plan.lanes;
    return {cells, is_source ? plan.source_plane : plan.target_plane, is_source ? plan.source_pitch : plan.target_pitch,
            plan.lanes, std::min(plan.lanes, samples - n), strip, x_axis,
            const_cast<S*>(image.data) + n * image.sample, image.sample, image.channel, image.pixel};
  }
  std::int64_t strip_rows(std::int64_t unit) const {
    return std::min(plan.strip_rows, y.target.length - unit % plan.strips * plan.strip_rows);
  }

  // For the source channels [begin, end). The rows that the strip above has in common with this one are moved.
  void pack_source(std::int64_t unit, const Place& place, std::int64_t begin, std::int64_t end, S* scratch) const {
    Frame<S, C> strip = frame(source, place.source, y.source, x.source, true, unit);
    if (unit % plan.strips > 0 && place.unit == unit - 1) {
      const std::int64_t phases = y.source.phases * x.source.phases, row = plan.source_pitch * plan.lanes;
      for (std::int64_t plane = begin * phases; plane < end * phases; ++plane) {
        C* cells = place.source + plane * plan.source_plane;
        std::memmove(cells, cells + plan.strip_rows * row, std::size_t(y.reach * row) * sizeof(C));
      }
      strip.cells += y.reach * row;
      strip.y.first += y.reach;
      strip.y.length -= y.reach;
    }
    kernels.pack(strip, begin, end, scratch);
  }

  // For the target channels [begin, end).
  void multiply(std::int64_t unit, const Place& place, std::int64_t begin, std::int64_t end, S* scratch) const {
    const std::int64_t phases = y.target.phases * x.target.phases;
    const ConvProduct<C> job{taps.taps.data(),
                             taps.start.data(),
                             taps.blocks,
                             plan.target_planes,
                             place.vectors.source.data(),
                             place.vectors.target.data(),
                             std::int64_t(place.vectors.source.size()),
                             place.source,
                             target.data ? place.target : nullptr,
                             plan.target_plane,
                             bias,
                             place.factor,
                             place.dvalues};
    if (factor.data) {
      kernels.pack(frame(factor, place.factor, y.target, x.target, false, unit), begin, end, scratch);
      kernels.spmm_sddmm(job, begin * phases, end * phases);
    } else {
      kernels.spmm(job, begin * phases, end * phases);
    }
    if (target.data) kernels.unpack(frame(target, place.target, y.target, x.target, false, unit), begin, end, scratch);
  }

  // dvalues (one for each stored entry, in row order) is filled if there is a factor.
  void run(int threads, C* dvalues) const {
    const std::int64_t units = plan.units(), nnz = std::int64_t(taps.taps.size());
    const double products = double(nnz) * double(samples) * double(y.target.length) * double(x.target.length);
    if (products < 1.2e6) threads = 1;
    // Each worker takes whole units, or, where there are few of them, all share the rows of one.
    const bool apart = threads > 1 && units >= 3 * threads && (!factor.data || nnz * threads < (1 << 24));
    const int places = apart ? threads : 1;
    const auto sources = allocate<C>(source_numbers() * places);
    const auto targets = allocate<C>(target.data ? target_numbers() * places : 0);
    const auto factors = allocate<C>(factor.data ? target_numbers() * places : 0);
    const auto scratches = allocate<S>(scratch_numbers() * threads);
    std::vector<C> sums(factor.data ? nnz * places : 0);
    std::vector<Place> place(places);
    for (int i = 0; i < places; ++i) {
      place[i] = {sources.get() + source_numbers() * i, targets.get() + target_numbers() * i,
                  factors.get() + target_numbers() * i, sums.data() + nnz * i, {}, -1};
    }
    const auto prepare = [&](std::int64_t unit, Place& here) {
      if (here.vectors.rows != strip_rows(unit)) {
        here.vectors = list_vectors(plan, strip_rows(unit), x.target.length, kernels.lanes, kernels.tile_vectors);
      }
    };

    if (apart) {
      parallel(threads, [&](int part, int parts) {
        S* scratch = scratches.get() + scratch_numbers() * part;
        for (std::int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
          prepare(unit, place[part]);
          pack_source(unit, place[part], 0, source_channels, scratch);
          place[part].unit = unit;
          multiply(unit, place[part], 0, target_channels, scratch);
        }
      });
    } else {
      for (std::int64_t unit = 0; unit < units; ++unit) {
        prepare(unit, place[0]);
        parallel(threads, [&](int part, int parts) {
          pack_source(unit, place[0], source_channels * part / parts, source_channels * (part + 1) / parts,
                      scratches.get() + scratch_numbers() * part);
        });
        place[0].unit = unit;
        parallel(threads, [&](int part, int parts) {
          const std::int64_t begin = balanced_row(taps.before.data(), target_channels, part, parts);
          const std::int64_t end = balanced_row(taps.before.data(), target_channels, part + 1, parts);
          multiply(unit, place[0], begin, end, scratches.get() + scratch_numbers() * part);
        });
      }
    }
    if (!factor.data) return;
    parallel(nnz * places < 100000 ? 1 : threads, [&](int part, int parts) {
      for (std::int64_t j = nnz * part / parts; j < nnz * (part + 1) / parts; ++j) {
        C sum = 0;
        for (int i = 0; i < places; ++i) sum += sums[nnz * i + j];
        dvalues[taps.position[j]] = sum;
      }
    });
  }
};

// ---- both directions ----------------------------------------------------------------------------------------------

// bias may be null.
template <class S, class C>
void convolve(const Convolution<S, C>& kernels, const Layer& layer, const Pattern& pattern, const S* values,
              const S* bias, const S* x, S* y, int threads) {
  const Walk down = forward_walk(layer.y), along = forward_walk(layer.x);
  const Plan plan = make_plan(kernels, down, along, layer.samples, layer.inputs, layer.outputs, layer.groups,
                              pattern.indptr[layer.outputs], false, 1);
  const Taps<C> taps = forward_taps<S, C>(layer, plan, down, along, pattern, values, threads);
  std::vector<C> biases;
  for (std::int64_t row = 0; bias && row < layer.outputs; ++row) biases.push_back(widen(bias[row]));
  Work<S, C>{kernels,
             plan,
             down,
             along,
             layer.samples,
             layer.inputs,
             layer.outputs,
             {x, layer.samples, layer.inputs, layer.y.input * layer.x.input, layer.input_innermost},
             {},
             {y, layer.samples, layer.outputs, layer.y.output * layer.x.output, layer.output_innermost},
             taps,
             bias ? biases.data() : nullptr}
      .run(threads, nullptr);
}

// `pattern` is transposed. dx or dvalues may be null; without dx, values may be, and without dvalues, x.
template <class S, class C>
void convolve_back(const Convolution<S, C>& kernels, const Layer& layer, const Pattern& pattern, const S* values,
                   const S* x, const S* dy, S* dx, C* dvalues, int threads) {
  const Walk down = backward_walk(layer.y), along = backward_walk(layer.x);
  const std::int64_t columns = layer.inputs / layer.groups * layer.y.kernel * layer.x.kernel;
  const std::int64_t pixels = layer.y.input * layer.x.input;
  const Plan plan = make_plan(kernels, down, along, layer.samples, layer.outputs, layer.inputs, layer.groups,
                              pattern.indptr[columns], dvalues != nullptr, (dx != nullptr) + (dvalues != nullptr));
  const Taps<C> taps = backward_taps<S, C>(layer, plan, down, along, pattern, dx ? values : nullptr, threads);
  Work<S, C>{kernels,
             plan,
             down,
             along,
             layer.samples,
             layer.outputs,
             layer.inputs,
             {dy, layer.samples, layer.outputs, layer.y.output * layer.x.output, layer.output_innermost},
             {dvalues ? x : nullptr, layer.samples, layer.inputs, pixels, layer.input_innermost},
             {dx, layer.samples, layer.inputs, pixels, layer.input_innermost},
             taps,
             nullptr}
      .run(threads, dvalues);
}

}  // namespace gossamer
