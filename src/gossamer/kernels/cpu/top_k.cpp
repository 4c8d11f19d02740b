// The k largest of each row, by bisection on whole numbers.
//
// Floating-point numbers and their bits, read as integers of the other order below zero, ascend together. So the largest
// threshold that at least k entries of a row reach is found bit by bit, each bit by counting: nothing is moved, nothing is
// predicted. The lanes of a vector are rows, or, of a single row, its entries.

#include "top_k.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>

#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

template <class T, int W>
Vec<Bits<T>, W> key(Vec<T, W> x, bool magnitude) {
  x += T(0);  // of the two zeros, the positive one
  Vec<Bits<T>, W> bits;
  std::memcpy(&bits, &x, sizeof bits);
  constexpr Bits<T> most = std::numeric_limits<Bits<T>>::max();
  return magnitude ? bits & most : bits ^ ((bits >> (8 * sizeof(T) - 1)) & most);
}

// The middle of two numbers, rounded up: neither sum nor difference overflows. The shift keeps the sign.
template <class I>
I middle(I low, I high) {
  return (low | high) - ((low ^ high) >> 1);
}

// x where `take` is -1, NaN where `none` is, else 0, without a branch: nothing predicts which.
template <class T>
T chosen(T x, Bits<T> take, Bits<T> none) {
  T result = std::numeric_limits<T>::quiet_NaN();
  Bits<T> bits, broken;
  std::memcpy(&bits, &x, sizeof bits);
  std::memcpy(&broken, &result, sizeof broken);
  bits = (bits & take) | (broken & none);
  std::memcpy(&result, &bits, sizeof bits);
  return result;
}

// W rows, entry u of row r at x + u * step + r * row_step; fewer, if `rows` says so.
template <class T, int W>
void some_rows(const TopK<T>& job, std::int64_t first, std::int64_t step, std::int64_t row_step, int rows,
               Bits<T>* keys) {
  using Ints = Vec<Bits<T>, W>;
  const T* const x = job.x + first;
  Ints low = broadcast<Bits<T>, W>(std::numeric_limits<Bits<T>>::max()), high = ~low, broken{};
  for (std::int64_t u = 0; u < job.n; ++u) {
    Vec<T, W> numbers;
    if (row_step == 1 && rows == W) {
      numbers = load<T, W>(x + u * step);
    } else {
      T found[W] = {};
      for (int r = 0; r < rows; ++r) found[r] = x[u * step + r * row_step];
      numbers = load<T, W>(found);
    }
    const Ints ordered = key<T, W>(numbers, job.magnitude);
    broken |= numbers != numbers;
    low = ordered < low ? ordered : low;
    high = ordered > high ? ordered : high;
    std::memcpy(keys + u * W, &ordered, sizeof ordered);
  }
  const auto at = [&](std::int64_t u) {
    Ints found;
    std::memcpy(&found, keys + u * W, sizeof found);
    return found;
  };
  const Ints wanted = broadcast<Bits<T>, W>(Bits<T>(job.k));
  for (bool open = true; open;) {
    const Ints trial = middle(low, high);
    Ints below[4] = {};
    std::int64_t u = 0;
    for (; u + 4 <= job.n; u += 4)
      for (int i = 0; i < 4; ++i) below[i] -= at(u + i) < trial;
    for (; u < job.n; ++u) below[0] -= at(u) < trial;
    const Ints count = Bits<T>(job.n) - ((below[0] + below[1]) + (below[2] + below[3]));
    const Ints enough = count >= wanted, exact = count == wanted;
    high = exact ? trial : enough ? high : trial - 1;
    low = enough ? trial : low;
    const Ints still = low < high;
    Bits<T> lanes[W], any = 0;
    std::memcpy(lanes, &still, sizeof still);
    for (int r = 0; r < W; ++r) any |= lanes[r];
    open = any != 0;
  }
  Ints room = wanted;  // for entries that equal the threshold
  for (std::int64_t u = 0; u < job.n; ++u) room += at(u) > low;
  T* const y = job.y + first;
  std::uint8_t* const kept = job.kept ? job.kept + first : nullptr;
  const Vec<T, W> nothing = broken != 0 ? broadcast<T, W>(std::numeric_limits<T>::quiet_NaN()) : Vec<T, W>{};
  const bool beside = row_step == 1 && rows == W;
  for (std::int64_t u = 0; u < job.n; ++u) {
    const Ints level = (at(u) == low) & (room > 0);
    room += level;
    const Ints takes = ((at(u) > low) | level) & ~broken;
    if (beside) {
      store<T, W>(y + u * step, takes != 0 ? load<T, W>(x + u * step) : nothing);
      if (kept) {
        const Vec<std::uint8_t, W> bytes = __builtin_convertvector(takes & 1, Vec<std::uint8_t, W>);
        std::memcpy(kept + u * step, &bytes, sizeof bytes);
      }
      continue;
    }
    Bits<T> take[W], none[W];
    std::memcpy(take, &takes, sizeof takes);
    std::memcpy(none, &broken, sizeof broken);
    for (int r = 0; r < rows; ++r) {
      const std::int64_t where = u * step + r * row_step;
      y[where] = chosen(x[where], take[r], none[r]);
      if (kept) kept[where] = std::uint8_t(take[r] & 1);
    }
  }
}

