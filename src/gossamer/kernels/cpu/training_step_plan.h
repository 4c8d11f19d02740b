// A training step of a stack of layers: rows in, forward, loss, backward, update; nothing but plain memory between.
//
// Every stage writes a matrix (units x batch) of its own; gradients go back through two more. Parameters are updated when
// all gradients are there. The caller keeps alive what addresses name.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "stack.h"

namespace gossamer {
namespace {

template <class T>
struct Samples {  // row r of x is x + r * row_step; or, where indptr is given, a row of a CSR matrix less `shift`
  const T* x;
  std::int64_t row_step, col_step;
  const std::int64_t* indptr;
  const std::int32_t* indices;
  const T* shift;
};

template <class T>
struct Targets {
  Task task;
  const std::int64_t* classes;
  const T *numbers, *weight;
};

struct Recipe {  // of one step and group of parameters, as optimizers of torch have it
  double rate, decay, momentum, damping, nesterov, beta1, beta2, epsilon;
};

template <class T>
class TrainingStep : public Stack<T> {
 public:
  // first, second: what the optimizer keeps of it, null where it keeps nothing.
  int parameter(T* values, T* gradient, T* first, T* second, std::int64_t count, int group, double steps, bool fresh) {
    parameters_.push_back({values, gradient, first, second, count, group, steps, fresh});
    values_.push_back(values);
    return int(parameters_.size()) - 1;
  }

  // One step on each batch of the rows in `order`. recipes: of each step, one for each group. Losses and credits: a sum
  // over the samples of each batch. `bits` are those of all dropout stages, batch by batch.
  void train(int threads, const Samples<T>& samples, const Targets<T>& targets, const std::int64_t* order,
             std::int64_t count, std::int64_t batch, const std::int16_t* bits, const Recipe* recipes, int groups,
             bool adam, bool decoupled, double max_norm, double* losses, double* credits) {
    threads_ = threads;
    reserve(std::min(batch, count));
    for (std::int64_t begin = 0; begin < count; begin += batch, recipes += groups) {
      batch_ = std::min(batch, count - begin);
      const std::int64_t* rows = order + begin;
      gather(samples, rows);
      bits = forward(bits);
      evaluate(targets, rows, losses++, credits++);
      backward();
      update(recipes, adam, decoupled, max_norm);
    }
  }

 private:
  struct Parameter {
    T *values, *gradient, *first, *second;
    std::int64_t count;
    int group;
    double steps;
    bool fresh;
  };

  // What the stages leave for the way back.
  struct Trace {
    T *y, *beta;
    T *by_columns, *gradient_by_columns;  // weights in the order of CSC, and their gradients
    std::uint8_t* kept;
    const std::int16_t* bits;
  };

  using Stack<T>::stages_;
  using Stack<T>::kernels;
  std::vector<Trace> traces_;
  std::vector<Parameter> parameters_;
  std::vector<T*> values_;
  std::unique_ptr<T[]> memory_;
  std::unique_ptr<std::uint8_t[]> kept_;
  std::vector<double> losses_, credits_;
  std::int64_t batch_ = 0;
  int threads_ = 1;
  T *x_ = nullptr, *row_ = nullptr, *from_ = nullptr, *to_ = nullptr, *top_ = nullptr, *sum_ = nullptr;

  T* output() const { return traces_.back().y; }
  T* values(int parameter) const { return parameter < 0 ? nullptr : parameters_[parameter].values; }
  T* gradient(int parameter) const { return parameters_[parameter].gradient; }

