// The passes of the sparseness-enforcing projection, for one instruction set. See hoyer.h for what they compute.
//
// An operation says what happens to one vector of elements; a traversal brings it the elements. Along a contiguous row
// the lanes of a vector are neighbours in the row, and are summed at the end. Across rows each lane is a row of its
// own, and nothing is summed between lanes.

#include "hoyer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "vec.h"

#ifndef GOSSAMER_ISA
#define GOSSAMER_ISA baseline
#endif

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

constexpr int kInFlight = 4;  // independent sums, which hide the latency of an addition

template <class T>
using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

template <class T, int W>
inline Vec<T, W> absolute(Vec<T, W> x) {
  if constexpr (W == 1) {
    return std::fabs(x);
  } else {
    using I = Vec<Integer<T>, W>;
    return (Vec<T, W>)((I)x & std::numeric_limits<Integer<T>>::max());
  }
}

// The lanes of `a` where `yes`, of `b` elsewhere.
template <class Mask, class V>
inline V select(Mask yes, V a, V b) {
  return yes ? a : b;
}

template <class T, int W, class Mask>
inline void count(Vec<Integer<T>, W>& total, Mask yes) {
  if constexpr (W == 1) {
    total += yes;
  } else {
    total -= yes;  // true is -1
  }
}

template <class T, int W>
inline Vec<T, W> to_real(Vec<Integer<T>, W> x) {
  if constexpr (W == 1) {
    return T(x);
  } else {
    return __builtin_convertvector(x, Vec<T, W>);
  }
}

template <class T, int W>
inline T sum_lanes(Vec<T, W> x) {
  if constexpr (W == 1) {
    return x;
  } else {
    Vec<T, W / 2> low, high;
    std::memcpy(&low, &x, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof low, sizeof low);
    return sum_lanes<T, W / 2>(low + high);
  }
}

template <class T, int W>
inline T largest_lane(Vec<T, W> x) {
  if constexpr (W == 1) {
    return x;
  } else {
    Vec<T, W / 2> low, high;
    std::memcpy(&low, &x, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof low, sizeof low);
    return largest_lane<T, W / 2>(select(low > high, low, high));
  }
}

// ---- operations -----------------------------------------------------------------------------------------------------
//
// Parameter     what one row brings; an operation holds one row's in every lane, or one row's in each
// State         running results of one vector's lanes; start, keep (some lanes only) and merge handle them
// Result        the same of a row, in double; total adds all lanes to one, each adds every lane to its own
// operator()    one vector in, x or v (and s where kTwo), one out where kStores

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
      const auto live = x > broadcast<T, W>(-std::numeric_limits<T>::infinity());
      z = select(live, z, Vector{});
      count<T, W>(state.finite, live);
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
    const auto live = s != Vector{};
    v = select(live, v, Vector{});
    count<T, W>(state.count, live);
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

// ---- traversals -----------------------------------------------------------------------------------------------------

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

template <class T>
constexpr int kWidth = kVectorBytes / int(sizeof(T));

// The traversal for a group; its lanes are one of the widths below.
template <class T, template <int> class Operation>
void traverse(const HoyerGroup<T>& group, const T* a, const T* b, T* out,
              const typename Operation<1>::Parameter* parameters, typename Operation<1>::Result* results) {
  constexpr int W = kWidth<T>;
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

// ---- the table ------------------------------------------------------------------------------------------------------

template <class T>
int lanes(std::int64_t rows) {
  for (const int width : {16, 8, 4, 2})
    if (width <= kWidth<T> && (width >= 4 || width == kWidth<T>) && rows >= width) return width;
  return 1;
}

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
