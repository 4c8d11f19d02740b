// The arithmetic of a training step, for one instruction set. See training_step.h for what each function computes.

#include "training_step.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tiles.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

// ---- dense layers -----------------------------------------------------------------------------------------------------

// R rows of Y in a tile of V vectors: a row of X is read once for all of them.
template <class T, int W, int R, int V>
void dense_rows(const DenseProduct<T>& job, std::int64_t row, Tile tile) {
  using Vector = Vec<T, W>;
  Vector sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = broadcast<T, W>(job.bias ? job.bias[row + r] : T(0));
  const T *a = job.a + row * job.row_step, *x = job.x + tile.start;
  for (std::int64_t c = 0; c < job.cols; ++c, a += job.col_step, x += job.batch) {
    Vector source[V];
    for (int v = 0; v < V; ++v) source[v] = load<T, W>(x + (v == V - 1 ? tile.last : v * W));
    for (int r = 0; r < R; ++r) {
      const Vector weight = broadcast<T, W>(a[r * job.row_step]);
      for (int v = 0; v < V; ++v) sum[r][v] += weight * source[v];
    }
  }
  for (int r = 0; r < R; ++r) {
    T* y = job.y + (row + r) * job.batch + tile.start;
    for (int v = 0; v < V; ++v)
      store<T, W>(y + (v == V - 1 ? tile.last : v * W), job.relu ? max0<T, W>(sum[r][v]) : sum[r][v]);
  }
}

// One sample has no rows to read: rows of A are read along instead. R of them share the loads of X, and hide the latency
// of the sums.
template <class T, int R>
void dense_one(const DenseProduct<T>& job, std::int64_t row) {
  constexpr int W = kLanes<T>;
  const T* const a = job.a + row * job.row_step;
  Vec<T, W> sum[R] = {};
  std::int64_t c = 0;
  for (; c + W <= job.cols; c += W) {
    const Vec<T, W> x = load<T, W>(job.x + c);
    for (int r = 0; r < R; ++r) sum[r] += load<T, W>(a + r * job.row_step + c) * x;
  }
  for (int r = 0; r < R; ++r) {
    T total = job.bias ? job.bias[row + r] : T(0);
    for (std::int64_t rest = c; rest < job.cols; ++rest) total += a[r * job.row_step + rest] * job.x[rest];
    for (int lane = 0; lane < W; ++lane) total += sum[r][lane];
    job.y[row + r] = job.relu ? max0<T, 1>(total) : total;
  }
}

template <class T>
void dense(const DenseProduct<T>& job, std::int64_t begin, std::int64_t end) {
  if (job.batch == 1 && job.col_step == 1) {
    for (; begin + 4 <= end; begin += 4) dense_one<T, 4>(job, begin);
    for (; begin < end; ++begin) dense_one<T, 1>(job, begin);
    return;
  }
  with_width<T>(job.batch, [&](auto width) {
    constexpr int W = decltype(width)::value;
    over_tiles<W>(job.batch, 2, [&](int vectors, Tile tile, bool) {
      std::int64_t row = begin;
      const auto take = [&](auto rows) {
        constexpr int R = decltype(rows)::value;
        for (; row + R <= end; row += R)
          vectors == 1 ? dense_rows<T, W, R, 1>(job, row, tile) : dense_rows<T, W, R, 2>(job, row, tile);
      };
      take(std::integral_constant<int, 4>());
      take(std::integral_constant<int, 1>());
    });
  });
}

