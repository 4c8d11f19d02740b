// The cost that separates winning channels from others, as plain pointers and sizes; the mathematics stands in
// kernels/winners.py.
#pragma once

#include <cstdint>

namespace gossamer {

// Channel c of location (o, i) is at (o * channels + c) * inner + i; locations are numbered o * inner + i.
struct WinnersShape {
  std::int64_t outer, channels, inner;
};

template <class T>
struct WinnersForward {
  WinnersShape shape;
  std::int64_t winners;  // K, from 1 to channels
  double rest;           // weight of each of the others
  const T* u;
  T *cost, *least;  // for every location: its cost, and the least activation of a winner
};

template <class T>
struct WinnersBackward {
  WinnersShape shape;
  std::int64_t winners;
  double rest;
  const T *g, *u, *least;  // g, least: one for every location
  T* du;
};

// Locations [begin, end).
template <class T>
struct WinnersKernels {
  void (*forward)(const WinnersForward<T>&, std::int64_t begin, std::int64_t end);
  void (*backward)(const WinnersBackward<T>&, std::int64_t begin, std::int64_t end);
};

struct WinnersKernelSet {
  WinnersKernels<float> f32;
  WinnersKernels<double> f64;
};

}  // namespace gossamer
