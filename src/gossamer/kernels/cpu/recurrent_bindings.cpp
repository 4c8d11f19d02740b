// Python's door to recurrent layers: a whole sequence in one call, each step a sparse product and one pass over its gates.

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "dispatch.h"
#include "products.h"
#include "products_work.h"
#include "recurrent.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(RecurrentKernelSet, recurrent_kernels, recurrent_kernel_set)

namespace {

template <class Call>
void with_real(int dtype, const Call& call) {
  dtype == 0 ? call(active().f32, recurrent_kernel_set().f32, float())
             : call(active().f64, recurrent_kernel_set().f64, double());
}

// Units are cut among threads: nothing depends on their number.
template <class Job>
void by_units(void (*kernel)(const Job&, std::int64_t, std::int64_t), const Job& job, int threads) {
  parallel(job.units * job.batch < 4096 ? 1 : threads, [&](int part, int parts) {
    kernel(job, job.units * part / parts, job.units * (part + 1) / parts);
  });
}

// Matrices (rows x steps * batch) of a sequence that is walked forward or, in `reverse`, from its end.
struct Walk {
  std::int64_t steps, batch;
  bool reverse;

  template <class T>
  Block<T> block(Address address, std::int64_t stride, std::int64_t step) const {
    return {at<T>(address) + (reverse ? steps - 1 - step : step) * batch, stride};
  }
  // What the step before has left in a matrix of the sequence; for the first, the compact matrix it starts from.
  template <class T>
  Block<const T> before(Address address, Address start, std::int64_t step) const {
    if (step == 0) return {at<const T>(start), batch};
    return block<const T>(address, steps * batch, step - 1);
  }
};

// The weights of a layer, by rows.
struct Weights {
  Address indptr, indices, values;
  std::int64_t rows, cols;

