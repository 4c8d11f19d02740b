// Lane by lane, for the passes of the sparseness-enforcing projection: |x|, a choice by a mask, and counts of what a
// mask holds. Over the lanes of a vector: their sum and their maximum. One lane alone is a number, and its mask a bool.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {  // internal linkage, as in vec.h

template <class T>
using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

template <class T, int W>
inline Vec<T, W> absolute(Vec<T, W> x) {
  if constexpr (W == 1) {
    return std::fabs(x);
  } else {
    using I = Vec<Integer<T>, W>;
    return (Vec<T, W>)((I)x & std::numeric_limits<Integer<T>>::max());
  }
}

// The lanes of `a` where `yes`, of `b` elsewhere.
template <class Mask, class V>
inline V select(Mask yes, V a, V b) {
  return yes ? a : b;
}

// One more in the lanes where `yes`.
template <class T, int W, class Mask>
inline void count(Vec<Integer<T>, W>& total, Mask yes) {
  if constexpr (W == 1) {
    total += yes;
  } else {
    total -= yes;  // true is -1
  }
}

template <class T, int W>
inline T sum_lanes(Vec<T, W> x) {
  if constexpr (W == 1) {
    return x;
  } else {
    Vec<T, W / 2> low, high;
    std::memcpy(&low, &x, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof low, sizeof low);
    return sum_lanes<T, W / 2>(low + high);
  }
}

template <class T, int W>
inline T largest_lane(Vec<T, W> x) {
  if constexpr (W == 1) {
    return x;
  } else {
    Vec<T, W / 2> low, high;
    std::memcpy(&low, &x, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof low, sizeof low);
    return largest_lane<T, W / 2>(select(low > high, low, high));
  }
}

}  // namespace
}  // namespace GOSSAMER_ISA
}  // namespace gossamer
