// The product of a sparse code and a sparse layer: only connections of active inputs are read.
//
// Sample b has `slots` pairs (value, index); a pair of value zero is empty. W' is the transposed layer in CSR: its row i
// lists the outputs that input i reaches.
//   forward:  y[b] = bias + sum over the pairs of value * W'[index]
//   backward: dcode[b, s] = <W'[index], dy[b]>,  dvalues[j] += value * dy[b, output of j]
#pragma once

#include <cstdint>

#include "types.h"

namespace gossamer {

struct CodeShape {
  const std::int32_t* indices;  // (batch x slots)
  std::int64_t batch, slots;
};

template <class S, class C>
struct Spspmm {
  const std::int32_t *t_indptr, *t_indices;
  const S* values;
  const std::int32_t* place;  // entry j of t_indices has the weight values[place[j]], or values[j] where this is null
  CodeShape code;
  const S* code_values;  // (batch x slots)
  std::int64_t outputs;
};

template <class S, class C>
struct SpspmmFunctions {
  // Adds the pairs [begin, end) of sample b to y (outputs).
  void (*scatter)(const Spspmm<S, C>&, std::int64_t b, std::int64_t begin, std::int64_t end, C* y);
  // Gradients of the pairs whose index is in [first, last), from dy (batch x outputs). Either result may be null.
  void (*backward)(const Spspmm<S, C>&, const S* dy, std::int32_t first, std::int32_t last, S* dcode, C* dvalues);
  // y = narrow(max(y + bias, 0) or y + bias); bias may be null.
  void (*finish)(const C* sum, const S* bias, bool relu, S* y, std::int64_t outputs);
  // Indices and values of the non-zero entries of x (features), their number returned.
  std::int64_t (*pack)(const S* x, std::int64_t features, std::int64_t stride, std::int32_t* indices, S* values);
};

struct SpspmmKernels {
  SpspmmFunctions<float, float> f32;
  SpspmmFunctions<double, double> f64;
  SpspmmFunctions<bfloat16, float> bf16;
};

}  // namespace gossamer