// Inner products of R rows of D with four rows of X; the last vector of each may overlap the one before, whose lanes
// count once.
template <class T, int W, int R>
void inner_products(const DenseGradient<T>& job, std::int64_t row, std::int64_t col) {
  using Vector = Vec<T, W>;
  const std::int64_t batch = job.batch;
  const int columns = int(std::min<std::int64_t>(4, job.cols - col));
  const T* x[4];
  for (int c = 0; c < 4; ++c) x[c] = job.x + (col + std::min(c, columns - 1)) * batch;
  const T* d = job.d + row * batch;
  Vector sum[R][4] = {};
  std::int64_t b = 0;
  for (; b + W <= batch; b += W) {
    Vector other[4];
    for (int c = 0; c < 4; ++c) other[c] = load<T, W>(x[c] + b);
    for (int r = 0; r < R; ++r) {
      const Vector mine = load<T, W>(d + r * batch + b);
      for (int c = 0; c < 4; ++c) sum[r][c] += mine * other[c];
    }
  }
  if constexpr (W > 1) {
    if (b < batch) {
      const std::int64_t last = batch - W;
      for (int r = 0; r < R; ++r) {
        Vector mine = load<T, W>(d + r * batch + last);
        for (int lane = 0; lane < int(b - last); ++lane) mine[lane] = 0;
        for (int c = 0; c < 4; ++c) {
          Vector other = load<T, W>(x[c] + last);
          for (int lane = 0; lane < int(b - last); ++lane) other[lane] = 0;  // 0 * inf would count
          sum[r][c] += mine * other;
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    T products[4];
    sum_of_four<T, W>(sum[r], products);
    for (int c = 0; c < columns; ++c) job.out[(row + r) * job.cols + col + c] = products[c];
  }
}

template <class T>
void dense_gradient(const DenseGradient<T>& job, std::int64_t begin, std::int64_t end) {
  with_width<T>(job.batch, [&](auto width) {
    constexpr int W = decltype(width)::value;
    for (std::int64_t col = 0; col < job.cols; col += 4) {
      std::int64_t row = begin;
      for (; row + 2 <= end; row += 2) inner_products<T, W, 2>(job, row, col);
      for (; row < end; ++row) inner_products<T, W, 1>(job, row, col);
    }
  });
}

template <class T>
void row_sums(const T* g, T* out, std::int64_t batch, std::int64_t begin, std::int64_t end) {
  constexpr int W = kLanes<T>;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* from = g + row * batch;
    Vec<T, W> sums{};
    std::int64_t b = 0;
    for (; b + W <= batch; b += W) sums += load<T, W>(from + b);
    T sum = 0;
    for (int lane = 0; lane < W; ++lane) sum += sums[lane];
    for (; b < batch; ++b) sum += from[b];
    out[row] = sum;
  }
}

// ---- activation functions ---------------------------------------------------------------------------------------------

template <class T>
void curve(const Curved<T>& job, std::int64_t begin, std::int64_t end) {
  const T slope = job.slope;
  for (std::int64_t i = begin * job.batch; i < end * job.batch; ++i) {
    const T x = job.x[i];
    switch (job.curve) {
      case Curve::kReLU: job.y[i] = x < 0 ? T(0) : x; break;
      case Curve::kLeaky: job.y[i] = x > 0 ? x : x * slope; break;
      case Curve::kSigmoid: job.y[i] = 1 / (1 + std::exp(-x)); break;
      case Curve::kTanh: job.y[i] = std::tanh(x); break;
    }
  }
}

template <class T>
void curve_gradient(const Curved<T>& job, std::int64_t begin, std::int64_t end) {
  const T slope = job.slope;
  for (std::int64_t i = begin * job.batch; i < end * job.batch; ++i) {
    const T g = job.g[i], y = job.y[i];
    switch (job.curve) {
      case Curve::kReLU: job.out[i] = y <= 0 ? T(0) : g; break;
      case Curve::kLeaky: job.out[i] = job.x[i] > 0 ? g : g * slope; break;
      case Curve::kSigmoid: job.out[i] = g * (1 - y) * y; break;
      case Curve::kTanh: job.out[i] = g * (1 - y * y); break;
    }
  }
}

template <class T>
void scale(const T* x, T factor, T* y, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) y[i] = x[i] * factor;
}

template <class T>
void drop(const Dropped<T>& job, std::int64_t begin, std::int64_t end) {
  for (std::int64_t unit = begin; unit < end; ++unit) {
    const std::int16_t* bits = job.bits + unit * job.unit_step;
    const T* x = job.x + unit * job.batch;
    T* y = job.y + unit * job.batch;
    if (job.sample_step == 1) {
      for (std::int64_t b = 0; b < job.batch; ++b) y[b] = x[b] * (bits[b] >= job.least ? job.scale : T(0));
    } else {
      for (std::int64_t b = 0; b < job.batch; ++b)
        y[b] = x[b] * (bits[b * job.sample_step] >= job.least ? job.scale : T(0));
    }
  }
}

// ---- losses -----------------------------------------------------------------------------------------------------------

template <class T>
T share(const LossOf<T>& job, std::int64_t sample) {  // of a sample in the mean over the batch
  return (job.weight ? job.weight[job.rows[sample]] : T(1)) / T(job.batch);
}

template <class T>
void class_loss(const LossOf<T>& job, std::int64_t begin, std::int64_t end) {
  const std::int64_t outputs = job.outputs, batch = job.batch;
  T *const top = job.top, *const sum = job.sum;
  for (std::int64_t b = begin; b < end; ++b) top[b] = job.z[b], sum[b] = 0, job.credits[b] = 0;  // the winner, for now
  for (std::int64_t c = 1; c < outputs; ++c)
    for (std::int64_t b = begin; b < end; ++b) {
      const T z = job.z[c * batch + b];
      if (z > top[b] || (z != z && top[b] == top[b])) top[b] = z, job.credits[b] = double(c);
    }
  for (std::int64_t c = 0; c < outputs; ++c)
    for (std::int64_t b = begin; b < end; ++b) {
      const T e = std::exp(job.z[c * batch + b] - top[b]);
      job.gradient[c * batch + b] = e;
      sum[b] += e;
    }
  for (std::int64_t b = begin; b < end; ++b) {
    const std::int64_t y = job.classes[job.rows[b]];
    const double weight = job.weight ? double(job.weight[job.rows[b]]) : 1;
    job.losses[b] = weight * double(std::log(sum[b]) - (job.z[y * batch + b] - top[b]));
    job.credits[b] = job.credits[b] == double(y) ? weight : 0;
    top[b] = share(job, b);
    sum[b] = top[b] / sum[b];
  }
  for (std::int64_t c = 0; c < outputs; ++c)
    for (std::int64_t b = begin; b < end; ++b) job.gradient[c * batch + b] *= sum[b];
  for (std::int64_t b = begin; b < end; ++b) job.gradient[job.classes[job.rows[b]] * batch + b] -= top[b];
}

template <class T>
void label_loss(const LossOf<T>& job, std::int64_t begin, std::int64_t end) {
  const std::int64_t outputs = job.outputs, batch = job.batch;
  for (std::int64_t b = begin; b < end; ++b) {
    const T *y = job.targets + job.rows[b] * outputs, part = share(job, b) / T(outputs);
    double loss = 0;
    bool right = true;
    for (std::int64_t c = 0; c < outputs; ++c) {
      const T z = job.z[c * batch + b];
      loss += (1 - y[c]) * z + (std::log1p(std::exp(-std::fabs(z))) - std::min(z, T(0)));
      job.gradient[c * batch + b] = (1 / (1 + std::exp(-z)) - y[c]) * part;
      right &= (z > 0) == (y[c] > 0);
    }
    const double weight = job.weight ? double(job.weight[job.rows[b]]) : 1;
    job.losses[b] = weight * loss / double(outputs);
    job.credits[b] = right ? weight : 0;
  }
}

template <class T>
void number_loss(const LossOf<T>& job, std::int64_t begin, std::int64_t end) {
  const std::int64_t outputs = job.outputs, batch = job.batch;
  for (std::int64_t b = begin; b < end; ++b) {
    const T *y = job.targets + job.rows[b] * outputs, part = 2 * share(job, b) / T(outputs);
    double loss = 0;
    for (std::int64_t c = 0; c < outputs; ++c) {
      const T difference = job.z[c * batch + b] - y[c];
      loss += double(difference * difference);
      job.gradient[c * batch + b] = difference * part;
    }
    const double weight = job.weight ? double(job.weight[job.rows[b]]) : 1;
    job.losses[b] = weight * loss / double(outputs);
    job.credits[b] = weight * (1 - loss / double(outputs));
  }
}

template <class T>
void loss(const LossOf<T>& job, std::int64_t begin, std::int64_t end) {
  switch (job.task) {
    case Task::kClasses: return class_loss(job, begin, end);
    case Task::kLabels: return label_loss(job, begin, end);
    case Task::kNumbers: return number_loss(job, begin, end);
  }
}

// ---- optimizers -------------------------------------------------------------------------------------------------------

template <class T>
double squares(const T* g, std::int64_t count) {
  constexpr std::int64_t kBlock = 1024;
  double total = 0;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    constexpr int W = kLanes<T>;
    const std::int64_t end = std::min(count, begin + kBlock);
    Vec<T, W> sums{};
    std::int64_t i = begin;
    for (; i + W <= end; i += W) {
      const Vec<T, W> x = load<T, W>(g + i);
      sums += x * x;
    }
    T sum = 0;
    for (int lane = 0; lane < W; ++lane) sum += sums[lane];
    for (; i < end; ++i) sum += g[i] * g[i];
    total += double(sum);
  }
  return total;
}

