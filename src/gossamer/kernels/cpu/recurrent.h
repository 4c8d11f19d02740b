// One step of a recurrent layer, element by element, as plain pointers and sizes; the mathematics stands in
// kernels/lstm.py and gru.py. Products with the recurrent weights come before (forward) or after it (backward).
//
// A matrix is (units x batch) or (gates * units x batch), gate g of unit u in row g * units + u. One that belongs to a
// sequence is a column block of it, whose rows are `stride` apart; others are compact, with rows of `batch` numbers.
#pragma once

#include <cstdint>

namespace gossamer {

template <class T>
struct Block {  // of a sequence
  T* data;
  std::int64_t stride;
};

template <class T>
struct LstmForward {  // gates i, f, g, o
  std::int64_t units, batch;
  Block<const T> x, before;  // projection of the input (4 units), cells of the step before
  const T* recurrent;        // W h + b (4 units)
  Block<T> gates, cells, y;  // activations of the gates (4 units)
  T* h;                      // the same as y
};

template <class T>
struct LstmBackward {
  std::int64_t units, batch;
  Block<const T> gates, cells, before, dy;
  const T* dh;  // of y by way of the step that follows
  T* dc;        // of the cells; becomes that of the cells before
  Block<T> dx;  // (4 units)
  T* drecurrent;  // the same as dx
};

template <class T>
struct GruForward {  // gates r, z, n
  std::int64_t units, batch;
  Block<const T> x;    // (3 units)
  const T* recurrent;  // (3 units)
  Block<T> gates, y;   // r, z, n and the recurrent part of n before r (4 units)
  T* h;                // the state before; becomes y
};

template <class T>
struct GruBackward {
  std::int64_t units, batch;
  Block<const T> gates, before, dy;
  const T* dh;                   // of y by way of the product of the step that follows
  T* direct;                     // of y by way of z of that step; becomes that of this one
  Block<T> dx, drecurrent_all;   // (3 units)
  T* drecurrent;                 // the same as drecurrent_all
};

// Units [begin, end) of all samples.
template <class T>
struct RecurrentKernels {
  void (*lstm)(const LstmForward<T>&, std::int64_t begin, std::int64_t end);
  void (*lstm_backward)(const LstmBackward<T>&, std::int64_t begin, std::int64_t end);
  void (*gru)(const GruForward<T>&, std::int64_t begin, std::int64_t end);
  void (*gru_backward)(const GruBackward<T>&, std::int64_t begin, std::int64_t end);
};

struct RecurrentKernelSet {
  RecurrentKernels<float> f32;
  RecurrentKernels<double> f64;
};

}  // namespace gossamer
