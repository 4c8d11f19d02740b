// Hoyer's projection, the k largest and the S-shaped units in one call for each direction: tensors in, tensors out.
//
// Only the ordinary case is done here: a dense matrix (batch, units) of float32 or float64, by samples or by features,
// with rows of one radius, or one k. For every other, None is returned, and the caller takes the way through Python, which
// does or refuses it. Results are laid out as x is.

#include <nanobind/nanobind.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "dispatch.h"
#include "hoyer.h"
#include "hoyer_tensor.h"
#include "products.h"
#include "scratch.h"
#include "srelu.h"
#include "tensor.h"
#include "top_k.h"

namespace nb = nanobind;

namespace gossamer {

GOSSAMER_TABLE(HoyerKernelSet, hoyer_kernels, call_hoyer)
GOSSAMER_TABLE(SreluKernelSet, srelu_kernels, call_srelu)
GOSSAMER_TABLE(TopKKernelSet, top_k_kernels, call_top_k)
GOSSAMER_TABLE(Layout, layout, call_layout)

namespace {

constexpr std::int64_t kWorthThreads = 1 << 14;  // numbers

struct Matrix {
  View view;
  std::int64_t batch, units;
  bool by_features;

  Shape shape() const { return by_features ? Shape{1, units, batch} : Shape{batch, units, 1}; }
  std::int64_t numel() const { return batch * units; }
};

bool matrix(nb::handle tensor, Matrix& out) {
  View& x = out.view;
  if (!view(tensor.ptr(), x) || x.ndim != 2 || x.shape[0] == 0 || x.shape[1] == 0) return false;
  out.batch = x.shape[0], out.units = x.shape[1];
  const auto strides = [&](std::int64_t row, std::int64_t col) {
    return (out.batch == 1 || x.strides[0] == row) && (out.units == 1 || x.strides[1] == col);
  };
  out.by_features = !strides(out.units, 1);
  return !out.by_features || strides(1, out.batch);
}

bool same_type(const View& a, const View& b) { return a.dtype.code == b.dtype.code && a.dtype.bits == b.dtype.bits; }

nb::object owned(PyObject* made) { return made ? nb::steal(made) : nb::none(); }

// A new matrix of the shape and layout of x, of the type of `like`.
nb::object made_like(const Matrix& x, const View& like, View& out) {
  return owned(x.by_features ? empty(like, x.units, x.batch, true, out) : empty(like, x.batch, x.units, false, out));
}

// Whether g is a matrix of the shape and type of x, of any strides.
bool gradient(nb::handle tensor, const Matrix& x, const View& type, View& out) {
  return view(tensor.ptr(), out) && same_type(out, type) && out.ndim == 2 && out.shape[0] == x.batch &&
         out.shape[1] == x.units;
}

// g in the layout of x: itself, or a copy.
template <class T>
const T* laid_out(const View& g, const Matrix& x, const Scratch<T>& scratch) {
  const std::int64_t row = x.by_features ? 1 : x.units, col = x.by_features ? x.batch : 1;
  const T* const from = g.at<const T>();
  if ((x.batch == 1 || g.strides[0] == row) && (x.units == 1 || g.strides[1] == col)) return from;
  for (std::int64_t b = 0; b < x.batch; ++b)
    for (std::int64_t u = 0; u < x.units; ++u)
      scratch.data()[b * row + u * col] = from[b * g.strides[0] + u * g.strides[1]];
  return scratch.data();
}

template <class Set, class Call>
auto with_float(const View& like, const Set& set, const Call& call) {
  return like.dtype.bits == 32 ? call(set.f32, float()) : call(set.f64, double());
}

// Many short rows take fewer steps side by side.
bool many_short_rows(const Matrix& x) {
  return !x.by_features && x.units <= 512 && x.batch >= 8 && x.numel() < kWorthThreads;
}

// to (cols x rows) = transpose of from (rows x cols).
template <class T>
void transpose(const T* from, std::int64_t rows, std::int64_t cols, T* to) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const CopyTransposed<Bits> job{reinterpret_cast<const Bits*>(from), reinterpret_cast<Bits*>(to), rows, cols, cols};
  if constexpr (sizeof(T) == 4) {
    call_layout().four_bytes(job, 0, cols);
  } else {
    call_layout().eight_bytes(job, 0, cols);
  }
}

// λ₁ / λ₂ of a sparseness; 0 if there is none such.
double radius_of(double sparseness, std::int64_t units) {
  const double root = std::sqrt(double(units));
  return units > 1 && sparseness > 0 && sparseness < 1 ? root - sparseness * (root - 1) : 0;
}

// y, or with `keep` (y, beta): y (batch, units) has rows of length `norm`; beta (batch, 1).
nb::object hoyer(nb::handle x_object, double sparseness, double norm, bool magnitude, bool keep, int threads) {
  Matrix x;
  View y, beta;
  if (!matrix(x_object, x) || !x.view.is_float() || !(norm > 0 && norm < std::numeric_limits<double>::infinity())) {
    return nb::none();
  }
  const double radius = radius_of(sparseness, x.units);
  if (radius == 0) return nb::none();
  nb::object y_object = made_like(x, x.view, y), beta_object = nb::none();
  if (y_object.is_none() || (keep && (beta_object = owned(empty(x.view, x.batch, 1, false, beta))).is_none())) {
    return nb::none();
  }
  with_float(x.view, call_hoyer(), [&](const auto& kernels, auto number) {
    using T = decltype(number);
    nb::gil_scoped_release release;
    const bool turned = many_short_rows(x);
    const Scratch<T> scratch((keep ? 0 : x.batch) + (turned ? 2 * x.numel() : 0));
    T *const in = scratch.data() + (keep ? 0 : x.batch), *const out = in + x.numel();
    if (turned) transpose(x.view.at<const T>(), x.batch, x.units, in);
    forward<T>(kernels, turned ? Shape{1, x.units, x.batch} : x.shape(), threads,
               {turned ? in : x.view.at<const T>(), turned ? out : y.at<T>(), keep ? beta.at<T>() : scratch.data(),
                &radius, 0, magnitude, norm});
    if (turned) transpose(static_cast<const T*>(out), x.units, x.batch, y.at<T>());
  });
  return keep ? nb::object(nb::make_tuple(y_object, beta_object)) : y_object;
}

// The gradient of x.
nb::object hoyer_product(nb::handle grad, nb::handle y_object, nb::handle beta_object, double sparseness,
                         double norm, bool magnitude, int threads) {
  Matrix y;
  View g, beta, out;
  if (!matrix(y_object, y) || !y.view.is_float() || !gradient(grad, y, y.view, g)) return nb::none();
  if (!view(beta_object.ptr(), beta) || !same_type(beta, y.view) || beta.numel() != y.batch) return nb::none();
  const double radius = radius_of(sparseness, y.units);
  nb::object result = made_like(y, y.view, out);
  if (result.is_none()) return result;
  with_float(y.view, call_hoyer(), [&](const auto& kernels, auto number) {
    using T = decltype(number);
    nb::gil_scoped_release release;
    const Scratch<T> scratch(y.numel());
    backward<T>(kernels, y.shape(), threads, magnitude,
                {laid_out<T>(g, y, scratch), y.view.at<const T>(), beta.at<const T>(), &radius, 0, out.at<T>(), norm});
  });
  return result;
}

// y, or with `keep` (y, kept), kept a matrix of booleans.
nb::object top_k(nb::handle x_object, std::int64_t k, bool magnitude, bool keep, int threads) {
  Matrix x;
  View y, kept;
  if (!matrix(x_object, x) || !x.view.is_float() || k < 1 || k > x.units) return nb::none();
  nb::object y_object = made_like(x, x.view, y), kept_object = nb::none();
  if (keep) {
    View boolean = x.view;
    boolean.dtype = {6, 8, 1};
    kept_object = made_like(x, boolean, kept);
  }
  if (y_object.is_none() || (keep && kept_object.is_none())) return nb::none();
  with_float(x.view, call_top_k(), [&](const auto& kernels, auto number) {
    using T = decltype(number);
    nb::gil_scoped_release release;
    if (!keep && many_short_rows(x)) {
      const Scratch<T> scratch(2 * x.numel());
      T *const in = scratch.data(), *const out = in + x.numel();
      transpose(x.view.at<const T>(), x.batch, x.units, in);
      kernels.forward({1, x.units, x.batch, k, magnitude, in, out, nullptr}, 0, x.batch);
      return transpose(static_cast<const T*>(out), x.units, x.batch, y.at<T>());
    }
    const auto [outer, n, inner] = x.shape();
    const TopK<T> job{outer, n, inner, k, magnitude, x.view.at<const T>(), y.at<T>(),
                      keep ? kept.at<std::uint8_t>() : nullptr};
    parallel(x.numel() < kWorthThreads ? 1 : threads, [&](int part, int parts) {
      kernels.forward(job, x.batch * part / parts, x.batch * (part + 1) / parts);
    });
  });
  return keep ? nb::object(nb::make_tuple(y_object, kept_object)) : y_object;
}

// The gradient of x.
nb::object top_k_product(nb::handle grad, nb::handle kept_object, int threads) {
  Matrix kept;
  View g, out;
  if (!matrix(kept_object, kept) || kept.view.dtype.bits != 8 || !view(grad.ptr(), g) || !g.is_float()) return nb::none();
  if (!gradient(grad, kept, g, g)) return nb::none();
  nb::object result = made_like(kept, g, out);
  if (result.is_none()) return result;
  with_float(g, call_top_k(), [&](const auto& kernels, auto number) {
    using T = decltype(number);
    nb::gil_scoped_release release;
    const Scratch<T> scratch(kept.numel());
    const T* const from = laid_out<T>(g, kept, scratch);
    parallel(kept.numel() < kWorthThreads ? 1 : threads, [&](int part, int parts) {
      kernels.backward(kept.view.at<const std::uint8_t>(), from, out.at<T>(), kept.numel() * part / parts,
                       kept.numel() * (part + 1) / parts);
    });
  });
  return result;
}

bool read_pieces(const nb::handle (&objects)[4], const Matrix& x, View (&out)[4]) {
  for (int i = 0; i < 4; ++i) {
    if (!view(objects[i].ptr(), out[i]) || !same_type(out[i], x.view) || !out[i].is_vector(x.units)) return false;
  }
  return true;
}

template <class T>
SreluPieces<T> pieces_at(const View (&p)[4]) {
  return {p[0].at<const T>(), p[1].at<const T>(), p[2].at<const T>(), p[3].at<const T>()};
}

// Units are cut among threads, at whole vectors.
template <class Job>
void by_units(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, int threads) {
  const auto [outer, units, inner] = job.shape;
  parallel(outer * units * inner < 2 * kWorthThreads ? 1 : threads, [&, units = units](int part, int parts) {
    const auto cut = [&](int p) { return p == parts ? units : units * p / parts / 16 * 16; };
    kernel(job, cut(part), cut(part + 1));
  });
}

nb::object srelu(nb::handle x_object, nb::handle t_l, nb::handle a_l, nb::handle t_r, nb::handle a_r, int threads) {
  Matrix x;
  View y, pieces[4];
  if (!matrix(x_object, x) || !x.view.is_float() || !read_pieces({t_l, a_l, t_r, a_r}, x, pieces)) return nb::none();
  nb::object result = made_like(x, x.view, y);
  if (result.is_none()) return result;
  with_float(x.view, call_srelu(), [&](const auto& kernels, auto number) {
    using T = decltype(number);
    nb::gil_scoped_release release;
    const auto [outer, n, inner] = x.shape();
    by_units(kernels.forward, SreluForward<T>{{outer, n, inner}, pieces_at<T>(pieces), x.view.at<const T>(), y.at<T>()},
             threads);
  });
  return result;
}

// The gradients of x, t_l, a_l, t_r and a_r.
nb::object srelu_product(nb::handle grad, nb::handle x_object, nb::handle t_l, nb::handle a_l, nb::handle t_r,
                         nb::handle a_r, int threads) {
  Matrix x;
  View g, dx, pieces[4], sums[4];
  if (!matrix(x_object, x) || !x.view.is_float() || !read_pieces({t_l, a_l, t_r, a_r}, x, pieces)) return nb::none();
  if (!gradient(grad, x, x.view, g)) return nb::none();
  nb::object dx_object = made_like(x, x.view, dx), objects[4];
  if (dx_object.is_none()) return nb::none();
  for (int i = 0; i < 4; ++i) {
    objects[i] = owned(empty(x.view, x.units, -1, false, sums[i]));
    if (objects[i].is_none()) return nb::none();
  }
  with_float(x.view, call_srelu(), [&](const auto& kernels, auto number) {
    using T = decltype(number);
    nb::gil_scoped_release release;
    const auto [outer, n, inner] = x.shape();
    const Scratch<T> scratch(x.numel());
    const SreluBackward<T> job{{outer, n, inner}, pieces_at<T>(pieces), laid_out<T>(g, x, scratch),
                               x.view.at<const T>(), dx.at<T>(), sums[0].at<T>(), sums[1].at<T>(), sums[2].at<T>(),
                               sums[3].at<T>()};
    by_units(kernels.backward, job, threads);
  });
  return nb::make_tuple(dx_object, objects[0], objects[1], objects[2], objects[3]);
}

}  // namespace

void bind_activations(nb::module_& m) {
  m.def("hoyer", &hoyer);
  m.def("hoyer_product", &hoyer_product);
  m.def("top_k", &top_k);
  m.def("top_k_product", &top_k_product);
  m.def("srelu", &srelu);
  m.def("srelu_product", &srelu_product);
}

}  // namespace gossamer