  // Memory for batches of this size.
  void reserve(std::int64_t batch) {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    const auto padded = [](std::int64_t count) { return (count + kLine - 1) / kLine * kLine; };
    std::int64_t total = 0, kept = 0, widest = stages_.front().inputs;
    traces_.resize(stages_.size());
    const auto lay_out = [&](T* base) {
      total = 0;
      const auto take = [&](T*& where, std::int64_t count) {
        where = base + total;
        total += padded(count);
      };
      take(x_, stages_.front().inputs * batch);
      take(row_, stages_.front().inputs * batch);
      for (std::size_t i = 0; i < stages_.size(); ++i) {
        const Stage& stage = stages_[i];
        Trace& trace = traces_[i];
        widest = std::max(widest, stage.outputs);
        take(trace.y, stage.outputs * batch);
        if (stage.kind == Kind::kSparse) {
          take(trace.by_columns, parameters_[stage.weights].count);
          take(trace.gradient_by_columns, parameters_[stage.weights].count);
        }
        if (stage.kind == Kind::kHoyer) take(trace.beta, batch);
      }
      take(from_, widest * batch);
      take(to_, widest * batch);
      take(top_, batch);
      take(sum_, batch);
    };
    lay_out(nullptr);
    // A line more, so that it may begin with one.
    memory_.reset(new T[std::size_t(total + kLine)]);
    lay_out(reinterpret_cast<T*>((reinterpret_cast<Address>(memory_.get()) + 63) / 64 * 64));
    for (const Stage& stage : stages_)
      if (stage.kind == Kind::kTopK) kept += stage.outputs * batch;
    kept_.reset(new std::uint8_t[std::size_t(kept + 1)]);
    kept = 0;
    for (std::size_t i = 0; i < stages_.size(); ++i)
      if (stages_[i].kind == Kind::kTopK) traces_[i].kept = kept_.get() + kept, kept += stages_[i].outputs * batch;
    losses_.resize(std::size_t(batch)), credits_.resize(std::size_t(batch));
  }

  Pass<T> pass() const { return {values_.data(), batch_, threads_}; }
  template <class Work>
  void share(std::int64_t count, std::int64_t numbers, const Work& work) const {
    gossamer::share(threads_, count, numbers, work);
  }

  void gather(const Samples<T>& samples, const std::int64_t* rows) {
    const std::int64_t inputs = stages_.front().inputs;
    if (samples.indptr) return gather_sparse(samples, rows);
    if (samples.col_step != 1) {
      for (std::int64_t f = 0; f < inputs; ++f)
        for (std::int64_t b = 0; b < batch_; ++b)
          x_[f * batch_ + b] = samples.x[rows[b] * samples.row_step + f * samples.col_step];
      return;
    }
    for (std::int64_t b = 0; b < batch_; ++b) {
      const T* row = samples.x + rows[b] * samples.row_step;
      std::copy(row, row + inputs, row_ + b * inputs);
    }
    transpose(threads_, static_cast<const T*>(row_), batch_, inputs, inputs, x_);
  }

  void gather_sparse(const Samples<T>& samples, const std::int64_t* rows) {
    const std::int64_t inputs = stages_.front().inputs;
    std::fill(x_, x_ + inputs * batch_, T(0));
    for (std::int64_t b = 0; b < batch_; ++b) {
      for (std::int64_t j = samples.indptr[rows[b]]; j < samples.indptr[rows[b] + 1]; ++j)
        x_[samples.indices[j] * batch_ + b] += samples.x[j];
    }
    if (!samples.shift) return;
    for (std::int64_t f = 0; f < inputs; ++f)
      for (std::int64_t b = 0; b < batch_; ++b) x_[f * batch_ + b] -= samples.shift[f];
  }

  // ---- forward --------------------------------------------------------------------------------------------------------

  // Returns where the bits of the next batch are.
  const std::int16_t* forward(const std::int16_t* bits) {
    const T* x = x_;
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      Trace& trace = traces_[i];
      if (stages_[i].kind == Kind::kDropout) {
        trace.bits = bits;
        drop(i, x, trace.y);
        bits += (stages_[i].outputs * batch_ + 3) / 4 * 4;
      } else {
        this->compute(stages_[i], pass(), x, batch_, {trace.y, trace.beta, trace.kept});
      }
      x = trace.y;
    }
    return bits;
  }

  void scale(const T* x, T factor, T* y, std::int64_t count) const {
    share(count, count, [&](auto begin, auto end) { kernels().scale(x, factor, y, begin, end); });
  }
  void drop(std::size_t i, const T* x, T* y) const {
    const Stage& stage = stages_[i];
    const std::int64_t unit = stage.batch_major ? 1 : batch_, sample = stage.batch_major ? stage.outputs : 1;
    const Dropped<T> job{traces_[i].bits, unit, sample, stage.least, T(stage.slope), x, y, batch_};
    share(stage.outputs, stage.outputs * batch_, [&](auto begin, auto end) { kernels().drop(job, begin, end); });
  }

