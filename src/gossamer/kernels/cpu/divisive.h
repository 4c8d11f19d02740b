// ReLU, divisive normalisation and quantile threshold in one, as plain pointers and sizes; the mathematics stands in
// kernels/divisive.py.
#pragma once

#include <cstdint>

namespace gossamer {

struct MapShape {  // of contiguous maps (images, channels, height, width)
  std::int64_t images, channels, height, width;
};

template <class T>
struct DivisiveForward {
  MapShape shape;
  double sigma;
  int window;         // 1 or 3
  std::int64_t rank;  // k of the quantile, from 0 to height * width
  const T* u;
  T *z, *local, *divisor;  // local and divisor: one for every location of an image
  T* threshold;            // one for every map
};

template <class T>
struct DivisiveBackward {
  MapShape shape;
  double sigma;
  int window;
  bool straight;  // gates that pass all gradients
  const T *g, *u, *local, *divisor, *threshold;
  T* du;
};

// Images [begin, end).
template <class T>
struct DivisiveKernels {
  void (*forward)(const DivisiveForward<T>&, std::int64_t begin, std::int64_t end);
  void (*backward)(const DivisiveBackward<T>&, std::int64_t begin, std::int64_t end);
};

struct DivisiveKernelSet {
  DivisiveKernels<float> f32;
  DivisiveKernels<double> f64;
};

}  // namespace gossamer
