// The arithmetic of the sparseness-enforcing projection, as plain pointers and sizes.
//
// A group is one contiguous row (lanes 1, stride 1), or `lanes` neighbouring rows that lie side by side in memory:
// element i of row j at x[i * stride + j]. Every function passes over the elements of a group once and leaves one
// result for each of its rows. What the results are for is told in hoyer_search.h.
#pragma once

#include <cstdint>

namespace gossamer {

// Elements of a group's rows whose terms are added up in the storage type before they go to double.
constexpr std::int64_t kHoyerBlock = 1024;
constexpr int kHoyerLanes = 16;  // rows of the largest group

// A trial threshold α:  y = max(slope (scale x − α), 0),  s = gain y.  scale is a power of two, so scale x is exact;
// α is given in two parts, high and then low, so that y keeps its digits where x is near the threshold.
template <class T>
struct HoyerTrial {
  T scale, high, low, slope, gain;
};

struct HoyerSums {
  double count, sum, square;  // of the positive y
};

// Of z = kHoyerShrink (x − shift); with `masked`, over the x above −inf only, and their number.
constexpr double kHoyerShrink = 1.0 / (1 << 24);  // keeps the sum finite
struct HoyerMoments {
  double top, sum, square, finite;  // top is the largest x
};

struct HoyerPull {
  double count, plain, weighted;  // over s ≠ 0: 1, v sign(s), v s
};

// The product with the derivative: out = beta (v − plain sign(s) − weighted s) where s ≠ 0, 0 elsewhere.
template <class T>
struct HoyerPush {
  T beta, plain, weighted;
};

template <class T>
struct HoyerGroup {
  std::int64_t n, stride;
  int lanes;
  bool magnitude;  // x stands for |x|
};

template <class T>
struct HoyerKernels {
  int (*lanes)(std::int64_t rows);  // of the largest group that fits into so many neighbouring rows
  void (*moments)(const HoyerGroup<T>&, const T* x, const T* shift, bool masked, HoyerMoments* out);
  void (*measure)(const HoyerGroup<T>&, const T* x, const HoyerTrial<T>*, HoyerSums* out);
  void (*write)(const HoyerGroup<T>&, const T* x, const HoyerTrial<T>*, T* s, HoyerSums* out);
  void (*pull)(const HoyerGroup<T>&, const T* v, const T* s, HoyerPull* out);
  void (*push)(const HoyerGroup<T>&, const T* v, const T* s, const HoyerPush<T>*, T* out);
};

struct HoyerKernelSet {
  HoyerKernels<float> f32;
  HoyerKernels<double> f64;
};

}  // namespace gossamer