  void evaluate(const Targets<T>& targets, const std::int64_t* rows, double* loss, double* credit) {
    const std::int64_t outputs = stages_.back().outputs;
    const LossOf<T> job{targets.task, outputs, batch_, output(), from_, rows, targets.classes, targets.numbers,
                        targets.weight, losses_.data(), credits_.data(), top_, sum_};
    share(batch_, 8 * outputs * batch_, [&](auto begin, auto end) { kernels().loss(job, begin, end); });
    *loss = *credit = 0;
    for (std::int64_t b = 0; b < batch_; ++b) *loss += losses_[b], *credit += credits_[b];
  }

  // ---- backward -------------------------------------------------------------------------------------------------------

  // From the gradient of the outputs in from_; the stages before the first with parameters need none.
  void backward() {
    std::size_t first = 0;
    while (stages_[first].weights < 0 && stages_[first].kind != Kind::kSrelu) ++first;
    for (std::size_t i = stages_.size(); i-- > first;) {
      const Stage& stage = stages_[i];
      const Trace& trace = traces_[i];
      const T* x = i ? traces_[i - 1].y : x_;
      const std::int64_t size = stage.outputs * batch_;
      switch (stage.kind) {
        case Kind::kSparse:
        case Kind::kDense:
          before_relu(stage, trace.y);
          stage.kind == Kind::kSparse ? sparse_gradients(stage, trace, x, i > first) : dense_gradients(stage, x, i > first);
          break;
        case Kind::kCurve:
          share(stage.outputs, size, [&](auto begin, auto end) {
            kernels().curve_gradient({stage.curve, T(stage.slope), x, trace.y, from_, to_, batch_}, begin, end);
          });
          break;
        case Kind::kHoyer:
          gossamer::backward<T>(of_type(step_hoyer(), T()), {1, stage.outputs, batch_}, threads_, stage.magnitude,
                                {from_, trace.y, trace.beta, &stage.radius, 0, to_, stage.norm});
          break;
        case Kind::kTopK:
          share(size, size, [&](auto begin, auto end) {
            of_type(step_top_k(), T()).backward(trace.kept, from_, to_, begin, end);
          });
          break;
        case Kind::kSrelu: {
          const auto& p = stage.pieces;
          const SreluBackward<T> job{{1, stage.outputs, batch_}, this->pieces(stage, pass()), from_, x, to_,
                                     gradient(p[0]), gradient(p[1]), gradient(p[2]), gradient(p[3])};
          this->by_units(of_type(step_srelu(), T()).backward, job, threads_);
          break;
        }
        case Kind::kDropout: drop(i, from_, to_); break;
      }
      std::swap(from_, to_);
    }
  }

  // The gradient before the ReLU of a layer, in place, and that of its bias.
  void before_relu(const Stage& stage, const T* y) {
    const std::int64_t size = stage.outputs * batch_;
    std::vector<T> unused(stage.bias < 0 ? std::size_t(stage.outputs) : 0);
    T* sums = stage.bias < 0 ? unused.data() : gradient(stage.bias);
    if (stage.relu) {
      const ReluGradient<T> job{from_, y, from_, sums, batch_, batch_, batch_, batch_};
      share(stage.outputs, size, [&](auto begin, auto end) { of_type(active(), T()).relu_gradient(job, begin, end); });
    } else if (stage.bias >= 0) {
      share(stage.outputs, size, [&](auto begin, auto end) { kernels().row_sums(from_, sums, batch_, begin, end); });
    }
  }

