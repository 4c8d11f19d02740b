// Steps of recurrent layers and their gradients, a vector of samples of one unit at a time.

#include "recurrent.h"

#include <cstring>
#include <type_traits>

#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

template <class T, int terms>
struct ReciprocalFactorials {  // 1/1!, …, 1/terms!
  T of[terms + 1];
  constexpr ReciprocalFactorials() : of() {
    double factorial = 1;
    for (int k = 1; k <= terms; ++k) of[k] = T(1 / (factorial *= k));
  }
};

// exp(x) − 1 without cancellation near 0, for |x| <= limit; beyond it that of the limit. With x = n ln 2 + r,
// |r| <= ln 2 / 2, it is 2^n (exp(r) − 1) + (2^n − 1), and exp(r) − 1 is its Taylor series.
template <class T, int W>
inline Vec<T, W> exp_minus_one(Vec<T, W> x) {
  constexpr bool single = sizeof(T) == 4;
  constexpr T limit = single ? T(87) : T(708);
  constexpr int terms = single ? 7 : 13, mantissa = single ? 23 : 52;
  constexpr T shift = T(3) * T(Bits<T>(1) << (mantissa - 1));  // adding it leaves an integer in the lowest bits
  constexpr T high = single ? T(0.693359375) : T(0x1.62e42fee00000p-1);  // ln 2 in two parts: n * high is exact
  constexpr T low = single ? T(-2.12194440054690583e-4) : T(0x1.a39ef35793c76p-33);
  constexpr ReciprocalFactorials<T, terms> factor;
  x = x > limit ? broadcast<T, W>(limit) : x;  // a NaN stays one
  x = x < -limit ? broadcast<T, W>(-limit) : x;
  const Vec<T, W> shifted = x * T(1.44269504088896340736) + shift, n = shifted - shift;
  const Vec<T, W> r = (x - n * high) - n * low;
  Vec<T, W> sum = broadcast<T, W>(factor.of[terms]);
  for (int k = terms - 1; k >= 1; --k) sum = sum * r + factor.of[k];
  Vec<Bits<T>, W> bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  const T one = 1;
  Bits<T> unit;
  std::memcpy(&unit, &one, sizeof unit);
  bits = (bits << mantissa) + unit;
  Vec<T, W> power;  // 2^n
  std::memcpy(&power, &bits, sizeof power);
  return power * (sum * r) + (power - one);
}

template <class T, int W>
inline Vec<T, W> sigmoid(Vec<T, W> x) {
  return T(1) / (exp_minus_one<T, W>(-x) + T(2));
}

template <class T, int W>
inline Vec<T, W> tanh(Vec<T, W> x) {
  const Vec<T, W> e = exp_minus_one<T, W>(x + x);
  return e / (e + T(2));
}

// Calls work(unit, sample, width) for all samples of the units, in vectors as wide as there are samples left.
template <int W, class Work>
inline void samples_from(std::int64_t at, std::int64_t batch, const Work& work) {
  for (; at + W <= batch; at += W) work(at, std::integral_constant<int, W>());
  if constexpr (W > 1) {
    if (at < batch) samples_from<W / 2>(at, batch, work);
  }
}

template <class T, class Job, class Work>
inline void over(const Job& job, std::int64_t begin, std::int64_t end, const Work& work) {
  for (std::int64_t unit = begin; unit < end; ++unit) {
    samples_from<kLanes<T>>(0, job.batch, [&](std::int64_t at, auto width) { work(unit, at, width); });
  }
}

// Of one (unit, sample): gate g in a sequence and in compact memory.
template <class T, class Job>
struct Place {
  const Job& job;
  std::int64_t unit, at;
  template <class U>
  U* in(const Block<U>& block, int gate = 0) const {
    return block.data + (gate * job.units + unit) * block.stride + at;
  }
  template <class U>
  U* in(U* compact, int gate = 0) const {
    return compact + (gate * job.units + unit) * job.batch + at;
  }
};

template <class T>
void lstm(const LstmForward<T>& job, std::int64_t begin, std::int64_t end) {
  over<T>(job, begin, end, [&](std::int64_t unit, std::int64_t at, auto width) {
    constexpr int W = width();
    using Vector = Vec<T, W>;
    const Place<T, LstmForward<T>> p{job, unit, at};
    const auto sum = [&](int gate) { return load<T, W>(p.in(job.x, gate)) + load<T, W>(p.in(job.recurrent, gate)); };
    const Vector i = sigmoid<T, W>(sum(0)), f = sigmoid<T, W>(sum(1)), g = tanh<T, W>(sum(2)), o = sigmoid<T, W>(sum(3));
    const Vector c = f * load<T, W>(p.in(job.before)) + i * g, h = o * tanh<T, W>(c);
    const Vector gates[4] = {i, f, g, o};
    for (int gate = 0; gate < 4; ++gate) store<T, W>(p.in(job.gates, gate), gates[gate]);
    store<T, W>(p.in(job.cells), c);
    store<T, W>(p.in(job.y), h);
    store<T, W>(p.in(job.h), h);
  });
}

