// A vector of locations at a time: its channels are gathered, ReLU applied, and the K largest of each lane kept in a list
// in falling order, into which every channel is inserted.

#include "winners.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

template <class T>
constexpr int L = kLanes<T>;
template <class T>
using V = Vec<T, L<T>>;

template <class T>
V<T> relu(V<T> u) {  // NaN passes
  return u <= V<T>{} ? V<T>{} : u;
}

// Up to L locations from `first` on: where their first channels are, and whether these are adjacent.
template <class T>
struct Lanes {
  Lanes(const WinnersShape& shape, std::int64_t first, std::int64_t end)
      : step(shape.inner), lanes(int(std::min<std::int64_t>(L<T>, end - first))) {
    for (int lane = 0; lane < lanes; ++lane) {
      const std::int64_t outer = (first + lane) / step;
      at[lane] = outer * (shape.channels - 1) * step + first + lane;
    }
    adjacent = lanes == L<T> && at[L<T> - 1] == at[0] + L<T> - 1;
  }
  V<T> load_channel(const T* from, std::int64_t c) const {
    if (adjacent) return load<T, L<T>>(from + at[0] + c * step);
    V<T> value{};
    for (int lane = 0; lane < lanes; ++lane) value[lane] = from[at[lane] + c * step];
    return value;
  }
  void store_channel(T* to, std::int64_t c, V<T> value) const {
    if (adjacent) return store<T, L<T>>(to + at[0] + c * step, value);
    for (int lane = 0; lane < lanes; ++lane) to[at[lane] + c * step] = value[lane];
  }
  V<T> load_location(const T* from, std::int64_t first) const {
    V<T> value{};
    std::memcpy(&value, from + first, lanes * sizeof(T));
    return value;
  }
  void store_location(T* to, std::int64_t first, V<T> value) const { std::memcpy(to + first, &value, lanes * sizeof(T)); }

  std::int64_t step, at[L<T>];
  int lanes;
  bool adjacent;
};

template <class T>
void forward(const WinnersForward<T>& job, std::int64_t begin, std::int64_t end) {
  const auto [outer, channels, inner] = job.shape;
  const std::int64_t k = job.winners;
  std::vector<T> memory((k + 1) * L<T>);
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
  T* list = memory.data() + (-address % kVectorBytes) / sizeof(T);
  for (std::int64_t first = begin; first < end; first += L<T>) {
    const Lanes<T> lanes(job.shape, first, end);
    V<T> all{};
    std::fill(memory.begin(), memory.end(), T(0));  // less than K positive activations: zeros win
    for (std::int64_t c = 0; c < channels; ++c) {
      V<T> value = relu<T>(lanes.load_channel(job.u, c));
      all += value;
      if (k == channels) continue;
      for (std::int64_t j = 0; j < k; ++j) {
        const V<T> in_list = load<T, L<T>>(list + j * L<T>);
        store<T, L<T>>(list + j * L<T>, value > in_list ? value : in_list);
        value = value < in_list ? value : in_list;
      }
    }
    V<T> top{};
    for (std::int64_t j = 0; j < k; ++j) top += load<T, L<T>>(list + j * L<T>);
    if (k == channels) top = all;
    const T rest = T(job.rest);
    lanes.store_location(job.cost, first, (1 / T(k) + rest) * top - rest * all);
    // below all activations if all win
    lanes.store_location(job.least, first, k == channels ? V<T>{} - 1 : load<T, L<T>>(list + (k - 1) * L<T>));
  }
}

// Of channels that tie with the least winner, as many win as there is room for, from the first on.
template <class T>
void backward(const WinnersBackward<T>& job, std::int64_t begin, std::int64_t end) {
  const std::int64_t channels = job.shape.channels;
  std::vector<T> memory((channels + 1) * L<T>);
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
  T* a = memory.data() + (-address % kVectorBytes) / sizeof(T);
  const V<T> zero{}, one = broadcast<T, L<T>>(T(1));
  for (std::int64_t first = begin; first < end; first += L<T>) {
    const Lanes<T> lanes(job.shape, first, end);
    const V<T> least = lanes.load_location(job.least, first), g = lanes.load_location(job.g, first);
    V<T> room = broadcast<T, L<T>>(T(job.winners));
    for (std::int64_t c = 0; c < channels; ++c) {
      const V<T> value = relu<T>(lanes.load_channel(job.u, c));
      store<T, L<T>>(a + c * L<T>, value);
      room -= value > least ? one : zero;
    }
    const V<T> won = g / T(job.winners), lost = -g * T(job.rest);
    for (std::int64_t c = 0; c < channels; ++c) {
      const V<T> value = load<T, L<T>>(a + c * L<T>);
      const auto ties = (value == least) & (room > zero);
      room -= ties ? one : zero;
      const V<T> d = ((value > least) | ties) ? won : lost;
      lanes.store_channel(job.du, c, value <= zero ? zero : d);
    }
  }
}

}  // namespace

extern const WinnersKernelSet winners_kernels;
const WinnersKernelSet winners_kernels{{forward<float>, backward<float>}, {forward<double>, backward<double>}};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
