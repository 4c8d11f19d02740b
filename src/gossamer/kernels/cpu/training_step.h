// The arithmetic of a training step beside the products of sparse layers, the projection and the S-shaped units, as plain
// pointers and sizes. Matrices are feature-major, (units x batch), with contiguous rows.
#pragma once

#include <cstdint>

namespace gossamer {

template <class T>
struct DenseProduct {  // Y = A X + bias, through a ReLU if asked for; A(r, c) stands at a[r * row_step + c * col_step]
  const T *a, *bias, *x;
  T* y;
  std::int64_t cols, row_step, col_step, batch;
  bool relu;
};

template <class T>
struct DenseGradient {  // out(r, c) = <d(r), x(c)>, out by rows
  const T *d, *x;
  T* out;
  std::int64_t cols, batch;
};

enum class Curve { kReLU, kLeaky, kSigmoid, kTanh };

template <class T>
struct Curved {  // y = f(x), element by element, and out = g f'(x)
  Curve curve;
  T slope;  // of kLeaky, below zero
  const T* x;
  T* y;
  const T* g;
  T* out;
  std::int64_t batch;
};

// Dropout: 16 random bits a unit and sample decide, y = x * scale where they reach `least`, x * 0 elsewhere.
template <class T>
struct Dropped {
  const std::int16_t* bits;
  std::int64_t unit_step, sample_step;
  std::int32_t least;
  T scale;
  const T* x;
  T* y;
  std::int64_t batch;
};

enum class Task { kClasses, kLabels, kNumbers };

template <class T>
struct LossOf {  // of outputs z; see training/task.py
  Task task;
  std::int64_t outputs, batch;
  const T* z;
  T* gradient;
  const std::int64_t* rows;     // sample b is row rows[b] of the following
  const std::int64_t* classes;  // of kClasses
  const T *targets, *weight;    // targets (n x outputs) of the others; no weight: ones
  double *losses, *credits;     // of each sample
  T *top, *sum;                 // scratch, one for each sample
};

template <class T>
struct Update {  // of parameters
  bool adam, decoupled, nesterov, fresh;
  T *values, *first, *second;  // second: of Adam; first: null without momentum
  const T* gradient;
  T rate, decay;
  T momentum, damping;            // of gradient descent
  T beta1, beta2, epsilon, step_size, root;  // of Adam; step_size = rate / (1 - beta1^t), root = sqrt(1 - beta2^t)
};

template <class T>
struct StepKernels {  // rows, samples or elements [begin, end)
  void (*dense)(const DenseProduct<T>&, std::int64_t begin, std::int64_t end);
  void (*dense_gradient)(const DenseGradient<T>&, std::int64_t begin, std::int64_t end);
  void (*curve)(const Curved<T>&, std::int64_t begin, std::int64_t end);
  void (*curve_gradient)(const Curved<T>&, std::int64_t begin, std::int64_t end);
  void (*scale)(const T* x, T factor, T* y, std::int64_t begin, std::int64_t end);
  void (*drop)(const Dropped<T>&, std::int64_t begin, std::int64_t end);
  void (*row_sums)(const T* g, T* out, std::int64_t batch, std::int64_t begin, std::int64_t end);
  void (*loss)(const LossOf<T>&, std::int64_t begin, std::int64_t end);
  double (*squares)(const T* g, std::int64_t count);
  void (*update)(const Update<T>&, std::int64_t begin, std::int64_t end);
};

struct StepKernelSet {
  StepKernels<float> f32;
  StepKernels<double> f64;
};

}  // namespace gossamer