  template <class S, class C>
  void times(const Products<S, C>& products, int threads, const S* bias, const S* x, S* y, std::int64_t batch) const {
    run_spmm(products, compressed(at<const std::int32_t>(indptr), at<const std::int32_t>(indices), rows),
             {nullptr, nullptr, cols}, threads, at<const S>(values), bias, x, y, cols, batch, batch, batch, false);
  }
};

void lstm(int dtype, int threads, Address indptr, Address indices, Address values, Address bias, std::int64_t units,
          std::int64_t steps, std::int64_t batch, bool reverse, Address x, std::int64_t x_stride, Address h0, Address c0,
          Address gates, Address cells, Address y) {
  nb::gil_scoped_release release;
  with_real(dtype, [&](const auto& products, const auto& kernels, auto number) {
    using T = decltype(number);
    const Walk walk{steps, batch, reverse};
    const Weights weights{indptr, indices, values, 4 * units, units};
    const std::int64_t size = units * batch, stride = steps * batch;
    std::vector<T> h(at<const T>(h0), at<const T>(h0) + size), recurrent(std::size_t(4 * size));
    for (std::int64_t step = 0; step < steps; ++step) {
      weights.times(products, threads, at<const T>(bias), h.data(), recurrent.data(), batch);
      by_units(kernels.lstm,
               LstmForward<T>{units, batch, walk.block<const T>(x, x_stride, step), walk.before<T>(cells, c0, step),
                              recurrent.data(), walk.block<T>(gates, stride, step), walk.block<T>(cells, stride, step),
                              walk.block<T>(y, stride, step), h.data()},
               threads);
    }
  });
}

// By the rows of W', with its values in their order. dh0 and dc0 are compact; dc0 holds the gradient of the last cells.
void lstm_backward(int dtype, int threads, Address t_indptr, Address t_indices, Address t_values, std::int64_t units,
                   std::int64_t steps, std::int64_t batch, bool reverse, Address c0, Address gates, Address cells,
                   Address dy, std::int64_t dy_stride, Address dx, Address dh0, Address dc0) {
  nb::gil_scoped_release release;
  with_real(dtype, [&](const auto& products, const auto& kernels, auto number) {
    using T = decltype(number);
    const Walk walk{steps, batch, reverse};
    const Weights transposed{t_indptr, t_indices, t_values, units, 4 * units};
    const std::int64_t size = units * batch, stride = steps * batch;
    std::vector<T> drecurrent(std::size_t(4 * size));
    T* const dh = at<T>(dh0);
    std::fill(dh, dh + size, T(0));
    for (std::int64_t step = steps - 1; step >= 0; --step) {
      by_units(kernels.lstm_backward,
               LstmBackward<T>{units, batch, walk.block<const T>(gates, stride, step),
                               walk.block<const T>(cells, stride, step), walk.before<T>(cells, c0, step),
                               walk.block<const T>(dy, dy_stride, step), dh, at<T>(dc0),
                               walk.block<T>(dx, stride, step), drecurrent.data()},
               threads);
      transposed.times(products, threads, static_cast<const T*>(nullptr), drecurrent.data(), dh, batch);
    }
  });
}

void gru(int dtype, int threads, Address indptr, Address indices, Address values, Address bias, std::int64_t units,
         std::int64_t steps, std::int64_t batch, bool reverse, Address x, std::int64_t x_stride, Address h0,
         Address gates, Address y) {
  nb::gil_scoped_release release;
  with_real(dtype, [&](const auto& products, const auto& kernels, auto number) {
    using T = decltype(number);
    const Walk walk{steps, batch, reverse};
    const Weights weights{indptr, indices, values, 3 * units, units};
    const std::int64_t size = units * batch, stride = steps * batch;
    std::vector<T> h(at<const T>(h0), at<const T>(h0) + size), recurrent(std::size_t(3 * size));
    for (std::int64_t step = 0; step < steps; ++step) {
      weights.times(products, threads, at<const T>(bias), h.data(), recurrent.data(), batch);
      by_units(kernels.gru,
               GruForward<T>{units, batch, walk.block<const T>(x, x_stride, step), recurrent.data(),
                             walk.block<T>(gates, stride, step), walk.block<T>(y, stride, step), h.data()},
               threads);
    }
  });
}

void gru_backward(int dtype, int threads, Address t_indptr, Address t_indices, Address t_values, std::int64_t units,
                  std::int64_t steps, std::int64_t batch, bool reverse, Address h0, Address gates, Address y, Address dy,
                  std::int64_t dy_stride, Address dx, Address drecurrent_all, Address dh0) {
  nb::gil_scoped_release release;
  with_real(dtype, [&](const auto& products, const auto& kernels, auto number) {
    using T = decltype(number);
    const Walk walk{steps, batch, reverse};
    const Weights transposed{t_indptr, t_indices, t_values, units, 3 * units};
    const std::int64_t size = units * batch, stride = steps * batch;
    std::vector<T> drecurrent(std::size_t(3 * size)), direct(std::size_t(size), T(0));
    T* const dh = at<T>(dh0);
    std::fill(dh, dh + size, T(0));
    for (std::int64_t step = steps - 1; step >= 0; --step) {
      by_units(kernels.gru_backward,
               GruBackward<T>{units, batch, walk.block<const T>(gates, stride, step), walk.before<T>(y, h0, step),
                              walk.block<const T>(dy, dy_stride, step), dh, direct.data(),
                              walk.block<T>(dx, stride, step), walk.block<T>(drecurrent_all, stride, step),
                              drecurrent.data()},
               threads);
      transposed.times(products, threads, static_cast<const T*>(nullptr), drecurrent.data(), dh, batch);
    }
    for (std::int64_t i = 0; i < size; ++i) dh[i] += direct[std::size_t(i)];
  });
}

}  // namespace

void bind_recurrent(nb::module_& m) {
  m.def("lstm", &lstm, "dtype"_a, "threads"_a, "indptr"_a, "indices"_a, "values"_a, "bias"_a, "units"_a, "steps"_a,
        "batch"_a, "reverse"_a, "x"_a, "x_stride"_a, "h0"_a, "c0"_a, "gates"_a, "cells"_a, "y"_a);
  m.def("lstm_backward", &lstm_backward, "dtype"_a, "threads"_a, "t_indptr"_a, "t_indices"_a, "t_values"_a, "units"_a,
        "steps"_a, "batch"_a, "reverse"_a, "c0"_a, "gates"_a, "cells"_a, "dy"_a, "dy_stride"_a, "dx"_a, "dh0"_a, "dc0"_a);
  m.def("gru", &gru, "dtype"_a, "threads"_a, "indptr"_a, "indices"_a, "values"_a, "bias"_a, "units"_a, "steps"_a,
        "batch"_a, "reverse"_a, "x"_a, "x_stride"_a, "h0"_a, "gates"_a, "y"_a);
  m.def("gru_backward", &gru_backward, "dtype"_a, "threads"_a, "t_indptr"_a, "t_indices"_a, "t_values"_a, "units"_a,
        "steps"_a, "batch"_a, "reverse"_a, "h0"_a, "gates"_a, "y"_a, "dy"_a, "dy_stride"_a, "dx"_a, "drecurrent"_a,
        "dh0"_a);
}

}  // namespace gossamer
