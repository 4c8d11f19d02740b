// A sparse layer on the CPU in one call for each direction: tensors in, tensors out.
//
// Only the ordinary case is done here: float32 or float64, contiguous weights, a validated pattern, matrices that fit.
// For every other, None is returned, and the caller takes the way through Python, which does or refuses it.

#include <nanobind/nanobind.h>

#include <cstdint>
#include <type_traits>

#include "dispatch.h"
#include "pattern.h"
#include "products.h"
#include "products_work.h"
#include "scratch.h"
#include "tensor.h"
#include "types.h"

namespace nb = nanobind;

namespace gossamer {

GOSSAMER_TABLE(Layout, layout, active_layout)

namespace {

constexpr std::int64_t kApart = 1 << 23;  // bytes of weights and their gradients that no second-level cache holds
constexpr std::int64_t kFew = 64;         // samples

struct Layer {
  View values, indptr, indices, t_indptr, t_indices;
  std::int64_t rows, cols, nnz;
};

bool read_layer(nb::handle values, PyObject* const pattern[4], Layer& layer) {
  if (!is_validated(pattern)) return false;
  View* const views[4] = {&layer.indptr, &layer.indices, &layer.t_indptr, &layer.t_indices};
  for (int i = 0; i < 4; ++i) {
    if (!view(pattern[i], *views[i])) return false;
  }
  layer.rows = layer.indptr.shape[0] - 1;
  layer.cols = layer.t_indptr.shape[0] - 1;
  layer.nnz = layer.indices.shape[0];
  return layer.nnz > 0 && view(values.ptr(), layer.values) && layer.values.is_float() && layer.values.is_vector(layer.nnz);
}

bool same_type(const View& a, const View& b) { return a.dtype.code == b.dtype.code && a.dtype.bits == b.dtype.bits; }

bool is_matrix(const View& x, std::int64_t rows, std::int64_t cols, const View& like) {
  return x.ndim == 2 && x.shape[0] == rows && x.shape[1] == cols && same_type(x, like);
}

// A matrix by features: feature f of all samples starts at data + f * stride.
template <class T>
struct FeatureMajor {
  const T* data;
  std::int64_t stride;
};

template <class T>
bool is_feature_major(const View& x, FeatureMajor<T>& out) {  // x (batch, features)
  const bool single = x.shape[0] == 1;
  if (single ? x.strides[1] != 1 : (x.strides[0] != 1 || x.strides[1] < x.shape[0])) return false;
  out = {x.at<const T>(), single ? 1 : x.strides[1]};
  return true;
}

// x (batch, features) of any strides, copied to `to`.
template <class T>
FeatureMajor<T> copied(const View& x, T* to, int threads) {
  const std::int64_t batch = x.shape[0], features = x.shape[1];
  const T* const from = x.at<const T>();
  if (x.strides[1] == 1 && x.strides[0] >= features) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    const auto kernel = [] {
      if constexpr (sizeof(T) == 4) return active_layout().four_bytes;
      else return active_layout().eight_bytes;
    }();
    const CopyTransposed<Bits> job{reinterpret_cast<const Bits*>(from), reinterpret_cast<Bits*>(to), batch, features,
                                   x.strides[0]};
    parallel(batch * features < 32768 ? 1 : threads, [&](int part, int parts) {
      kernel(job, features * part / parts, features * (part + 1) / parts);
    });
  } else {
    for (std::int64_t f = 0; f < features; ++f) {
      for (std::int64_t i = 0; i < batch; ++i) to[f * batch + i] = from[i * x.strides[0] + f * x.strides[1]];
    }
  }
  return {to, batch};
}

template <class Call>
auto with_float(const View& like, const Call& call) {
  return like.dtype.bits == 32 ? call(active().f32, float()) : call(active().f64, double());
}

nb::object owned(PyObject* made) { return made ? nb::steal(made) : nb::none(); }

// (Y, X by features), of which X is None where it lies so already or is not to be `kept`; None instead of both if this
// is not the ordinary case.
nb::object forward(nb::handle values, nb::handle a, nb::handle b, nb::handle c, nb::handle d, nb::handle x_object,
                   nb::handle bias_object, bool relu, bool keep, int threads) {
  PyObject* const pattern[4] = {a.ptr(), b.ptr(), c.ptr(), d.ptr()};
  Layer layer;
  View x, bias;
  if (!read_layer(values, pattern, layer) || !view(x_object.ptr(), x) || x.ndim != 2 ||
      !is_matrix(x, x.shape[0], layer.cols, layer.values) || x.shape[0] == 0) {
    return nb::none();
  }
  if (!bias_object.is_none() && !(view(bias_object.ptr(), bias) && bias.is_vector(layer.rows) && same_type(bias, x))) {
    return nb::none();
  }
  const std::int64_t batch = x.shape[0];
  View y, kept;
  nb::object kept_object = nb::none();
  nb::object y_object = owned(empty(x, layer.rows, batch, true, y));
  if (y_object.is_none()) return nb::none();
  return with_float(x, [&](const auto& products, auto number) -> nb::object {
    using T = decltype(number);
    FeatureMajor<T> in;
    const bool copy = !is_feature_major(x, in);
    if (copy && keep) {
      kept_object = owned(empty(x, layer.cols, batch, false, kept));
      if (kept_object.is_none()) return nb::none();
    }
    const Scratch<T> scratch(copy && !keep ? layer.cols * batch : 0);
    if (copy) in = copied(x, keep ? kept.at<T>() : scratch.data(), threads);
    {
      nb::gil_scoped_release release;
      run_spmm(products, compressed(layer.indptr.at<std::int32_t>(), layer.indices.at<std::int32_t>(), layer.rows),
               {nullptr, nullptr, layer.cols}, threads, layer.values.at<const T>(),
               bias_object.is_none() ? nullptr : bias.at<const T>(), in.data, y.at<T>(), layer.cols, batch, in.stride,
               batch, relu);
    }
    return keep ? nb::object(nb::make_tuple(y_object, kept_object)) : y_object;
  });
}

// Sums of the rows of g (rows x batch), eight at a time, which rounds less than one after the other.
template <class T>
void row_sums(const FeatureMajor<T>& g, std::int64_t rows, std::int64_t batch, T* out) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* const row = g.data + r * g.stride;
    T sums[8] = {};
    std::int64_t i = 0;
    for (; i + 8 <= batch; i += 8) {
      for (int lane = 0; lane < 8; ++lane) sums[lane] += row[i + lane];
    }
    for (; i < batch; ++i) sums[i % 8] += row[i];
    out[r] = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  }
}

