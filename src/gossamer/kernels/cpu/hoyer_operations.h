// What a pass of the sparseness-enforcing projection does to one vector of elements, and what it leaves of them:
//   Moments  max x, Σz, Σz² of z = kHoyerShrink (x − shift); Masked: over the x above −∞ only, and their number
//   Shrink   y = max(slope (scale x − α), 0): number of the positive, Σy, Σy²; Store: and s = gain y is written
//   Pull     over s ≠ 0: its number, Σ v sign(s), Σ v s
//   Push     out = beta (v − plain sign(s) − weighted s) where s ≠ 0, 0 elsewhere
// With Magnitude x stands for |x| and s has the sign of x; without, no s is negative and no sign is looked at.
//
// All have one form:
//   Parameter     what one row brings; an operation holds one row's in every lane, or one row's in each
//   State         running results of one vector's lanes; start, keep (some lanes only) and merge handle them
//   Result        the same of a row, in double; total adds all lanes to one, each adds every lane to its own
//   operator()    one vector in, x or v (and s where kTwo), one out where kStores
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "hoyer.h"
#include "hoyer_lanes.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {  // internal linkage, as in vec.h

// A parameter of W rows, or of one row W times.
template <class T, int W, class P, class Field>
inline Vec<T, W> parameter(const P* rows, bool shared, Field field) {
  if (shared) return broadcast<T, W>(field(rows[0]));
  if constexpr (W == 1) {
    return field(rows[0]);
  } else {
    Vec<T, W> result;
    for (int lane = 0; lane < W; ++lane) result[lane] = field(rows[lane]);
    return result;
  }
}

template <class T, int W, bool Magnitude, bool Masked>
struct Moments {
  using Vector = Vec<T, W>;
  using Parameter = T;  // the shift
  using Result = HoyerMoments;
  static constexpr bool kTwo = false, kStores = false;
  struct State {
    Vector top, sum, square;
    Vec<Integer<T>, W> finite;
  };
  Vector shift;

  Moments(const Parameter* rows, bool shared)
      : shift(parameter<T, W>(rows, shared, [](T x) { return x; }) * T(kHoyerShrink)) {}
  static State start() {
    return {broadcast<T, W>(-std::numeric_limits<T>::infinity()), Vector{}, Vector{}, Vec<Integer<T>, W>{}};
  }
  Vector operator()(State& state, Vector x, Vector) const {
    if constexpr (Magnitude) x = absolute<T, W>(x);
    Vector z = x * T(kHoyerShrink) - shift;
    if constexpr (Masked) {
      const auto active = x > broadcast<T, W>(-std::numeric_limits<T>::infinity());
      z = select(active, z, Vector{});
      count<T, W>(state.finite, active);
    }
    state.top = select(x > state.top, x, state.top);
    state.sum += z;
    state.square += z * z;
    return x;
  }
  template <class Mask>
  static void keep(State& state, Mask lanes) {
    state.top = select(lanes, state.top, start().top);
    state.sum = select(lanes, state.sum, Vector{});
    state.square = select(lanes, state.square, Vector{});
    state.finite = select(lanes, state.finite, Vec<Integer<T>, W>{});
  }
  static void merge(State& into, const State& from) {
    into.top = select(from.top > into.top, from.top, into.top);
    into.sum += from.sum;
    into.square += from.square;
    into.finite += from.finite;
  }
  static Result empty() { return {-std::numeric_limits<double>::infinity(), 0, 0, 0}; }
  static void add(Result& result, double top, double sum, double square, double finite) {
    result.top = std::max(result.top, top);
    result.sum += sum;
    result.square += square;
    result.finite += finite;
  }
  static void total(Result& result, const State& state) {
    add(result, largest_lane<T, W>(state.top), sum_lanes<T, W>(state.sum), sum_lanes<T, W>(state.square),
        double(sum_lanes<Integer<T>, W>(state.finite)));
  }
  static void each(Result* results, const State& state) {
    T top[W], sum[W], square[W];
    Integer<T> finite[W];
    std::memcpy(top, &state.top, sizeof top);
    std::memcpy(sum, &state.sum, sizeof sum);
    std::memcpy(square, &state.square, sizeof square);
    std::memcpy(finite, &state.finite, sizeof finite);
    for (int lane = 0; lane < W; ++lane) add(results[lane], top[lane], sum[lane], square[lane], double(finite[lane]));
  }
};

