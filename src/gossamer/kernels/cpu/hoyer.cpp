// The passes of the sparseness-enforcing projection, for one instruction set: in each, a traversal brings the elements
// of a group to an operation. See hoyer.h for what they compute.

#include "hoyer.h"

#include <cstdint>

#include "hoyer_operations.h"
#include "hoyer_traversal.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

// The operations with all but their width fixed; Option is Masked or Store.
template <class T, bool Magnitude, bool Option>
struct Bound {
  template <int W>
  using Moments = Moments<T, W, Magnitude, Option>;
  template <int W>
  using Shrink = Shrink<T, W, Magnitude, Option>;
  template <int W>
  using Pull = Pull<T, W, Magnitude>;
  template <int W>
  using Push = Push<T, W, Magnitude>;
};

template <class T>
void moments(const HoyerGroup<T>& group, const T* x, const T* shift, bool masked, HoyerMoments* out) {
  if (group.magnitude) {
    traverse<T, Bound<T, true, false>::template Moments>(group, x, nullptr, nullptr, shift, out);
  } else if (masked) {
    traverse<T, Bound<T, false, true>::template Moments>(group, x, nullptr, nullptr, shift, out);
  } else {
    traverse<T, Bound<T, false, false>::template Moments>(group, x, nullptr, nullptr, shift, out);
  }
}

template <class T>
void measure(const HoyerGroup<T>& group, const T* x, const HoyerTrial<T>* trial, HoyerSums* out) {
  if (group.magnitude) {
    traverse<T, Bound<T, true, false>::template Shrink>(group, x, nullptr, nullptr, trial, out);
  } else {
    traverse<T, Bound<T, false, false>::template Shrink>(group, x, nullptr, nullptr, trial, out);
  }
}

template <class T>
void write(const HoyerGroup<T>& group, const T* x, const HoyerTrial<T>* trial, T* s, HoyerSums* out) {
  if (group.magnitude) {
    traverse<T, Bound<T, true, true>::template Shrink>(group, x, nullptr, s, trial, out);
  } else {
    traverse<T, Bound<T, false, true>::template Shrink>(group, x, nullptr, s, trial, out);
  }
}

template <class T>
void pull(const HoyerGroup<T>& group, const T* v, const T* s, HoyerPull* out) {
  if (group.magnitude) {
    traverse<T, Bound<T, true, true>::template Pull>(group, v, s, nullptr, nullptr, out);
  } else {
    traverse<T, Bound<T, false, true>::template Pull>(group, v, s, nullptr, nullptr, out);
  }
}

template <class T>
void push(const HoyerGroup<T>& group, const T* v, const T* s, const HoyerPush<T>* parameters, T* out) {
  char nothing[kHoyerLanes];
  if (group.magnitude) {
    traverse<T, Bound<T, true, true>::template Push>(group, v, s, out, parameters, nothing);
  } else {
    traverse<T, Bound<T, false, true>::template Push>(group, v, s, out, parameters, nothing);
  }
}

template <class T>
constexpr HoyerKernels<T> kTable{lanes<T>, moments<T>, measure<T>, write<T>, pull<T>, push<T>};

}  // namespace

extern const HoyerKernelSet hoyer_kernels;  // const alone would make it internal
const HoyerKernelSet hoyer_kernels{kTable<float>, kTable<double>};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