template <class T, bool decoupled>
void adam(const Update<T>& job, std::int64_t begin, std::int64_t end) {
  T *const __restrict w = job.values, *const __restrict m = job.first, *const __restrict v = job.second;
  const T* const __restrict gradient = job.gradient;
  const T decay = decoupled ? job.rate * job.decay : job.decay, beta1 = job.beta1, beta2 = job.beta2;
  const T step_size = job.step_size, inverse = 1 / job.root, epsilon = job.epsilon;
  for (std::int64_t i = begin; i < end; ++i) {
    T g = gradient[i], value = w[i];
    if constexpr (decoupled) {
      value -= decay * value;
    } else {
      g += decay * value;
    }
    m[i] += (1 - beta1) * (g - m[i]);
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    w[i] = value - step_size * m[i] / (std::sqrt(v[i]) * inverse + epsilon);
  }
}

template <class T>
void descent(const Update<T>& job, std::int64_t begin, std::int64_t end) {
  T *const __restrict w = job.values, *const __restrict m = job.first;
  const T* const __restrict gradient = job.gradient;
  const T decay = job.decay, rate = job.rate, momentum = job.momentum, taken = 1 - job.damping;
  if (!m) {
    for (std::int64_t i = begin; i < end; ++i) w[i] -= rate * (gradient[i] + decay * w[i]);
  } else {
    const bool fresh = job.fresh, nesterov = job.nesterov;
    for (std::int64_t i = begin; i < end; ++i) {
      const T g = gradient[i] + decay * w[i];
      const T moved = fresh ? g : momentum * m[i] + taken * g;
      m[i] = moved;
      w[i] -= rate * (nesterov ? g + momentum * moved : moved);
    }
  }
}

template <class T>
void update(const Update<T>& job, std::int64_t begin, std::int64_t end) {
  if (!job.adam) return descent(job, begin, end);
  job.decoupled ? adam<T, true>(job, begin, end) : adam<T, false>(job, begin, end);
}

template <class T>
constexpr StepKernels<T> kTable{dense<T>,     dense_gradient<T>, curve<T>,    curve_gradient<T>, scale<T>,   drop<T>,
                                row_sums<T>, loss<T>,           squares<T>, update<T>};

}  // namespace

extern const StepKernelSet step_kernels;
const StepKernelSet step_kernels{kTable<float>, kTable<double>};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
