// The outputs of a stack of layers for a batch, in one call: tensors in, a tensor out, nothing kept for a way back.
//
// Parameters are read where they are at the time of the call. What the stages were made from (the modules' attributes,
// the patterns) is watched: after any change, no outputs are given, and the caller makes the stages anew.

#include <nanobind/nanobind.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "scratch.h"
#include "spspmm_work.h"
#include "stack.h"
#include "tensor.h"

namespace nb = nanobind;

namespace gossamer {
namespace {

constexpr std::int64_t kSingly = 3;     // samples, up to which each takes the way of a single one
constexpr std::int64_t kShareRows = 32;  // samples for each thread, from which on threads share samples, not layers
constexpr std::int64_t kMostActive = 32, kFewConnections = 4096;  // as in kernels/spspmm.py

// A dictionary and the objects in it, as they were.
class Watched {
 public:
  explicit Watched(nb::handle dict) : dict_(nb::borrow(dict)) {
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(dict.ptr(), &at, &key, &value)) entries_.emplace_back(nb::borrow(key), nb::borrow(value));
  }
  bool unchanged() const {
    if (PyDict_GET_SIZE(dict_.ptr()) != Py_ssize_t(entries_.size())) return false;
    PyObject *key, *value;
    Py_ssize_t at = 0;
    for (const auto& [known, before] : entries_) {
      if (!PyDict_Next(dict_.ptr(), &at, &key, &value) || key != known.ptr() || value != before.ptr()) return false;
    }
    return true;
  }

 private:
  nb::object dict_;
  std::vector<std::pair<nb::object, nb::object>> entries_;
};

template <class T>
class Prediction : public Stack<T> {
 public:
  int parameter(nb::handle tensor) {
    View found;
    if (!view(tensor.ptr(), found)) throw nb::value_error("a parameter must be a tensor on the CPU");
    parameters_.push_back({nb::borrow(tensor), found.numel()});
    return int(parameters_.size()) - 1;
  }

  // The four tensors of the pattern of the latest stage, whose addresses it has; false if changes can't be seen.
  bool pattern(nb::handle a, nb::handle b, nb::handle c, nb::handle d) {
    PyObject* const tensors[4] = {a.ptr(), b.ptr(), c.ptr(), d.ptr()};
    patterns_.emplace_back();
    return is_validated(tensors) && state_of(tensors, patterns_.back());
  }

  // A dictionary in which nothing may change, nor in a dictionary in it; and its owner, which may not change its type.
  void watch(nb::handle dict, nb::handle owner) {
    if (!PyDict_Check(dict.ptr())) throw nb::type_error("only dictionaries can be watched");
    types_.emplace_back(nb::borrow(owner), nb::borrow(owner.type()));
    watched_.emplace_back(dict);
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(dict.ptr(), &at, &key, &value)) {
      if (PyDict_Check(value)) watched_.emplace_back(value);
    }
  }

  // Nanoseconds for each connection, as in kernels/spspmm.py.
  void costs(double spspmm, double plain, double plain_sample, double plain_one) {
    spspmm_ = spspmm, plain_ = plain, plain_sample_ = plain_sample, plain_one_ = plain_one;
  }

  // The outputs (batch, outputs) for x (batch, inputs); None if the stages are out of date, False if this is no matrix to
  // be computed with.
  nb::object predict(nb::handle x_object, int threads) const {
    View x, y;
    std::vector<T*> values;
    if (!read(values)) return nb::none();
    if (stages_.empty() || !view(x_object.ptr(), x) || x.ndim != 2 || !same_type(x) || x.shape[0] == 0 ||
        x.shape[1] != stages_.front().inputs) {
      return nb::bool_(false);
    }
    const Rows rows{x.at<const T>(), x.shape[0], x.shape[0] > 1 ? x.strides[0] : x.shape[1],
                    x.shape[1] > 1 ? x.strides[1] : 1};
    PyObject* const made = empty(x, rows.count, stages_.back().outputs, false, y);
    if (!made) return nb::bool_(false);
    const nb::object result = nb::steal(made);
    {
      nb::gil_scoped_release release;
      run(values.data(), rows, y.at<T>(), threads);
    }
    return result;
  }

