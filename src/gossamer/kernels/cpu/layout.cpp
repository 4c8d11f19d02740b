// Copies between batch-major and feature-major matrices, for one instruction set.

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
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

// Swapping the off-diagonal blocks of side `step` in every square of side 2 * step, for step = W/2 … 1, transposes.
template <int W, int step>
struct KeepUpper {
  static constexpr int lane(int i) { return i & step ? W + i - step : i; }
};
template <int W, int step>
struct KeepLower {
  static constexpr int lane(int i) { return i & step ? W + i : i + step; }
};

template <class T, int W, int step>
inline void transpose_square(Vec<T, W>* row) {
  if constexpr (step > 0) {
    constexpr auto lanes = std::make_index_sequence<W>();
    for (int i = 0; i < W; ++i) {
      if (i & step) continue;
      const Vec<T, W> upper = row[i], lower = row[i + step];
      row[i] = shuffle<T, W>(upper, lower, KeepUpper<W, step>(), lanes);
      row[i + step] = shuffle<T, W>(upper, lower, KeepLower<W, step>(), lanes);
    }
    transpose_square<T, W, step / 2>(row);
  }
}

template <class T>
void copy_transposed(const CopyTransposed<T>& job, std::int64_t begin, std::int64_t end) {
  constexpr int W = kBytes / int(sizeof(T));
  const auto block = [&](std::int64_t r, std::int64_t c) {
    Vec<T, W> square[W];
    for (int i = 0; i < W; ++i) std::memcpy(&square[i], job.from + (r + i) * job.stride + c, sizeof square[i]);
    transpose_square<T, W, W / 2>(square);
    for (int i = 0; i < W; ++i) std::memcpy(job.to + (c + i) * job.rows + r, &square[i], sizeof square[i]);
  };
  if (job.rows < W || end - begin < W) {
    for (std::int64_t c = begin; c < end; ++c)
      for (std::int64_t r = 0; r < job.rows; ++r) job.to[c * job.rows + r] = job.from[r * job.stride + c];
    return;
  }
  for (std::int64_t c = begin; c < end; c += W) {  // the last blocks overlap the ones before
    for (std::int64_t r = 0; r < job.rows; r += W) block(std::min(r, job.rows - W), std::min(c, end - W));
  }
}

}  // namespace

extern const Layout layout;
const Layout layout{copy_transposed<std::uint16_t>, copy_transposed<std::uint32_t>, copy_transposed<std::uint64_t>};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
