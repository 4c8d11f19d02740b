// f and its gradients, a vector at a time: of one unit where its values lie side by side, of several units otherwise.

#include "srelu.h"

#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

template <class T, int W>
struct Pieces {
  Vec<T, W> t_l, a_l, t_r, a_r, knee;

  // Of W units, or of one unit in all lanes.
  Pieces(const SreluPieces<T>& from, std::int64_t unit, bool same) {
    const auto read = [&](const T* p) { return same ? broadcast<T, W>(p[unit]) : load<T, W>(p + unit); };
    t_l = read(from.t_l), a_l = read(from.a_l), t_r = read(from.t_r), a_r = read(from.a_r);
    knee = t_l + (t_r < Vec<T, W>{} ? -t_r : t_r);
  }

  Vec<T, W> value(Vec<T, W> x) const {
    const Vec<T, W> low = t_l + a_l * (x - t_l), high = knee + a_r * (x - knee);
    return x <= t_l ? low : (x >= knee ? high : x);
  }
};

template <class T, int W>
struct Sums {  // over the values of a lane: d and d (x − knot) left of t_l, and right of T
  Vec<T, W> left{}, left_x{}, right{}, right_x{};

  Vec<T, W> add(const Pieces<T, W>& p, Vec<T, W> d, Vec<T, W> x) {
    const Vec<T, W> zero{}, d_lo = x <= p.t_l ? d : zero, d_hi = x <= p.t_l ? zero : (x >= p.knee ? d : zero);
    left += d_lo;
    right += d_hi;
    left_x += x <= p.t_l ? d * (x - p.t_l) : zero;
    right_x += x <= p.t_l ? zero : (x >= p.knee ? d * (x - p.knee) : zero);
    return x <= p.t_l ? d * p.a_l : (x >= p.knee ? d * p.a_r : d);
  }

  void operator+=(const Sums& other) {
    left += other.left, left_x += other.left_x, right += other.right, right_x += other.right_x;
  }

  void write(const Pieces<T, W>& p, const SreluBackward<T>& job, std::int64_t unit) const {
    const Vec<T, W> zero{}, one = broadcast<T, W>(T(1));
    const Vec<T, W> sign = p.t_r > zero ? one : (p.t_r < zero ? -one : zero);
    store<T, W>(job.dt_l + unit, (one - p.a_l) * left + (one - p.a_r) * right);
    store<T, W>(job.da_l + unit, left_x);
    store<T, W>(job.dt_r + unit, sign * (one - p.a_r) * right);
    store<T, W>(job.da_r + unit, right_x);
  }
};

template <class T, int W>
Sums<T, 1> over_lanes(const Sums<T, W>& s) {
  Sums<T, 1> total;
  for (int lane = 0; lane < W; ++lane) {
    total += Sums<T, 1>{s.left[lane], s.left_x[lane], s.right[lane], s.right_x[lane]};
  }
  return total;
}

constexpr auto kOne = std::integral_constant<int, 1>();

// Calls work(first, width) for [begin, end) in whole vectors and then single elements.
template <class T, class Work>
void by_vectors(std::int64_t begin, std::int64_t end, const Work& work) {
  constexpr int W = kLanes<T>;
  for (; begin + W <= end; begin += W) work(begin, std::integral_constant<int, W>());
  for (; begin < end; ++begin) work(begin, kOne);
}

template <class T>
void forward(const SreluForward<T>& job, std::int64_t begin, std::int64_t end) {
  const auto [outer, units, inner] = job.shape;
  if (inner == 1) {
    by_vectors<T>(begin, end, [&, outer = outer, units = units](std::int64_t unit, auto width) {
      constexpr int W = width();
      const Pieces<T, W> pieces(job.pieces, unit, false);
      for (std::int64_t at = unit; at < outer * units; at += units) {
        store<T, W>(job.y + at, pieces.value(load<T, W>(job.x + at)));
      }
    });
    return;
  }
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t first = (o * units + unit) * inner;
      by_vectors<T>(first, first + inner, [&](std::int64_t at, auto width) {
        constexpr int W = width();
        store<T, W>(job.y + at, Pieces<T, W>(job.pieces, unit, true).value(load<T, W>(job.x + at)));
      });
    }
  }
}

template <class T>
void backward(const SreluBackward<T>& job, std::int64_t begin, std::int64_t end) {
  constexpr int V = kLanes<T>;
  const auto [outer, units, inner] = job.shape;
  if (inner == 1) {
    by_vectors<T>(begin, end, [&, outer = outer, units = units](std::int64_t unit, auto width) {
      constexpr int W = width();
      const Pieces<T, W> pieces(job.pieces, unit, false);
      Sums<T, W> sums;
      for (std::int64_t at = unit; at < outer * units; at += units) {
        store<T, W>(job.dx + at, sums.add(pieces, load<T, W>(job.d + at), load<T, W>(job.x + at)));
      }
      sums.write(pieces, job, unit);
    });
    return;
  }
  for (std::int64_t unit = begin; unit < end; ++unit) {
    const Pieces<T, V> wide(job.pieces, unit, true);
    const Pieces<T, 1> single(job.pieces, unit, true);
    Sums<T, V> sums;
    Sums<T, 1> rest;
    for (std::int64_t o = 0; o < outer; ++o) {
      const std::int64_t first = (o * units + unit) * inner;
      by_vectors<T>(first, first + inner, [&](std::int64_t at, auto width) {
        constexpr int W = width();
        const Vec<T, W> d = load<T, W>(job.d + at), x = load<T, W>(job.x + at);
        if constexpr (W == 1) {
          job.dx[at] = rest.add(single, d, x);
        } else {
          store<T, W>(job.dx + at, sums.add(wide, d, x));
        }
      });
    }
    rest += over_lanes<T, V>(sums);
    rest.write(single, job, unit);
  }
}

}  // namespace

extern const SreluKernelSet srelu_kernels;
const SreluKernelSet srelu_kernels{{forward<float>, backward<float>}, {forward<double>, backward<double>}};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
