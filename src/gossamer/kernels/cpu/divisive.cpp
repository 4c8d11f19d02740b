// An image at a time, a map of it in the first-level cache. A map lies in memory as one row of height * width numbers:
// neighbours are at distance 1 and width, and masks stop at the sides of the map. Activations are not negative, so zeros
// around a map are the padding of a maximum.

#include "divisive.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
template <class T>
constexpr int L = kLanes<T>;
template <class T>
using V = Vec<T, L<T>>;
template <class T>
using M = Vec<Bits<T>, L<T>>;  // a comparison of vectors: all bits or none

constexpr int kSummed = 16;  // channels that are added up before their sum is added to the total

template <class To, class From>
To cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <class T>
V<T> masked(V<T> value, M<T> mask) {
  return cast<V<T>>(cast<M<T>>(value) & mask);
}

// The larger of numbers that are not negative; a NaN without sign is larger than all.
template <class T>
V<T> larger(V<T> a, V<T> b) {
  const M<T> i = cast<M<T>>(a), j = cast<M<T>>(b);
  return cast<V<T>>(i > j ? i : j);
}

template <class T>
V<T> relu(V<T> u) {  // NaN passes, without its sign
  const M<T> no_sign = M<T>{} + std::numeric_limits<Bits<T>>::max();
  return masked<T>(u <= V<T>{} ? V<T>{} : u, no_sign);
}

// Numbers of one map in whole vectors, zeros behind its end and around it.
template <class X>
struct Plane {
  Plane(std::int64_t size, std::int64_t around) : numbers(size + 2 * around + kVectorBytes / sizeof(X)) {
    const auto address = reinterpret_cast<std::uintptr_t>(numbers.data());
    first = numbers.data() + around + (-address % kVectorBytes) / sizeof(X);  // whole vectors begin at cache lines
  }
  Plane(const Plane&) = delete;
  operator X*() { return first; }
  std::vector<X> numbers;
  X* first;
};

// The sizes of a map and the memory to work on it.
template <class T>
struct Map {
  explicit Map(const MapShape& shape)
      : width(shape.width), count(shape.height * shape.width), whole(count / L<T> * L<T>),
        size((count + L<T> - 1) / L<T> * L<T>), around((width + L<T>) / L<T> * L<T>), from_left(size, around),
        from_right(size, around) {
    for (std::int64_t p = 0; p < count; ++p) {
      from_left[p] = -Bits<T>(p % width > 0);
      from_right[p] = -Bits<T>(p % width < width - 1);
    }
  }

  Plane<T> plane() const { return {size, around}; }
  Plane<Bits<T>> choices() const { return {size, around}; }

  V<T> load_at(const T* from, std::int64_t p) const {  // zeros behind the end
    if (p < whole) return load<T, L<T>>(from + p);
    V<T> value{};
    std::memcpy(&value, from + p, (count - p) * sizeof(T));
    return value;
  }
  void store_at(T* to, std::int64_t p, V<T> value) const {
    std::memcpy(to + p, &value, p < whole ? sizeof value : (count - p) * sizeof(T));
  }
  V<T> left(const T* y, std::int64_t p) {  // neighbours on both sides, 0 if there is none
    return masked<T>(load<T, L<T>>(y + p - 1), load<Bits<T>, L<T>>(from_left + p));
  }
  V<T> right(const T* y, std::int64_t p) {
    return masked<T>(load<T, L<T>>(y + p + 1), load<Bits<T>, L<T>>(from_right + p));
  }

  std::int64_t width, count, whole, size, around;
  Plane<Bits<T>> from_left, from_right;  // whether there is a neighbour on this side
};

template <class T, class Work>
void each(const Map<T>& map, const Work& work) {
  for (std::int64_t p = 0; p < map.size; p += L<T>) work(p);
}

