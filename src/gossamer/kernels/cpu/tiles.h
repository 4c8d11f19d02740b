// How the products of a sparse layer are cut so that what they work on stays in registers and caches.
//
// The batch is cut into tiles. A tile of V vectors of W lanes covers V*W of its columns. A batch that W does not divide
// is covered by letting its last vector overlap the one before: the shared lanes are computed twice, with the same
// result. Where that pays, the pattern is cut into blocks: the columns of one name rows of X that fit into a cache, and
// the sums of a row of the pattern are taken up again in its next block.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "products.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {  // internal linkage, as in vec.h

// Entries between a prefetch and its use: a few rows of a wide tile, many single numbers; counters before what they
// count.
constexpr std::int32_t kValuesAhead = 32, kCountersAhead = 64;
constexpr std::int64_t kRowsAhead = 4;  // between asking for the entries of a row in a block and using them
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

// Calls part(begin, end, limit, starts, ends, whole) for all rows at once; or, if the job says so, for some rows and a
// block of columns, those below `limit`, at a time, which starts or ends the sums of its rows.
template <class Job, class Part>
void over_blocks(const Job& job, std::int64_t begin, std::int64_t end, const Part& part) {
  const Blocks& blocks = job.blocks;
  if (blocks.columns == 0) return part(begin, end, INT32_MAX, true, true, std::true_type());
  for (std::int64_t row = begin; row < end; row += blocks.rows) {
    const std::int64_t last = std::min(row + blocks.rows, end);
    for (std::int64_t from = 0; from < job.cols; from += blocks.columns) {
      const std::int64_t to = std::min(from + blocks.columns, job.cols);
      part(row, last, std::int32_t(to), from == 0, to == job.cols, std::false_type());
    }
  }
}

// Calls call(vectors, tile, first) for each tile of the batch, all of about equal size.
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

// The widest vector that the batch fills; below four samples, scalars.
template <class S, class Call>
void with_width(std::int64_t batch, const Call& call) {
  constexpr int full = kLanes<Compute<S>>;
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

}  // namespace
}  // namespace GOSSAMER_ISA
}  // namespace gossamer