// One row, entry u at x + u * step.
template <class T>
void one_row(const TopK<T>& job, std::int64_t first, std::int64_t step, Bits<T>* keys) {
  const T* const x = job.x + first;
  T* const y = job.y + first;
  std::uint8_t* const kept = job.kept ? job.kept + first : nullptr;
  Bits<T> low = std::numeric_limits<Bits<T>>::max(), high = ~low;
  bool broken = false;
  for (std::int64_t u = 0; u < job.n; ++u) {
    keys[u] = key<T, 1>(x[u * step], job.magnitude);
    broken |= x[u * step] != x[u * step];
    low = std::min(low, keys[u]);
    high = std::max(high, keys[u]);
  }
  while (low < high && !broken) {
    const Bits<T> trial = middle(low, high);
    std::int64_t count = 0;
    for (std::int64_t begin = 0; begin < job.n; begin += 1 << 20) {  // in the narrower type, which more lanes hold
      Bits<T> part = 0;
      for (std::int64_t u = begin; u < std::min<std::int64_t>(job.n, begin + (1 << 20)); ++u) part += keys[u] >= trial;
      count += part;
    }
    if (count >= job.k) {
      low = trial;
      if (count == job.k) high = trial;
    } else {
      high = trial - 1;
    }
  }
  std::int64_t room = job.k;
  for (std::int64_t u = 0; u < job.n; ++u) room -= keys[u] > low;
  for (std::int64_t u = 0; u < job.n; ++u) {
    const bool level = keys[u] == low && room > 0, take = !broken && (keys[u] > low || level);
    room -= level;
    y[u * step] = chosen(x[u * step], -Bits<T>(take), -Bits<T>(broken));
    if (kept) kept[u * step] = take;
  }
}

template <class T>
void forward(const TopK<T>& job, std::int64_t begin, std::int64_t end) {
  constexpr int W = kLanes<T>;
  const std::unique_ptr<Bits<T>[]> keys(new Bits<T>[std::size_t(job.n * W)]);
  while (begin < end) {
    const std::int64_t outer = begin / job.inner, inside = begin % job.inner;
    const std::int64_t beside = job.inner == 1 ? end - begin : std::min(end - begin, job.inner - inside);
    const int rows = int(std::min<std::int64_t>(W, beside));
    const std::int64_t first = outer * job.n * job.inner + inside, row_step = job.inner == 1 ? job.n : 1;
    if (2 * rows <= W / 2) {  // of so few, the lanes would be mostly empty
      for (int r = 0; r < rows; ++r) one_row(job, first + r * row_step, job.inner, keys.get());
    } else {
      some_rows<T, W>(job, first, job.inner, row_step, rows, keys.get());
    }
    begin += rows;
  }
}

template <class T>
void backward(const std::uint8_t* kept, const T* g, T* out, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) out[i] = kept[i] ? g[i] : T(0);
}

}  // namespace

extern const TopKKernelSet top_k_kernels;
const TopKKernelSet top_k_kernels{{forward<float>, backward<float>}, {forward<double>, backward<double>}};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