// (gradient of values, of X, of bias), each None if not needed; None instead if this is not the ordinary case.
// x is (cols, batch) by features, grad and y (batch, rows); y is the output of a layer with a ReLU, else None.
nb::object backward(nb::handle values, nb::handle a, nb::handle b, nb::handle c, nb::handle d, nb::handle x_object,
                    nb::handle grad_object, nb::handle y_object, bool need_values, bool need_x, bool need_bias, int threads) {
  PyObject* const pattern[4] = {a.ptr(), b.ptr(), c.ptr(), d.ptr()};
  Layer layer;
  View x, grad, y;
  if (!read_layer(values, pattern, layer) || !view(x_object.ptr(), x) || !view(grad_object.ptr(), grad) || x.ndim != 2) {
    return nb::none();
  }
  const std::int64_t batch = x.shape[1];
  if (batch == 0 || !is_matrix(x, layer.cols, batch, layer.values) || !is_matrix(grad, batch, layer.rows, layer.values)) {
    return nb::none();
  }
  if (batch == 1 ? x.strides[0] != 1 : (x.strides[1] != 1 || x.strides[0] < batch)) return nb::none();
  const bool rectified = !y_object.is_none();
  if (rectified && !(view(y_object.ptr(), y) && is_matrix(y, batch, layer.rows, layer.values))) return nb::none();

  View dvalues, dx, dbias;
  nb::object dvalues_object = nb::none(), dx_object = nb::none(), dbias_object = nb::none();
  if (need_values && (dvalues_object = owned(empty(x, layer.nnz, -1, false, dvalues))).is_none()) return nb::none();
  if (need_x && (dx_object = owned(empty(x, layer.cols, batch, true, dx))).is_none()) return nb::none();
  if (need_bias && (dbias_object = owned(empty(x, layer.rows, -1, false, dbias))).is_none()) return nb::none();
  return with_float(x, [&](const auto& products, auto number) -> nb::object {
    using T = decltype(number);
    const std::int64_t size = layer.rows * batch;
    const Scratch<T> scratch(rectified ? 3 * size + layer.rows : size);  // gradient, output, both together, sums
    T* const memory = scratch.data();
    const FeatureMajor<T> in{x.at<const T>(), batch == 1 ? 1 : x.strides[0]};
    FeatureMajor<T> g, out;
    {
      nb::gil_scoped_release release;
      if (!is_feature_major(grad, g)) g = copied(grad, memory, threads);
      if (rectified) {
        if (!is_feature_major(y, out)) out = copied(y, memory + size, threads);
        T* const to = memory + 2 * size;
        const ReluGradient<T> job{g.data, out.data, to, need_bias ? dbias.at<T>() : to + size, batch, g.stride, out.stride, batch};
        parallel(size < 32768 ? 1 : threads, [&](int part, int parts) {
          products.relu_gradient(job, layer.rows * part / parts, layer.rows * (part + 1) / parts);
        });
        g = {to, batch};
      } else if (need_bias) {
        row_sums(g, layer.rows, batch, dbias.at<T>());
      }
      const Csr none{nullptr, nullptr, 0}, csr{layer.indptr.at<std::int32_t>(), layer.indices.at<std::int32_t>(), layer.rows};
      const auto by_rows = compressed(csr.indptr, csr.indices, layer.rows);
      const auto by_cols = compressed(layer.t_indptr.at<std::int32_t>(), layer.t_indices.at<std::int32_t>(), layer.cols);
      const T* const weights = layer.values.at<const T>();
      // By the rows of W', weights and their gradients lie anywhere. Where both are far and a row of the gradient is
      // short, reading it twice costs less: then gradients are made by the rows of W.
      const bool apart = batch <= kFew && 2 * layer.nnz * std::int64_t(sizeof(T)) > kApart;
      if (need_values && need_x && !apart) {
        run_spmm_sddmm(products, by_cols, csr, threads, weights, in.data, g.data, dx.at<T>(), dvalues.at<T>(),
                       layer.rows, batch, in.stride, g.stride, batch);
      } else {
        if (need_x) {
          run_spmm(products, by_cols, csr, threads, weights, static_cast<const T*>(nullptr), g.data, dx.at<T>(),
                   layer.rows, batch, g.stride, batch, false);
        }
        if (need_values) {
          run_spmm_sddmm(products, by_rows, none, threads, static_cast<const T*>(nullptr), g.data, in.data,
                         static_cast<T*>(nullptr), dvalues.at<T>(), layer.cols, batch, g.stride, in.stride, batch);
        }
      }
    }
    return nb::make_tuple(dvalues_object, dx_object, dbias_object);
  });
}

}  // namespace

void bind_linear(nb::module_& m) {
  m.def("linear", &forward, nb::arg("values"), nb::arg("indptr"), nb::arg("indices"), nb::arg("t_indptr"),
        nb::arg("t_indices"), nb::arg("x"), nb::arg("bias").none(), nb::arg("relu"), nb::arg("keep"), nb::arg("threads"));
  m.def("linear_backward", &backward, nb::arg("values"), nb::arg("indptr"), nb::arg("indices"), nb::arg("t_indptr"),
        nb::arg("t_indices"), nb::arg("x"), nb::arg("grad"), nb::arg("y").none(), nb::arg("need_values"),
        nb::arg("need_x"), nb::arg("need_bias"), nb::arg("threads"));
}

}  // namespace gossamer
