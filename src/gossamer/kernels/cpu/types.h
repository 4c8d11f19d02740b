// How numbers are stored and what they are computed in.
#pragma once

#include <cstdint>

namespace gossamer {

struct bfloat16 {  // arithmetic on them is done in float
  std::uint16_t bits;
};

template <class S>
struct compute_type {
  using type = S;
};
template <>
struct compute_type<bfloat16> {
  using type = float;
};
template <class S>
using Compute = typename compute_type<S>::type;

}  // namespace gossamer
