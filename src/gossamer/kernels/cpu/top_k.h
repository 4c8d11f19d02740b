// The k largest of each row of a tensor, as plain pointers and sizes; the mathematics stands in activation/top_k.py.
#pragma once

#include <cstdint>

namespace gossamer {

// A tensor is (outer, n, inner) in memory, contiguous, and its rows run along n: entry u of row o * inner + i stands at
// (o * n + u) * inner + i.
template <class T>
struct TopK {
  std::int64_t outer, n, inner, k;
  bool magnitude;  // |x| is compared
  const T* x;
  T* y;
  std::uint8_t* kept;  // 1 where y is x, 0 elsewhere; may be null
};

template <class T>
struct TopKKernels {
  void (*forward)(const TopK<T>&, std::int64_t begin, std::int64_t end);  // rows [begin, end)
  // out = g where kept, 0 elsewhere; elements [begin, end).
  void (*backward)(const std::uint8_t* kept, const T* g, T* out, std::int64_t begin, std::int64_t end);
};

struct TopKKernelSet {
  TopKKernels<float> f32;
  TopKKernels<double> f64;
};

}  // namespace gossamer
