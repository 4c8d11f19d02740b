// S-shaped units with learned pieces, as plain pointers and sizes; the mathematics stands in activation/units.py.
#pragma once

#include <cstdint>

namespace gossamer {

// Value i of unit u and outer index o stands at (o * units + u) * inner + i.
struct SreluShape {
  std::int64_t outer, units, inner;
};

template <class T>
struct SreluPieces {  // one of each for every unit
  const T *t_l, *a_l, *t_r, *a_r;
};

template <class T>
struct SreluForward {
  SreluShape shape;
  SreluPieces<T> pieces;
  const T* x;
  T* y;
};

template <class T>
struct SreluBackward {
  SreluShape shape;
  SreluPieces<T> pieces;
  const T *d, *x;
  T *dx, *dt_l, *da_l, *dt_r, *da_r;
};

// Units [begin, end), all their values.
template <class T>
struct SreluKernels {
  void (*forward)(const SreluForward<T>&, std::int64_t begin, std::int64_t end);
  void (*backward)(const SreluBackward<T>&, std::int64_t begin, std::int64_t end);
};

struct SreluKernelSet {
  SreluKernels<float> f32;
  SreluKernels<double> f64;
};

}  // namespace gossamer
