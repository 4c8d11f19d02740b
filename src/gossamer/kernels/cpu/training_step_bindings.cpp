// Python's door to the compiled training step: addresses and sizes in. Callers own the memory and have checked it.

#include <nanobind/nanobind.h>

#include <cstdint>

#include "dispatch.h"
#include "training_step_plan.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {
namespace {

template <class T>
Samples<T> samples_at(Address x, std::int64_t row_step, std::int64_t col_step, Address indptr, Address indices,
                      Address shift) {
  return {at<const T>(x), row_step, col_step, at<const std::int64_t>(indptr), at<const std::int32_t>(indices),
          at<const T>(shift)};
}

template <class T>
void bind(nb::module_& m, const char* name) {
  using Step = TrainingStep<T>;
  nb::class_<Step>(m, name)
      .def(nb::init<>())
      .def("parameter",
           [](Step& step, Address values, Address gradient, Address first, Address second, std::int64_t count, int group,
              double steps, bool fresh) {
             return step.parameter(at<T>(values), at<T>(gradient), at<T>(first), at<T>(second), count, group, steps, fresh);
           })
      .def("sparse",
           [](Step& step, std::int64_t inputs, std::int64_t outputs, Address indptr, Address indices, Address t_indptr,
              Address t_indices, Address permutation, int weights, int bias, bool relu) {
             step.sparse(inputs, outputs, at<const std::int32_t>(indptr), at<const std::int32_t>(indices),
                         at<const std::int32_t>(t_indptr), at<const std::int32_t>(t_indices),
                         at<const std::int32_t>(permutation), weights, bias, relu);
           })
      .def("dense", &Step::dense)
      .def("curve", [](Step& step, std::int64_t units, int kind, double slope) { step.curve(units, Curve(kind), slope); })
      .def("hoyer", &Step::hoyer)
      .def("top_k", &Step::top_k)
      .def("srelu", &Step::srelu)
      .def("dropout", &Step::dropout)
      .def(
          "train",
          [](Step& step, int threads, Address x, std::int64_t row_step, std::int64_t col_step, Address indptr,
             Address indices, Address shift, int task, Address classes, Address targets, Address weight, Address order,
             std::int64_t count, std::int64_t batch, Address bits, Address recipes, int groups, bool adam, bool decoupled,
             double max_norm, Address losses, Address credits) {
            nb::gil_scoped_release release;
            step.train(threads, samples_at<T>(x, row_step, col_step, indptr, indices, shift),
                       {Task(task), at<const std::int64_t>(classes), at<const T>(targets), at<const T>(weight)},
                       at<const std::int64_t>(order), count, batch, at<const std::int16_t>(bits), at<const Recipe>(recipes),
                       groups, adam, decoupled, max_norm, at<double>(losses), at<double>(credits));
          },
          "threads"_a, "x"_a, "row_step"_a, "col_step"_a, "indptr"_a, "indices"_a, "shift"_a, "task"_a, "classes"_a,
          "targets"_a, "weight"_a, "order"_a, "count"_a, "batch"_a, "bits"_a, "recipes"_a, "groups"_a, "adam"_a,
          "decoupled"_a, "max_norm"_a, "losses"_a, "credits"_a);
}

}  // namespace

void bind_training_step(nb::module_& m) {
  bind<float>(m, "TrainingStep32");
  bind<double>(m, "TrainingStep64");
}

}  // namespace gossamer
