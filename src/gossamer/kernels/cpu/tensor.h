// PyTorch's tensors through DLPack's C exchange interface: their memory and sizes are read, and new ones are made, in
// some tens of nanoseconds and without PyTorch's headers. Where PyTorch offers no such interface (before 2.10), `view`
// fails and callers take the way through Python.
#pragma once

#include <Python.h>

#include <cstdint>

namespace gossamer {

// The binary interface of DLPack 1 (https://dmlc.github.io/dlpack), as far as it is used here.
struct DlDevice {
  std::int32_t type, id;  // type 1: CPU
};

struct DlType {
  std::uint8_t code, bits;  // code 0: signed integer, 2: floating point
  std::uint16_t lanes;
};

struct DlTensor {
  void* data;
  DlDevice device;
  std::int32_t ndim;
  DlType dtype;
  std::int64_t *shape, *strides;
  std::uint64_t byte_offset;
};

struct DlManaged {
  std::uint32_t major, minor;
  void* context;
  void (*deleter)(DlManaged*);
  std::uint64_t flags;
  DlTensor tensor;
};

// A tensor on the CPU, as long as the Python object that it was read from lives.
struct View : DlTensor {
  std::int64_t numel() const {
    std::int64_t count = 1;
    for (int i = 0; i < ndim; ++i) count *= shape[i];
    return count;
  }
  template <class T>
  T* at() const {
    return reinterpret_cast<T*>(static_cast<char*>(data) + byte_offset);
  }
  bool is_float() const { return dtype.code == 2 && dtype.lanes == 1 && (dtype.bits == 32 || dtype.bits == 64); }
  bool is_vector(std::int64_t count) const { return ndim == 1 && shape[0] == count && (count < 2 || strides[0] == 1); }
};

// Reads a torch.Tensor or Parameter (no subclass) on the CPU; false, without a Python error, for everything else.
bool view(PyObject* tensor, View& out);

// A new tensor like `like` in dtype: (rows, cols), or with `transposed` (cols, rows) over the same memory; a vector of
// `rows` if cols is negative. A new reference, its memory in `out`; null if that fails, without a Python error.
PyObject* empty(const View& like, std::int64_t rows, std::int64_t cols, bool transposed, View& out);

// Identity, memory, version and size of the four index tensors of a pattern. No versions are counted in inference mode,
// and none of changes through `.data` or NumPy.
struct PatternState {
  struct One {
    PyObject* object;
    void* data;
    std::int64_t version, numel;
    bool operator==(const One& other) const {
      return object == other.object && data == other.data && version == other.version && numel == other.numel;
    }
  } tensors[4];
};

// Reads it; false, without a Python error, if that fails.
bool state_of(PyObject* const pattern[4], PatternState& out);

// Whether it is still so.
bool unchanged(const PatternState& before);

// Whether the four index tensors of a pattern are those that were marked as validated, and unchanged since.
bool is_validated(PyObject* const pattern[4]);

}  // namespace gossamer