// Sums over channels, with the error of a sum of few terms.
template <class T>
struct ChannelSum {
  explicit ChannelSum(const Map<T>& map) : total(map.plane()), part(map.plane()) {}
  void clear() {
    std::fill(total.numbers.begin(), total.numbers.end(), T(0));
    std::fill(part.numbers.begin(), part.numbers.end(), T(0));
  }
  void add(std::int64_t p, V<T> value) { store<T, L<T>>(part + p, load<T, L<T>>(part + p) + value); }
  void channel_ends(const Map<T>& map, std::int64_t channel, std::int64_t channels) {
    if (channel % kSummed != kSummed - 1 && channel != channels - 1) return;
    each(map, [&](std::int64_t p) {
      store<T, L<T>>(total + p, load<T, L<T>>(total + p) + load<T, L<T>>(part + p));
      store<T, L<T>>(part + p, V<T>{});
    });
  }
  Plane<T> total, part;
};

// ---- the threshold -------------------------------------------------------------------------------------------------

template <class T>
std::int64_t count_above(const Map<T>& map, const T* z, T threshold) {
  M<T> counts{};
  const V<T> limit = broadcast<T, L<T>>(threshold);
  each(map, [&](std::int64_t p) { counts -= load<T, L<T>>(z + p) > limit; });
  Bits<T> total = 0;
  for (int lane = 0; lane < L<T>; ++lane) total += counts[lane];
  return total;
}

template <class T>
T largest_up_to(const Map<T>& map, const T* z, T limit) {
  V<T> best{};
  const V<T> most = broadcast<T, L<T>>(limit);
  each(map, [&](std::int64_t p) {
    const V<T> value = load<T, L<T>>(z + p);
    best = (value <= most) & (value > best) ? value : best;
  });
  T result = best[0];
  for (int lane = 1; lane < L<T>; ++lane) result = std::max(result, T(best[lane]));
  return result;
}

// The rank-th smallest of finite numbers, none negative: an interval (low, high] around it is narrowed until as many
// numbers lie above it as above the result, or until it has one floating-point number.
template <class T>
T select_finite(const Map<T>& map, const T* z, std::int64_t rank) {
  const std::int64_t above = map.count - rank;
  std::int64_t above_low = count_above(map, z, T(0)), above_high = 0;
  if (above_low <= above) return T(0);
  T low = 0, high = largest_up_to(map, z, std::numeric_limits<T>::max());
  for (int step = 0; above_high != above; ++step) {
    const Bits<T> low_bits = cast<Bits<T>>(low), high_bits = cast<Bits<T>>(high);
    if (high_bits - low_bits <= 1) return high;
    // the fraction at which a line through both counts takes the wanted one, and the middle, in turns
    const T share = step % 2 ? T(0.5) : T(above_low - above) / T(above_low - above_high);
    T middle = low + (high - low) * share;
    if (step >= 24 || !(middle > low && middle < high)) middle = cast<T>(Bits<T>(low_bits + (high_bits - low_bits) / 2));
    const std::int64_t count = count_above(map, z, middle);
    (count <= above ? high : low) = middle;
    (count <= above ? above_high : above_low) = count;
  }
  return largest_up_to(map, z, high);
}

template <class T>
T select_any(const Map<T>& map, const T* z, std::int64_t rank, std::vector<T>& numbers) {  // NaN if there is one
  numbers.assign(z, z + map.count);
  for (T value : numbers) {
    if (value != value) return value;
  }
  std::nth_element(numbers.begin(), numbers.begin() + (rank - 1), numbers.end());
  return numbers[rank - 1];
}

// ---- forward -------------------------------------------------------------------------------------------------------