template <class T>
void lstm_backward(const LstmBackward<T>& job, std::int64_t begin, std::int64_t end) {
  over<T>(job, begin, end, [&](std::int64_t unit, std::int64_t at, auto width) {
    constexpr int W = width();
    using Vector = Vec<T, W>;
    const Place<T, LstmBackward<T>> p{job, unit, at};
    const auto gate = [&](int number) { return load<T, W>(p.in(job.gates, number)); };
    const Vector i = gate(0), f = gate(1), g = gate(2), o = gate(3), u = tanh<T, W>(load<T, W>(p.in(job.cells)));
    const Vector dh = load<T, W>(p.in(job.dy)) + load<T, W>(p.in(job.dh));
    const Vector dc = load<T, W>(p.in(job.dc)) + dh * o * (T(1) - u * u);
    const Vector dx[4] = {dc * g * i * (T(1) - i), dc * load<T, W>(p.in(job.before)) * f * (T(1) - f),
                          dc * i * (T(1) - g * g), dh * u * o * (T(1) - o)};
    for (int number = 0; number < 4; ++number) {
      store<T, W>(p.in(job.dx, number), dx[number]);
      store<T, W>(p.in(job.drecurrent, number), dx[number]);
    }
    store<T, W>(p.in(job.dc), dc * f);
  });
}

template <class T>
void gru(const GruForward<T>& job, std::int64_t begin, std::int64_t end) {
  over<T>(job, begin, end, [&](std::int64_t unit, std::int64_t at, auto width) {
    constexpr int W = width();
    using Vector = Vec<T, W>;
    const Place<T, GruForward<T>> p{job, unit, at};
    const auto x = [&](int gate) { return load<T, W>(p.in(job.x, gate)); };
    const auto own = [&](int gate) { return load<T, W>(p.in(job.recurrent, gate)); };
    const Vector r = sigmoid<T, W>(x(0) + own(0)), z = sigmoid<T, W>(x(1) + own(1)), inner = own(2);
    const Vector n = tanh<T, W>(x(2) + r * inner), h = n + z * (load<T, W>(p.in(job.h)) - n);
    const Vector gates[4] = {r, z, n, inner};
    for (int gate = 0; gate < 4; ++gate) store<T, W>(p.in(job.gates, gate), gates[gate]);
    store<T, W>(p.in(job.y), h);
    store<T, W>(p.in(job.h), h);
  });
}

template <class T>
void gru_backward(const GruBackward<T>& job, std::int64_t begin, std::int64_t end) {
  over<T>(job, begin, end, [&](std::int64_t unit, std::int64_t at, auto width) {
    constexpr int W = width();
    using Vector = Vec<T, W>;
    const Place<T, GruBackward<T>> p{job, unit, at};
    const auto gate = [&](int number) { return load<T, W>(p.in(job.gates, number)); };
    const Vector r = gate(0), z = gate(1), n = gate(2), inner = gate(3);
    const Vector dh = load<T, W>(p.in(job.dy)) + load<T, W>(p.in(job.dh)) + load<T, W>(p.in(job.direct));
    const Vector dn = dh * (T(1) - z) * (T(1) - n * n);
    const Vector dr = dn * inner * r * (T(1) - r), dz = dh * (load<T, W>(p.in(job.before)) - n) * z * (T(1) - z);
    const Vector dx[3] = {dr, dz, dn}, own[3] = {dr, dz, dn * r};
    for (int number = 0; number < 3; ++number) {
      store<T, W>(p.in(job.dx, number), dx[number]);
      store<T, W>(p.in(job.drecurrent_all, number), own[number]);
      store<T, W>(p.in(job.drecurrent, number), own[number]);
    }
    store<T, W>(p.in(job.direct), dh * z);
  });
}

}  // namespace

extern const RecurrentKernelSet recurrent_kernels;
const RecurrentKernelSet recurrent_kernels{{lstm<float>, lstm_backward<float>, gru<float>, gru_backward<float>},
                                           {lstm<double>, lstm_backward<double>, gru<double>, gru_backward<double>}};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
