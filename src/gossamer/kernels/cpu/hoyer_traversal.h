// How the elements of a group of rows come to an operation (hoyer_operations.h), each of them once.
//
// Along a contiguous row the lanes of a vector are neighbours in the row, and are summed at the end. Across rows each
// lane is a row of its own, and nothing is summed between lanes. A sum over n elements is one in double of sums in the
// storage type, each over a block of kHoyerBlock elements, so that its rounding error does not grow with n.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hoyer.h"
#include "hoyer_lanes.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {  // internal linkage, as in vec.h

constexpr int kInFlight = 4;  // independent sums, which hide the latency of an addition

template <class Operation, class T, int W>
inline void visit(const Operation& operation, typename Operation::State& state, const T* a, const T* b, T* out) {
  const Vec<T, W> first = load<T, W>(a);
  const Vec<T, W> result = operation(state, first, Operation::kTwo ? load<T, W>(b) : first);
  if constexpr (Operation::kStores) store<T, W>(out, result);
}

// One contiguous row; b and out are null where the operation has none.
template <class T, int W, class Operation>
void along(const HoyerGroup<T>& group, const T* a, const T* b, T* out, const typename Operation::Parameter* parameters,
           typename Operation::Result* results) {
  using State = typename Operation::State;
  const Operation operation(parameters, true);
  typename Operation::Result result = Operation::empty();
  const auto second = [&](std::int64_t i) { return Operation::kTwo ? b + i : nullptr; };
  const auto target = [&](std::int64_t i) { return Operation::kStores ? out + i : nullptr; };

  for (std::int64_t begin = 0; begin < group.n; begin += kHoyerBlock) {
    const std::int64_t end = std::min(group.n, begin + kHoyerBlock);
    State state[kInFlight];
    for (State& s : state) s = Operation::start();
    std::int64_t i = begin;
    for (; i + kInFlight * W <= end; i += kInFlight * W)
      for (int u = 0; u < kInFlight; ++u)
        visit<Operation, T, W>(operation, state[u], a + i + u * W, second(i + u * W), target(i + u * W));
    for (; i + W <= end; i += W) visit<Operation, T, W>(operation, state[0], a + i, second(i), target(i));
    if (i < end) {
      if constexpr (W > 1) {
        const std::size_t bytes = std::size_t(end - i) * sizeof(T);
        T a_rest[W] = {}, b_rest[W] = {}, out_rest[W];
        std::memcpy(a_rest, a + i, bytes);
        if constexpr (Operation::kTwo) std::memcpy(b_rest, b + i, bytes);
        Vec<Integer<T>, W> lanes;
        for (int lane = 0; lane < W; ++lane) lanes[lane] = lane;
        State rest = Operation::start();
        visit<Operation, T, W>(operation, rest, a_rest, b_rest, out_rest);
        if constexpr (Operation::kStores) std::memcpy(out + i, out_rest, bytes);
        Operation::keep(rest, lanes < Integer<T>(end - i));
        Operation::merge(state[1], rest);
      }
    }
    for (int u = 1; u < kInFlight; ++u) Operation::merge(state[0], state[u]);
    Operation::total(result, state[0]);
  }
  *results = result;
}

// W rows side by side.
template <class T, int W, class Operation>
void across(const HoyerGroup<T>& group, const T* a, const T* b, T* out, const typename Operation::Parameter* parameters,
            typename Operation::Result* results) {
  using State = typename Operation::State;
  const Operation operation(parameters, false);
  for (int lane = 0; lane < W; ++lane) results[lane] = Operation::empty();
  const auto row = [&](std::int64_t i, State& state) {
    const std::int64_t at = i * group.stride;
    visit<Operation, T, W>(operation, state, a + at, Operation::kTwo ? b + at : nullptr,
                           Operation::kStores ? out + at : nullptr);
  };
  for (std::int64_t begin = 0; begin < group.n; begin += kHoyerBlock) {
    const std::int64_t end = std::min(group.n, begin + kHoyerBlock);
    State state[kInFlight];
    for (State& s : state) s = Operation::start();
    std::int64_t i = begin;
    for (; i + kInFlight <= end; i += kInFlight)
      for (int u = 0; u < kInFlight; ++u) row(i + u, state[u]);
    for (; i < end; ++i) row(i, state[0]);
    for (int u = 1; u < kInFlight; ++u) Operation::merge(state[0], state[u]);
    Operation::each(results, state[0]);
  }
}

// The lanes of a group that so many neighbouring rows fill: of a full vector or, if that is wider, 8 or 4; else 1.
template <class T>
int lanes(std::int64_t rows) {
  for (const int width : {16, 8, 4, 2})
    if (width <= kLanes<T> && (width >= 4 || width == kLanes<T>) && rows >= width) return width;
  return 1;
}

// The traversal for a group with as many lanes as lanes() returns.
template <class T, template <int> class Operation>
void traverse(const HoyerGroup<T>& group, const T* a, const T* b, T* out,
              const typename Operation<1>::Parameter* parameters, typename Operation<1>::Result* results) {
  constexpr int W = kLanes<T>;
  if (group.lanes == 1 && group.stride == 1) return along<T, W, Operation<W>>(group, a, b, out, parameters, results);
  if (group.lanes == W) return across<T, W, Operation<W>>(group, a, b, out, parameters, results);
  if constexpr (W > 8) {
    if (group.lanes == 8) return across<T, 8, Operation<8>>(group, a, b, out, parameters, results);
  }
  if constexpr (W > 4) {
    if (group.lanes == 4) return across<T, 4, Operation<4>>(group, a, b, out, parameters, results);
  }
  across<T, 1, Operation<1>>(group, a, b, out, parameters, results);
}

}  // namespace
}  // namespace GOSSAMER_ISA
}  // namespace gossamer
