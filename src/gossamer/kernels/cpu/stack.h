// A stack of layers as stages: what each computes from a matrix (units x batch) by features, with contiguous rows.
//
// Stages are added in the order of the network. Parameters go by numbers; where they are is looked up when a stage runs.
// Products of sparse layers, the projection, the k largest and the S-shaped units are those that autograd uses, on the same
// layouts.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "dispatch.h"
#include "hoyer.h"
#include "hoyer_tensor.h"
#include "products.h"
#include "products_work.h"
#include "srelu.h"
#include "top_k.h"
#include "training_step.h"

namespace gossamer {

GOSSAMER_TABLE(Layout, layout, step_layout)
GOSSAMER_TABLE(HoyerKernelSet, hoyer_kernels, step_hoyer)
GOSSAMER_TABLE(SreluKernelSet, srelu_kernels, step_srelu)
GOSSAMER_TABLE(TopKKernelSet, top_k_kernels, step_top_k)
GOSSAMER_TABLE(StepKernelSet, step_kernels, step_kernel_set)

namespace {

constexpr std::int64_t kShared = 1 << 15;  // numbers, from which on threads share simple work on them

template <class Set>
const auto& of_type(const Set& set, float) { return set.f32; }
template <class Set>
const auto& of_type(const Set& set, double) { return set.f64; }

enum class Kind { kSparse, kDense, kCurve, kHoyer, kTopK, kSrelu, kDropout };

struct Stage {
  Kind kind;
  std::int64_t inputs, outputs;
  int weights, bias;  // numbers of parameters, -1: none
  bool relu;
  const std::int32_t *indptr, *indices, *t_indptr, *t_indices, *permutation;
  Curve curve;
  double slope;  // of a curve; of dropout, what survivors are multiplied by
  double radius, norm;
  bool magnitude;
  std::int64_t k;
  std::array<int, 4> pieces;
  std::int32_t least;
  bool batch_major;
};

// A batch on its way through the stages.
template <class T>
struct Pass {
  T* const* values;  // of the parameters
  std::int64_t batch;
  int threads;
};

template <class T>
struct Written {  // by a stage
  T *y, *beta;          // beta: of the projection, one for each sample
  std::uint8_t* kept;   // of the k largest; may be null
};

// Calls work(begin, end) for [0, count), by several threads if it is about so many numbers.
template <class Work>
void share(int threads, std::int64_t count, std::int64_t numbers, const Work& work) {
  parallel(numbers < kShared ? 1 : threads, [&](int part, int parts) {
    const std::int64_t begin = count * part / parts, end = count * (part + 1) / parts;
    if (begin < end) work(begin, end);
  });
}

// to (cols x rows) = transpose of from (rows x cols, row r at from + r * stride).
template <class T>
void transpose(int threads, const T* from, std::int64_t rows, std::int64_t cols, std::int64_t stride, T* to) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const CopyTransposed<Bits> job{reinterpret_cast<const Bits*>(from), reinterpret_cast<Bits*>(to), rows, cols, stride};
  share(threads, cols, rows * cols, [&](std::int64_t begin, std::int64_t end) {
    if constexpr (sizeof(T) == 4) {
      step_layout().four_bytes(job, begin, end);
    } else {
      step_layout().eight_bytes(job, begin, end);
    }
  });
}

template <class T>
class Stack {
 public:
  void sparse(std::int64_t inputs, std::int64_t outputs, const std::int32_t* indptr, const std::int32_t* indices,
              const std::int32_t* t_indptr, const std::int32_t* t_indices, const std::int32_t* permutation, int weights,
              int bias, bool relu) {
    Stage stage = layer(Kind::kSparse, inputs, outputs, weights, bias, relu);
    stage.indptr = indptr, stage.indices = indices, stage.t_indptr = t_indptr, stage.t_indices = t_indices;
    stage.permutation = permutation;
    stages_.push_back(stage);
  }
  void dense(std::int64_t inputs, std::int64_t outputs, int weights, int bias, bool relu) {
    stages_.push_back(layer(Kind::kDense, inputs, outputs, weights, bias, relu));
  }
  void curve(std::int64_t units, Curve kind, double slope) {
    Stage stage = layer(Kind::kCurve, units, units, -1, -1, false);
    stage.curve = kind, stage.slope = slope;
    stages_.push_back(stage);
  }
  void hoyer(std::int64_t units, double radius, double norm, bool magnitude) {
    Stage stage = layer(Kind::kHoyer, units, units, -1, -1, false);
    stage.radius = radius, stage.norm = norm, stage.magnitude = magnitude;
    stages_.push_back(stage);
  }
  void top_k(std::int64_t units, std::int64_t k, bool magnitude) {
    Stage stage = layer(Kind::kTopK, units, units, -1, -1, false);
    stage.k = k, stage.magnitude = magnitude;
    stages_.push_back(stage);
  }
  void srelu(std::int64_t units, int t_l, int a_l, int t_r, int a_r) {
    Stage stage = layer(Kind::kSrelu, units, units, -1, -1, false);
    stage.pieces = {t_l, a_l, t_r, a_r};
    stages_.push_back(stage);
  }
  void dropout(std::int64_t units, std::int32_t least, double scale, bool batch_major) {
    Stage stage = layer(Kind::kDropout, units, units, -1, -1, false);
    stage.least = least, stage.slope = scale, stage.batch_major = batch_major;
    stages_.push_back(stage);
  }