// Three sums, of which the first is a count.
template <class T, int W, class R>
struct ThreeSums {
  using Vector = Vec<T, W>;
  using Result = R;
  struct State {
    Vec<Integer<T>, W> count;
    Vector first, second;
  };
  static State start() { return {Vec<Integer<T>, W>{}, Vector{}, Vector{}}; }
  template <class Mask>
  static void keep(State& state, Mask lanes) {
    state.count = select(lanes, state.count, Vec<Integer<T>, W>{});
    state.first = select(lanes, state.first, Vector{});
    state.second = select(lanes, state.second, Vector{});
  }
  static void merge(State& into, const State& from) {
    into.count += from.count;
    into.first += from.first;
    into.second += from.second;
  }
  static Result empty() { return {0, 0, 0}; }
  static void add(Result& result, double count, double first, double second) {
    auto& [c, f, s] = result;
    c += count;
    f += first;
    s += second;
  }
  static void total(Result& result, const State& state) {
    add(result, double(sum_lanes<Integer<T>, W>(state.count)), sum_lanes<T, W>(state.first),
        sum_lanes<T, W>(state.second));
  }
  static void each(Result* results, const State& state) {
    Integer<T> count[W];
    T first[W], second[W];
    std::memcpy(count, &state.count, sizeof count);
    std::memcpy(first, &state.first, sizeof first);
    std::memcpy(second, &state.second, sizeof second);
    for (int lane = 0; lane < W; ++lane) add(results[lane], double(count[lane]), first[lane], second[lane]);
  }
};

template <class T, int W, bool Magnitude, bool Store>
struct Shrink : ThreeSums<T, W, HoyerSums> {
  using Vector = Vec<T, W>;
  using State = typename ThreeSums<T, W, HoyerSums>::State;
  using Parameter = HoyerTrial<T>;
  static constexpr bool kTwo = false, kStores = Store;
  Vector scale, high, low, slope, gain;

  Shrink(const Parameter* rows, bool shared)
      : scale(parameter<T, W>(rows, shared, [](const Parameter& p) { return p.scale; })),
        high(parameter<T, W>(rows, shared, [](const Parameter& p) { return p.high; })),
        low(parameter<T, W>(rows, shared, [](const Parameter& p) { return p.low; })),
        slope(parameter<T, W>(rows, shared, [](const Parameter& p) { return p.slope; })),
        gain(parameter<T, W>(rows, shared, [](const Parameter& p) { return p.gain; })) {}
  Vector operator()(State& state, Vector x, Vector) const {
    Vector size = x;
    if constexpr (Magnitude) size = absolute<T, W>(x);
    const Vector y = max0<T, W>((scale * size - high - low) * slope);
    count<T, W>(state.count, y > Vector{});
    state.first += y;
    state.second += y * y;
    if constexpr (!Store) return y;
    const Vector s = gain * y;
    if constexpr (Magnitude) return select(x < Vector{}, Vector{} - s, s);  // 0 - 0 is +0
    return s;
  }
};

template <class T, int W>
inline Vec<T, W> with_sign_of(Vec<T, W> size, Vec<T, W> s) {
  return select(s < Vec<T, W>{}, -size, size);
}

template <class T, int W, bool Magnitude>
struct Pull : ThreeSums<T, W, HoyerPull> {
  using Vector = Vec<T, W>;
  using State = typename ThreeSums<T, W, HoyerPull>::State;
  using Parameter = HoyerPush<T>;  // none is used
  static constexpr bool kTwo = true, kStores = false;

  Pull(const Parameter*, bool) {}
  Vector operator()(State& state, Vector v, Vector s) const {
    const auto active = s != Vector{};
    v = select(active, v, Vector{});
    count<T, W>(state.count, active);
    state.second += v * s;
    if constexpr (Magnitude) v = with_sign_of<T, W>(v, s);
    state.first += v;
    return v;
  }
};

template <class T, int W, bool Magnitude>
struct Push {
  using Vector = Vec<T, W>;
  using Parameter = HoyerPush<T>;
  using Result = char;
  struct State {};
  static constexpr bool kTwo = true, kStores = true;
  Vector beta, plain, weighted;

  Push(const Parameter* rows, bool shared)
      : beta(parameter<T, W>(rows, shared, [](const Parameter& p) { return p.beta; })),
        plain(parameter<T, W>(rows, shared, [](const Parameter& p) { return p.plain; })),
        weighted(parameter<T, W>(rows, shared, [](const Parameter& p) { return p.weighted; })) {}
  static State start() { return {}; }
  Vector operator()(State&, Vector v, Vector s) const {
    Vector shift = plain;
    if constexpr (Magnitude) shift = with_sign_of<T, W>(plain, s);
    return select(s != Vector{}, beta * (v - shift - weighted * s), Vector{});
  }
  template <class Mask>
  static void keep(State&, Mask) {}
  static void merge(State&, const State&) {}
  static Result empty() { return 0; }
  static void total(Result&, const State&) {}
  static void each(Result*, const State&) {}
};

}  // namespace
}  // namespace GOSSAMER_ISA
}  // namespace gossamer