template <class T>
void forward(const DivisiveForward<T>& job, std::int64_t begin, std::int64_t end) {
  Map<T> map(job.shape);
  const std::int64_t channels = job.shape.channels, count = map.count, width = map.width;
  Plane<T> y = map.plane(), rows = map.plane(), divisor = map.plane();
  ChannelSum<T> sum(map);
  std::vector<T> numbers;
  const T sigma = T(job.sigma), rest = T(1 - job.sigma);
  for (std::int64_t image = begin; image < end; ++image) {
    const T* u = job.u + image * channels * count;
    T *z = job.z + image * channels * count, *local = job.local + image * count;
    sum.clear();
    for (std::int64_t c = 0; c < channels; ++c, u += count) {
      if (job.window == 1) {
        each(map, [&](std::int64_t p) { sum.add(p, relu<T>(map.load_at(u, p))); });
      } else {
        each(map, [&](std::int64_t p) { store<T, L<T>>(y + p, relu<T>(map.load_at(u, p))); });
        each(map, [&](std::int64_t p) {
          store<T, L<T>>(rows + p, larger<T>(larger<T>(map.left(y, p), map.right(y, p)), load<T, L<T>>(y + p)));
        });
        each(map, [&](std::int64_t p) {
          const V<T> above = load<T, L<T>>(rows + p - width), below = load<T, L<T>>(rows + p + width);
          sum.add(p, larger<T>(larger<T>(above, below), load<T, L<T>>(rows + p)));
        });
      }
      sum.channel_ends(map, c, channels);
    }
    Bits<T> most_bits = 0;
    for (std::int64_t p = 0; p < count; ++p) {
      local[p] = sum.total[p] / T(channels);
      most_bits = std::max(most_bits, Bits<T>(cast<Bits<T>>(local[p]) & std::numeric_limits<Bits<T>>::max()));
    }
    const T most = cast<T>(most_bits);
    for (std::int64_t p = 0; p < map.size; ++p) divisor[p] = p < count ? sigma * most + rest * local[p] + T(1e-7) : T(1);
    std::memcpy(job.divisor + image * count, divisor.first, count * sizeof(T));

    const bool finite = most < std::numeric_limits<T>::infinity();
    u = job.u + image * channels * count;
    for (std::int64_t c = 0; c < channels; ++c, u += count, z += count) {
      each(map, [&](std::int64_t p) {
        store<T, L<T>>(y + p, relu<T>(map.load_at(u, p)) / load<T, L<T>>(divisor + p));
      });
      T threshold = 0;
      if (job.rank > 0) threshold = finite ? select_finite<T>(map, y, job.rank) : select_any<T>(map, y, job.rank, numbers);
      job.threshold[image * channels + c] = threshold;
      const V<T> limit = broadcast<T, L<T>>(threshold), one = broadcast<T, L<T>>(T(1));
      each(map, [&](std::int64_t p) {
        const V<T> value = load<T, L<T>>(y + p);
        map.store_at(z, p, value * (value > limit ? one : V<T>{}));  // a product, so that NaN stays
      });
    }
  }
}

// ---- backward ------------------------------------------------------------------------------------------------------

// The first of the largest of three numbers at -1, 0 and 1: the number, and where.
template <class T>
V<T> first_largest(V<T> before, V<T> here, V<T> after, M<T>& where) {
  const M<T> is_here = here > before;
  const V<T> of_two = is_here ? here : before;
  const M<T> is_after = after > of_two, one = M<T>{} + 1;
  where = is_after ? one : (is_here ? M<T>{} : -one);
  return is_after ? after : of_two;
}

template <class T>
V<T> if_chosen(const Bits<T>* where, const T* value, std::int64_t p, Bits<T> chosen) {
  return masked<T>(load<T, L<T>>(value + p), load<Bits<T>, L<T>>(where + p) == M<T>{} + chosen);
}