  // The products with W' read its weights in the order of CSC, from a copy: to find each of them in the order of CSR costs
  // more, unless weights and gradients are too many for the caches and both have to be found.
  void sparse_gradients(const Stage& stage, const Trace& trace, const T* x, bool input) {
    constexpr std::int64_t kApart = 1 << 23, kFew = 64;  // as in kernels/native.py
    const auto& products = of_type(active(), T());
    const T *w = values(stage.weights), *g = from_, *none = nullptr;
    T *dw = gradient(stage.weights), *copy = trace.by_columns, *dcopy = trace.gradient_by_columns;
    const std::int32_t* place = stage.permutation;
    const std::int64_t nnz = parameters_[stage.weights].count;
    const Compressed rows = compressed(stage.indptr, stage.indices, stage.outputs);
    const Compressed columns = compressed(stage.t_indptr, stage.t_indices, stage.inputs);
    const bool apart = batch_ <= kFew && 2 * nnz * std::int64_t(sizeof(T)) > kApart;
    const bool copied = apart || 2 * nnz * std::int64_t(sizeof(T)) <= kApart / 2;
    if (input && copied)
      share(nnz, nnz, [&](auto begin, auto end) {
        for (std::int64_t j = begin; j < end; ++j) copy[j] = w[place[j]];
      });
    if (input && apart)
      run_spmm(products, columns, Csr{}, threads_, static_cast<const T*>(copy), none, g, to_, stage.outputs, batch_,
               batch_, batch_, false);
    if (!input || apart) {
      run_spmm_sddmm(products, rows, Csr{}, threads_, none, g, x, static_cast<T*>(nullptr), dw, stage.inputs, batch_,
                     batch_, batch_, batch_);
    } else if (!copied) {
      run_spmm_sddmm(products, columns, Csr{stage.indptr, stage.indices, stage.outputs}, threads_, w, x, g, to_, dw,
                     stage.outputs, batch_, batch_, batch_, batch_);
    } else {
      run_spmm_sddmm(products, columns, Csr{}, threads_, static_cast<const T*>(copy), x, g, to_, dcopy, stage.outputs,
                     batch_, batch_, batch_, batch_);
      share(nnz, nnz, [&](auto begin, auto end) {
        for (std::int64_t j = begin; j < end; ++j) dw[place[j]] = dcopy[j];
      });
    }
  }

  void dense_gradients(const Stage& stage, const T* x, bool input) {
    const DenseGradient<T> job{from_, x, gradient(stage.weights), stage.inputs, batch_};
    share(stage.outputs, stage.outputs * stage.inputs * batch_ / 16,
          [&](auto begin, auto end) { kernels().dense_gradient(job, begin, end); });
    if (input)
      this->multiply({values(stage.weights), nullptr, from_, to_, stage.outputs, 1, stage.inputs, batch_, false},
                     stage.inputs, threads_);
  }

  // ---- optimizer ------------------------------------------------------------------------------------------------------

  void update(const Recipe* recipes, bool adam, bool decoupled, double max_norm) {
    if (max_norm > 0) clip(max_norm);
    std::int64_t total = 0;
    std::vector<Update<T>> jobs;
    for (Parameter& parameter : parameters_) {
      const Recipe& r = recipes[parameter.group];
      const double steps = ++parameter.steps, correction = adam ? 1 - std::pow(r.beta1, steps) : 1;
      const double root = adam ? std::sqrt(1 - std::pow(r.beta2, steps)) : 1;
      total += parameter.count;
      jobs.push_back({adam, decoupled, r.nesterov != 0, parameter.fresh, parameter.values, parameter.first,
                      parameter.second, parameter.gradient, T(r.rate), T(r.decay), T(r.momentum), T(r.damping),
                      T(r.beta1), T(r.beta2), T(r.epsilon), T(r.rate / correction), T(root)});
      parameter.fresh = false;
    }
    parallel(total < kShared ? 1 : threads_, [&](int part, int parts) {
      std::int64_t begin = total * part / parts, end = total * (part + 1) / parts;
      for (std::size_t i = 0; i < jobs.size(); ++i) {
        const std::int64_t count = parameters_[i].count, from = std::max<std::int64_t>(begin, 0);
        if (from < count && end > from) kernels().update(jobs[i], from, std::min(count, end));
        begin -= count, end -= count;
      }
    });
  }

  // As torch.nn.utils.clip_grad_norm_.
  void clip(double max_norm) {
    double squares = 0;
    for (const Parameter& parameter : parameters_) squares += kernels().squares(parameter.gradient, parameter.count);
    const double ratio = max_norm / (std::sqrt(squares) + 1e-6);
    if (ratio >= 1) return;
    for (const Parameter& parameter : parameters_) scale(parameter.gradient, T(ratio), parameter.gradient, parameter.count);
  }
};

}  // namespace
}  // namespace gossamer