 protected:
  std::vector<Stage> stages_;

  const StepKernels<T>& kernels() const { return of_type(step_kernel_set(), T()); }

  // A stage but dropout. Row f of x starts at x + f * x_stride; other stages than a sparse one have x_stride = batch.
  void compute(const Stage& stage, const Pass<T>& pass, const T* x, std::int64_t x_stride, const Written<T>& out) const {
    const auto [values, batch, threads] = pass;
    const auto of = [values = values](int parameter) -> const T* { return parameter < 0 ? nullptr : values[parameter]; };
    switch (stage.kind) {
      case Kind::kSparse:
        run_spmm(of_type(active(), T()), compressed(stage.indptr, stage.indices, stage.outputs), Csr{}, threads,
                 of(stage.weights), of(stage.bias), x, out.y, stage.inputs, batch, x_stride, batch, stage.relu);
        break;
      case Kind::kDense:
        multiply({of(stage.weights), of(stage.bias), x, out.y, stage.inputs, stage.inputs, 1, batch, stage.relu},
                 stage.outputs, threads);
        break;
      case Kind::kCurve: {
        const Curved<T> job{stage.curve, T(stage.slope), x, out.y, nullptr, nullptr, batch};
        share(threads, stage.outputs, 8 * stage.outputs * batch,
              [&](auto begin, auto end) { kernels().curve(job, begin, end); });
        break;
      }
      case Kind::kHoyer:
        gossamer::forward<T>(of_type(step_hoyer(), T()), {1, stage.outputs, batch}, threads,
                             {x, out.y, out.beta, &stage.radius, 0, stage.magnitude, stage.norm});
        break;
      case Kind::kTopK: {
        const TopK<T> job{1, stage.outputs, batch, stage.k, stage.magnitude, x, out.y, out.kept};
        share(threads, batch, 8 * stage.outputs * batch,
              [&](auto begin, auto end) { of_type(step_top_k(), T()).forward(job, begin, end); });
        break;
      }
      case Kind::kSrelu:
        by_units(of_type(step_srelu(), T()).forward, SreluForward<T>{{1, stage.outputs, batch}, pieces(stage, pass), x, out.y},
                 threads);
        break;
      case Kind::kDropout: break;
    }
  }

  void multiply(const DenseProduct<T>& job, std::int64_t rows, int threads) const {
    share(threads, rows, rows * job.cols * job.batch / 16, [&](auto begin, auto end) { kernels().dense(job, begin, end); });
  }
  static SreluPieces<T> pieces(const Stage& stage, const Pass<T>& pass) {
    const auto& p = stage.pieces;
    return {pass.values[p[0]], pass.values[p[1]], pass.values[p[2]], pass.values[p[3]]};
  }
  template <class Job>
  static void by_units(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, int threads) {
    const auto [outer, units, inner] = job.shape;
    parallel(outer * units * inner < kShared ? 1 : threads, [&, units = units](int part, int parts) {
      const auto cut = [&](int p) { return p == parts ? units : units * p / parts / 16 * 16; };
      kernel(job, cut(part), cut(part + 1));
    });
  }

 private:
  static Stage layer(Kind kind, std::int64_t inputs, std::int64_t outputs, int weights, int bias, bool relu) {
    Stage stage{};
    stage.kind = kind, stage.inputs = inputs, stage.outputs = outputs;
    stage.weights = weights, stage.bias = bias, stage.relu = relu;
    return stage;
  }
};

}  // namespace
}  // namespace gossamer