template <class T>
void backward(const DivisiveBackward<T>& job, std::int64_t begin, std::int64_t end) {
  Map<T> map(job.shape);
  const std::int64_t channels = job.shape.channels, count = map.count, width = map.width;
  Plane<T> y = map.plane(), rows = map.plane(), inverse = map.plane(), divisor = map.plane(), pooled = map.plane(),
           routed = map.plane();
  Plane<Bits<T>> in_row = map.choices(), in_column = map.choices();
  ChannelSum<T> sum(map);
  const T sigma = T(job.sigma), rest = T(1 - job.sigma);
  const V<T> one = broadcast<T, L<T>>(T(1));
  for (std::int64_t image = begin; image < end; ++image) {
    const std::int64_t first = image * channels * count;
    const T *local = job.local + image * count, *thresholds = job.threshold + image * channels;
    for (std::int64_t p = 0; p < map.size; ++p) {
      divisor[p] = p < count ? job.divisor[image * count + p] : T(1);
      inverse[p] = T(1) / divisor[p];
    }
    const auto through_gate = [&](std::int64_t c, std::int64_t p, V<T> z) {
      const V<T> g = map.load_at(job.g + first + c * count, p);
      return job.straight ? g : g * (z > broadcast<T, L<T>>(thresholds[c]) ? one : V<T>{});
    };
    sum.clear();
    for (std::int64_t c = 0; c < channels; ++c) {
      each(map, [&](std::int64_t p) {
        const V<T> z = relu<T>(map.load_at(job.u + first + c * count, p)) / load<T, L<T>>(divisor + p);
        sum.add(p, z * through_gate(c, p, z));
      });
      sum.channel_ends(map, c, channels);
    }

    // the gradient of the mean activation at a location, and from it that of the maximum in each window
    T most = local[0], along = 0;
    for (std::int64_t p = 0; p < count; ++p) {
      most = std::max(most, local[p]);
      pooled[p] = -sum.total[p] * inverse[p];
    }
    std::int64_t ties = 0;
    for (std::int64_t p = 0; p < count; ++p) along += pooled[p], ties += local[p] == most;
    const T of_most = sigma * along / T(std::max<std::int64_t>(ties, 1));
    for (std::int64_t p = 0; p < count; ++p) {
      pooled[p] = (rest * pooled[p] + (local[p] == most ? of_most : T(0))) / T(channels);
    }

    for (std::int64_t c = 0; c < channels; ++c) {
      const T* u = job.u + first + c * count;
      each(map, [&](std::int64_t p) { store<T, L<T>>(y + p, relu<T>(map.load_at(u, p))); });
      if (job.window == 3) {
        // a maximum of zero has no gradient behind a ReLU, so that it may be routed anywhere outside positive numbers
        each(map, [&](std::int64_t p) {
          M<T> where;
          store<T, L<T>>(rows + p, first_largest<T>(map.left(y, p), load<T, L<T>>(y + p), map.right(y, p), where));
          store<Bits<T>, L<T>>(in_row + p, where);
        });
        each(map, [&](std::int64_t p) {
          const V<T> above = load<T, L<T>>(rows + p - width), below = load<T, L<T>>(rows + p + width);
          M<T> where;
          first_largest<T>(above, load<T, L<T>>(rows + p), below, where);
          store<Bits<T>, L<T>>(in_column + p, where);
        });
        each(map, [&](std::int64_t p) {
          store<T, L<T>>(routed + p, if_chosen<T>(in_column, pooled, p + width, -1) + if_chosen<T>(in_column, pooled, p, 0) +
                                         if_chosen<T>(in_column, pooled, p - width, 1));
        });
      }
      each(map, [&](std::int64_t p) {
        const V<T> value = load<T, L<T>>(y + p), z = value / load<T, L<T>>(divisor + p);
        V<T> d = through_gate(c, p, z) * load<T, L<T>>(inverse + p);
        if (job.window == 1) {
          d += load<T, L<T>>(pooled + p);
        } else {
          d += masked<T>(if_chosen<T>(in_row, routed, p + 1, -1), load<Bits<T>, L<T>>(map.from_right + p)) +
               if_chosen<T>(in_row, routed, p, 0) +
               masked<T>(if_chosen<T>(in_row, routed, p - 1, 1), load<Bits<T>, L<T>>(map.from_left + p));
        }
        map.store_at(job.du + first + c * count, p, value <= V<T>{} ? V<T>{} : d);
      });
    }
  }
}

}  // namespace

extern const DivisiveKernelSet divisive_kernels;
const DivisiveKernelSet divisive_kernels{{forward<float>, backward<float>}, {forward<double>, backward<double>}};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
