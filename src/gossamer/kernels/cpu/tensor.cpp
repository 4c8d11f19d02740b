#include "tensor.h"

#include <nanobind/nanobind.h>

#include <unordered_map>

namespace nb = nanobind;

namespace gossamer {
namespace {

struct Header {
  std::uint32_t major, minor;
  Header* previous;
};

struct Exchange {
  Header header;
  int (*allocate)(DlTensor* like, DlManaged** out, void* context, void (*fail)(void*, const char*, const char*));
  int (*managed_from)(void* object, DlManaged** out);
  int (*to_object)(DlManaged* tensor, void** out);
  int (*view_of)(void* object, DlTensor* out);
  int (*stream)(std::int32_t, std::int32_t, void**);
};

const Exchange* exchange = nullptr;
PyObject *tensor_type = nullptr, *parameter_type = nullptr;  // borrowed: torch is never unloaded

void use_exchange(nb::handle capsule, nb::handle tensor, nb::handle parameter) {
  auto* found = static_cast<const Exchange*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (!found) throw nb::python_error();
  if (found->header.major != 1 || !found->view_of) return;
  exchange = found;
  tensor_type = tensor.ptr();
  parameter_type = parameter.ptr();
}

std::unordered_map<PyObject*, PatternState> validated;  // by the object of `indices`

bool number(PyObject* found, std::int64_t& out) {
  if (found) {
    out = PyLong_AsLongLong(found);
    Py_DECREF(found);
  }
  if (!PyErr_Occurred()) return true;
  PyErr_Clear();
  return false;
}

bool state_of_one(PyObject* object, PatternState::One& out) {
  static PyObject* const version = PyUnicode_InternFromString("_version");
  static PyObject* const address = PyUnicode_InternFromString("data_ptr");
  static PyObject* const numel = PyUnicode_InternFromString("numel");
  out.object = object;
  if (!number(PyObject_GetAttr(object, version), out.version)) return false;
  if (View found; view(object, found)) {
    out.data = found.at<void>();
    out.numel = found.numel();
    return true;
  }
  std::int64_t where = 0;
  if (!number(PyObject_CallMethodNoArgs(object, address), where)) return false;
  out.data = reinterpret_cast<void*>(where);
  return number(PyObject_CallMethodNoArgs(object, numel), out.numel);
}

}  // namespace

bool view(PyObject* tensor, View& out) {
  if (!exchange) return false;
  auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(tensor));
  if (type != tensor_type && type != parameter_type) return false;
  if (exchange->view_of(tensor, &out) != 0) {
    PyErr_Clear();
    return false;
  }
  return out.device.type == 1;
}

PyObject* empty(const View& like, std::int64_t rows, std::int64_t cols, bool transposed, View& out) {
  std::int64_t shape[2] = {rows, cols};
  DlTensor wanted = like;
  wanted.ndim = cols < 0 ? 1 : 2;
  wanted.shape = shape;
  wanted.strides = nullptr;
  wanted.byte_offset = 0;
  DlManaged* made = nullptr;
  if (exchange->allocate(&wanted, &made, nullptr, [](void*, const char*, const char*) {}) != 0) {
    PyErr_Clear();
    return nullptr;
  }
  if (transposed) {
    made->tensor.shape[0] = cols;
    made->tensor.shape[1] = rows;
    made->tensor.strides[0] = 1;
    made->tensor.strides[1] = cols;
  }
  static_cast<DlTensor&>(out) = made->tensor;
  void* object = nullptr;
  if (exchange->to_object(made, &object) != 0) {
    PyErr_Clear();
    return nullptr;
  }
  out.shape = out.strides = nullptr;  // they went with `made`
  return static_cast<PyObject*>(object);
}

bool state_of(PyObject* const pattern[4], PatternState& out) {
  for (int i = 0; i < 4; ++i) {
    if (!state_of_one(pattern[i], out.tensors[i])) return false;
  }
  return true;
}

bool unchanged(const PatternState& before) {
  for (const PatternState::One& one : before.tensors) {
    PatternState::One now;
    if (!state_of_one(one.object, now) || !(now == one)) return false;
  }
  return true;
}

bool is_validated(PyObject* const pattern[4]) {
  const auto known = validated.find(pattern[1]);
  if (known == validated.end()) return false;
  for (int i = 0; i < 4; ++i) {
    if (known->second.tensors[i].object != pattern[i]) return false;
  }
  return unchanged(known->second);
}

void bind_tensor(nb::module_& m) {
  m.def("use_exchange", &use_exchange);
  m.def("mark_validated", [](nb::handle a, nb::handle b, nb::handle c, nb::handle d) {
    PyObject* const pattern[4] = {a.ptr(), b.ptr(), c.ptr(), d.ptr()};
    PatternState state;
    if (!state_of(pattern, state)) return false;
    validated[b.ptr()] = state;
    return true;
  });
  m.def("is_validated", [](nb::handle a, nb::handle b, nb::handle c, nb::handle d) {
    PyObject* const pattern[4] = {a.ptr(), b.ptr(), c.ptr(), d.ptr()};
    return is_validated(pattern);
  });
  m.def("forget", [](std::uintptr_t indices) { validated.erase(reinterpret_cast<PyObject*>(indices)); });
}

}  // namespace gossamer