 private:
  using Stack<T>::stages_;
  struct Parameter {
    nb::object tensor;
    std::int64_t count;
  };
  struct Rows {  // row r of `count` starts at x + r * row_step
    const T* x;
    std::int64_t count, row_step, col_step;
    Rows part(std::int64_t begin, std::int64_t end) const { return {x + begin * row_step, end - begin, row_step, col_step}; }
  };

  std::vector<Parameter> parameters_;
  std::vector<PatternState> patterns_;
  std::vector<Watched> watched_;
  std::vector<std::pair<nb::object, nb::object>> types_;
  double spspmm_ = 1, plain_ = 0, plain_sample_ = 0, plain_one_ = 0;

  static bool same_type(const View& found) { return found.is_float() && found.dtype.bits == 8 * sizeof(T); }

  // Where the parameters are now; false if anything has changed but numbers.
  bool read(std::vector<T*>& values) const {
    for (const auto& [object, type] : types_) {
      if (object.type().ptr() != type.ptr()) return false;
    }
    for (const Watched& dict : watched_) {
      if (!dict.unchanged()) return false;
    }
    for (const PatternState& pattern : patterns_) {
      if (!gossamer::unchanged(pattern)) return false;
    }
    values.reserve(parameters_.size());
    for (const Parameter& parameter : parameters_) {
      View found;
      if (!view(parameter.tensor.ptr(), found) || !same_type(found) || found.numel() != parameter.count) return false;
      std::int64_t step = 1;
      for (int i = found.ndim; i-- > 0; step *= found.shape[i]) {
        if (found.shape[i] != 1 && found.strides[i] != step) return false;
      }
      values.push_back(found.at<T>());
    }
    return true;
  }

  std::int64_t widest() const {
    std::int64_t units = stages_.front().inputs;
    for (const Stage& stage : stages_) units = std::max(units, stage.outputs);
    return units;
  }

  void run(T* const* values, const Rows& rows, T* y, int threads) const {
    const std::int64_t outputs = stages_.back().outputs;
    double numbers = 0;
    for (const Stage& stage : stages_) numbers += double(stage.weights < 0 ? 0 : parameters_[stage.weights].count) + double(stage.outputs);
    if (numbers * double(rows.count + 40) < 1.2e6) threads = 1;  // as in products_work.h
    if (rows.count <= kSingly) {
      for (std::int64_t b = 0; b < rows.count; ++b) some(values, rows.part(b, b + 1), y + b * outputs, threads);
      return;
    }
    const int most = int(std::min<std::int64_t>(threads, rows.count / kShareRows));
    if (most <= 1) return some(values, rows, y, threads);
    parallel(most, [&](int part, int parts) {
      const auto cut = [&](int p) { return p == parts ? rows.count : rows.count * p / parts / 16 * 16; };
      some(values, rows.part(cut(part), cut(part + 1)), y + cut(part) * outputs, 1);
    });
  }

  void some(T* const* values, const Rows& rows, T* y, int threads) const {
    const std::int64_t units = widest(), outputs = stages_.back().outputs;
    // So many samples at a time that two matrices stay in the second cache, in whole tiles of the products.
    const std::int64_t fit = l2_bytes() / (2 * units * std::int64_t(sizeof(T))) / 64 * 64;
    const std::int64_t most = std::min(rows.count, std::clamp<std::int64_t>(fit, 64, 512));
    const std::int64_t size = (units * most + 15) / 16 * 16;
    const Scratch<T> scratch(2 * size + most);
    for (std::int64_t begin = 0; begin < rows.count; begin += most) {
      const std::int64_t batch = std::min(most, rows.count - begin);
      block({values, batch, threads}, rows.part(begin, begin + batch), scratch.data(), scratch.data() + size,
            scratch.data() + 2 * size, y + begin * outputs);
    }
  }

