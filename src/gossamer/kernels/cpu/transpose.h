// Transposed copies in squares of registers. Included by code that is compiled once for every instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "vec.h"

namespace gossamer {
namespace {  // internal linkage, as in vec.h

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

// to[c * to_stride + r] = from[r * stride + c], in squares of side W or, where the matrix is smaller, W / 2, W / 4, …
template <class T, int W>
void transpose_matrix(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t cols, T* to,
                      std::int64_t to_stride) {
  if constexpr (W < 4) {
    for (std::int64_t c = 0; c < cols; ++c)
      for (std::int64_t r = 0; r < rows; ++r) to[c * to_stride + r] = from[r * stride + c];
  } else {
    if (rows < W || cols < W) return transpose_matrix<T, W / 2>(from, stride, rows, cols, to, to_stride);
    for (std::int64_t c = 0; c < cols; c += W) {  // the last squares overlap the ones before
      for (std::int64_t r = 0; r < rows; r += W) {
        const std::int64_t top = std::min(r, rows - W), left = std::min(c, cols - W);
        Vec<T, W> square[W];
        for (int i = 0; i < W; ++i) std::memcpy(&square[i], from + (top + i) * stride + left, sizeof square[i]);
        transpose_square<T, W, W / 2>(square);
        for (int i = 0; i < W; ++i) std::memcpy(to + (left + i) * to_stride + top, &square[i], sizeof square[i]);
      }
    }
  }
}

}  // namespace
}  // namespace gossamer