  // In turns to `a` and `b`; the numbers of a single sample go straight from `rows` and to `y`.
  void block(const Pass<T>& pass, const Rows& rows, T* a, T* b, T* beta, T* y) const {
    const std::int64_t batch = pass.batch, inputs = stages_.front().inputs, outputs = stages_.back().outputs;
    const T* x = a;
    std::int64_t x_stride = batch;
    if (batch == 1 && rows.col_step == 1) {
      x = rows.x;
    } else if (stages_.front().kind == Kind::kSparse && rows.row_step == 1 && rows.col_step >= batch) {
      x = rows.x, x_stride = rows.col_step;
    } else if (rows.col_step == 1 && rows.row_step >= inputs) {
      transpose(pass.threads, rows.x, batch, inputs, rows.row_step, a);
    } else {
      for (std::int64_t f = 0; f < inputs; ++f)
        for (std::int64_t r = 0; r < batch; ++r) a[f * batch + r] = rows.x[r * rows.row_step + f * rows.col_step];
    }
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      T* const out = batch == 1 && i + 1 == stages_.size() ? y : x == b ? a : b;
      if (!by_active_units(stages_[i], pass, x, x_stride, out))
        this->compute(stages_[i], pass, x, x_stride, {out, beta, nullptr});
      x = out, x_stride = batch;
    }
    if (batch > 1) transpose(pass.threads, x, outputs, batch, batch, y);
  }

  // A sparse layer, by the inputs that are not zero, where that is the faster way.
  bool by_active_units(const Stage& stage, const Pass<T>& pass, const T* x, std::int64_t x_stride, T* y) const {
    const std::int64_t batch = pass.batch;
    if (stage.kind != Kind::kSparse || !stage.permutation || batch > kMostActive) return false;
    if (parameters_[stage.weights].count < std::max(8 * stage.inputs, kFewConnections)) return false;
    const double plain = batch == 1 ? plain_one_ : plain_ + plain_sample_ * double(batch);
    const Spspmm<T, T> job{stage.t_indptr, stage.t_indices, pass.values[stage.weights], stage.permutation,
                           {nullptr, batch, 0}, nullptr, stage.outputs};
    std::vector<T> rows(batch == 1 ? 0 : std::size_t(batch * stage.outputs));
    const bool done = multiply_active<T>(of_type(active_spspmm(), T()), job, x, stage.inputs, 1, x_stride,
                                         plain / (spspmm_ * double(batch)),
                                         stage.bias < 0 ? nullptr : pass.values[stage.bias], stage.relu,
                                         batch == 1 ? y : rows.data(), pass.threads);
    if (done && batch > 1) transpose(pass.threads, static_cast<const T*>(rows.data()), batch, stage.outputs, stage.outputs, y);
    return done;
  }
};

template <class T>
void bind(nb::module_& m, const char* name) {
  using P = Prediction<T>;
  nb::class_<P>(m, name)
      .def(nb::init<>())
      .def("parameter", &P::parameter)
      .def("sparse",
           [](P& p, std::int64_t inputs, std::int64_t outputs, Address indptr, Address indices, Address t_indptr,
              Address t_indices, Address permutation, int weights, int bias, bool relu) {
             p.sparse(inputs, outputs, at<const std::int32_t>(indptr), at<const std::int32_t>(indices),
                      at<const std::int32_t>(t_indptr), at<const std::int32_t>(t_indices),
                      at<const std::int32_t>(permutation), weights, bias, relu);
           })
      .def("pattern", &P::pattern)
      .def("dense", &P::dense)
      .def("curve", [](P& p, std::int64_t units, int kind, double slope) { p.curve(units, Curve(kind), slope); })
      .def("hoyer", &P::hoyer)
      .def("top_k", &P::top_k)
      .def("srelu", &P::srelu)
      .def("watch", &P::watch, nb::arg("dict"), nb::arg("owner").none())
      .def("costs", &P::costs)
      .def("__call__", &P::predict);
}

}  // namespace

void bind_prediction(nb::module_& m) {
  bind<float>(m, "Prediction32");
  bind<double>(m, "Prediction64");
}

}  // namespace gossamer
