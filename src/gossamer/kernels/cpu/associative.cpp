// The online rule. All weights and steps are multiples of a quantum so small that their sums are exact in float64, in
// any order: so fields are updated by what changed, in whatever way is cheapest, and equal X J to the last bit.
//
// With k the class of a weight before a step, sign(J) if the l1 step moves it and 0 otherwise, most weights change by
// kick * X - c * k. So the fields change by
//     kick * (number of kicked weights that a pattern reads) - c * T + (the rest),   T = X k
// where counts are sums of bytes and the rest, some weights that were eliminated, revived or parked, are added one by one.

#include "associative.h"

#include <cmath>

#include "associative_lanes.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

using std::int32_t;
using std::int64_t;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;

constexpr uint32_t kPick = 1, kGap = 2;  // uses of random numbers, the last word of a counter
constexpr int kPatience = 256;           // steps between looks at the clock

inline Doubles sign_of(Doubles value, Longs which) { return where(which, value < all(0) ? all(-1) : all(1)); }

struct List {
  int32_t* items;
  int64_t size = 0;
  void add(int32_t item) { items[size++] = item; }
};

// Calls work(index) for every bit that is set.
template <class Work>
inline void each_bit(const uint64_t* words, int64_t bits, const Work& work) {
  for (int64_t word = 0; word < bits / 64; ++word) {
    for (uint64_t rest = words[word]; rest; rest &= rest - 1) work(int32_t(word * 64) + __builtin_ctzll(rest));
  }
}

// The index of bit number rank among those that are set.
inline int64_t select(const uint64_t* words, int64_t rank) {
  int64_t word = 0;
  for (int64_t here; rank >= (here = __builtin_popcountll(words[word])); ++word) rank -= here;
  uint64_t rest = words[word];
  while (rank--) rest &= rest - 1;
  return word * 64 + __builtin_ctzll(rest);
}

template <bool older>
class Learner {
 public:
  Learner(const OnlineSettings& settings, const Patterns& patterns, const OnlineUnit& unit, const OnlineScratch& own)
      : set_(settings), x_(patterns), unit_(unit), own_(own), n_(patterns.n), m_(patterns.m) {
    for (int64_t i = 0; i < n_; ++i) {
      const bool is = i < set_.n;
      own_.j[i] = is ? unit_.weights[i] + 0.0 : 0;
      own_.delta[i] = is ? unit_.delta[i] : 0;
      own_.signs[i] = is && unit_.signs ? unit_.signs[i] : 0;
      own_.none[i] = 0;
    }
    for (int64_t row = 0; row < m_; ++row) {
      own_.target[row] = row >= set_.m ? 0 : unit_.targets[row] ? 1 : -1;
      own_.field[row] = 0;
      own_.total[row] = 0;
    }
  }

  void run() {
    begin();
    auto status = OnlineStatus::running;
    for (int64_t count = 0;; ++count) {
      if (set_.every && steps_ % set_.every == 0) record();
      if (done()) {
        status = OnlineStatus::success;
      } else if (steps_ >= set_.max_steps) {
        status = OnlineStatus::out_of_steps;
      } else if (!(sum_ <= unit_.bound)) {
        status = OnlineStatus::diverged;
      }
      if (status != OnlineStatus::running) break;
      if (count % kPatience == kPatience - 1 && set_.expired(set_)) break;
      step();
      ++steps_;
    }
    for (int64_t i = 0; i < set_.n; ++i) unit_.weights[i] = own_.j[i];
    *unit_.steps = steps_;
    *unit_.status = int32_t(status);
    unit_.report[0] = double(wrong_), unit_.report[1] = double(wrong_signs_), unit_.report[2] = double(in_gap_);
    unit_.report[3] = mean();
  }

 private:
  double mean() const { return sum_ / double(set_.n); }

  bool done() const {
    return wrong_ == 0 && wrong_signs_ == 0 && in_gap_ == 0 && std::fabs(mean() / unit_.w - 1) <= set_.tolerance;
  }

  // +1 or -1 for a weight that the l1 step moves; in the older rule a zero weight stays zero by clipping.
  Doubles class_of(Doubles j, Doubles delta) const {
    Longs moved = j != all(0);
    if (!older) moved &= magnitude(j) != delta;
    return sign_of(j, moved);
  }

  // Everything that follows from the weights.
  void begin() {
    steps_ = *unit_.steps;
    List singles{own_.singles}, up{own_.up}, down{own_.down};
    for (int64_t i = 0; i < set_.n; ++i) {
      const double j = own_.j[i], size = std::fabs(j), delta = own_.delta[i];
      sum_ += size;
      wrong_signs_ += j * own_.signs[i] < 0;
      in_gap_ += size > 0 && size < delta;
      own_.change[i] = j;
      if (j != 0) singles.add(int32_t(i));
      if (j != 0 && (older || size != delta)) (j > 0 ? up : down).add(int32_t(i));
    }
    add_columns(up, 1, own_.total);
    add_columns(down, -1, own_.total);
    add_singles(singles);
    find_violated();
  }

  void record() {
    int64_t zeros = 0;
    for (int64_t i = 0; i < set_.n; ++i) zeros += own_.j[i] == 0;
    double* at = unit_.history + 3 * (steps_ / set_.every - set_.first_record);
    at[0] = double(wrong_), at[1] = double(zeros) / double(set_.n), at[2] = mean() / unit_.w;
  }

  void step() {
    const bool any = wrong_ > 0;
    double kick = 0;
    const uint8_t* row = own_.none;
    if (any) {
      const uint32_t random = Philox::first_word(0, uint32_t(steps_), uint32_t(uint64_t(steps_) >> 32), kPick, unit_.seed);
      const int64_t pattern = select(own_.violated, int64_t((uint64_t(random) * uint64_t(wrong_)) >> 32));
      row = x_.rows + pattern * n_;
      kick = unit_.kick * own_.target[pattern];
    }
    const bool moves = perceptron(row, kick, unit_.signs && any) || older;
    double c = 0;
    if (moves) c = std::nearbyint(set_.rate * (mean() - unit_.w) / unit_.quantum) * unit_.quantum;
    l1_and_gap(row, kick, c, unit_.signs && moves);
    if (!older) revive();
    follow(kick, c);
  }

  // next = J + kick X, clipped; whether the l1 step moves any of them.
  bool perceptron(const uint8_t* row, double kick, bool clip) {
    Doubles sum{};
    Longs any{};
    for (int64_t i = 0; i < n_; i += kDoubles) {
      Doubles j = load_doubles(&own_.j[i]) + kick * load_bytes(row + i);
      if (clip) j = where(~(j * load_doubles(&own_.signs[i]) < all(0)), j);
      const Doubles size = magnitude(j);
      sum += size;
      any |= (size != all(0)) & (size != load_doubles(&own_.delta[i]));
      store<double, kDoubles>(&own_.next[i], j);
    }
    sum_ = 0;
    for (int lane = 0; lane < kDoubles; ++lane) sum_ += sum[lane];
    return bits_of(any) != 0;
  }

  // J = next - c sign(next), clipped, zero where it is in the gap; and how J changed.
  void l1_and_gap(const uint8_t* row, double kick, double c, bool clip) {
    Doubles sum{};
    wrong_signs_ = 0;
    for (int64_t word = 0; word < n_ / 64; ++word) {
      uint64_t kicked = 0, singly = 0, classes = 0, gap = 0, wrong = 0;
      for (int part = 0; part < 64; part += kDoubles) {
        const int64_t i = 64 * word + part;
        const Doubles before = load_doubles(&own_.j[i]), delta = load_doubles(&own_.delta[i]), sign = load_doubles(&own_.signs[i]);
        Doubles j = load_doubles(&own_.next[i]);
        j -= c * (older ? sign : class_of(j, delta));
        if (clip) j = where(~(j * sign < all(0)), j);
        const Doubles size = magnitude(j);
        const Longs small = (size != all(0)) & (size < delta);
        store<double, kDoubles>(&own_.next[i], j);
        j = where(~small, j);
        sum += magnitude(j);
        store<double, kDoubles>(&own_.j[i], j);
        const Doubles was = class_of(before, delta), turned = class_of(j, delta) - was;
        const Doubles change = (j - before) + c * was;
        store<double, kDoubles>(&own_.change[i], change);
        store<double, kDoubles>(&own_.turned[i], turned);
        const Longs with_kick = (load_bytes(row + i) != all(0)) & (change == all(kick));
        kicked |= bits_of(with_kick) << part;
        singly |= bits_of((change != all(0)) & ~with_kick) << part;
        classes |= bits_of(turned != all(0)) << part;
        gap |= bits_of(small) << part;
        wrong |= bits_of(j * sign < all(0)) << part;
      }
      own_.kicked[word] = kicked, own_.singly[word] = singly, own_.classes[word] = classes;
      own_.gap[word] = gap;
      wrong_signs_ += __builtin_popcountll(wrong);
    }
    sum_ = 0;
    for (int lane = 0; lane < kDoubles; ++lane) sum_ += sum[lane];
    in_gap_ = 0;
  }

  // Of the weights in the gap, which are zero by now, some are set to its edge, on either side.
  void revive() {
    int64_t candidates = 0;
    for (int64_t word = 0; word < n_ / 64; ++word) candidates += __builtin_popcountll(own_.gap[word]);
    const int64_t low = set_.chance, high = (int64_t(1) << 32) - low;
    if (low == 0) return;
    Words blocks{};
    for (int lane = 0; lane < kDoubles; ++lane) blocks[lane] = uint64_t(lane);
    const Words zero{}, steps = zero + uint64_t(uint32_t(steps_)), far = zero + (uint64_t(steps_) >> 32);
    for (int64_t first = 0; 4 * first < candidates; first += kDoubles) {
      Words c[4] = {blocks + uint64_t(first), steps, far, zero + uint64_t(kGap)};
      Philox::mix(c, unit_.seed);
      for (int word = 0; word < 4; ++word) {
        const Longs random = same_bits<Longs>(c[word] & uint64_t(0xffffffffu));
        const uint64_t flips = bits_of(random < Longs{} + low);
        for (uint64_t rest = flips | bits_of(random >= Longs{} + high); rest; rest &= rest - 1) {
          const int lane = __builtin_ctzll(rest);
          const int64_t rank = 4 * (first + lane) + word;
          if (rank < candidates) revive(select(own_.gap, rank), (flips >> lane) & 1);
        }
      }
    }
  }

  void revive(int64_t i, bool flip) {
    const double j = (own_.next[i] < 0) != flip ? -own_.delta[i] : own_.delta[i];
    own_.j[i] = j;
    sum_ += own_.delta[i];
    wrong_signs_ += j * own_.signs[i] < 0;
    own_.change[i] += j;
    const uint64_t bit = uint64_t(1) << (i % 64);
    own_.kicked[i / 64] &= ~bit;
    own_.singly[i / 64] = own_.change[i] != 0 ? own_.singly[i / 64] | bit : own_.singly[i / 64] & ~bit;
  }

  // The fields, after a step.
  void follow(double kick, double c) {
    List kicks{own_.kicks}, singles{own_.singles}, up{own_.up}, down{own_.down};
    if (kick != 0) each_bit(own_.kicked, n_, [&](int32_t i) { kicks.add(i); });
    each_bit(own_.singly, n_, [&](int32_t i) { singles.add(i); });
    each_bit(own_.classes, n_, [&](int32_t i) {
      List& list = own_.turned[i] > 0 ? up : down;
      list.add(i);
      if (std::fabs(own_.turned[i]) > 1) list.add(i);
    });
    for (int64_t row = 0; row < m_; ++row) own_.count[row] = 0;
    add_columns(kicks, 1, own_.count);
    for (int64_t row = 0; row < m_; ++row) own_.field[row] += kick * own_.count[row] - c * own_.total[row];
    add_singles(singles);
    add_columns(up, 1, own_.total);
    add_columns(down, -1, own_.total);
    find_violated();
  }

  // out += sign * (the sum of columns), in bytes as long as those hold it.
  void add_columns(const List& list, int32_t sign, int32_t* out) const {
    constexpr int kBytes = kVectorBytes, kParts = 64 / kVectorBytes;
    using Bytes = Vec<uint8_t, kBytes>;
    for (int64_t first = 0; first < list.size; first += 255) {
      const int64_t last = first + 255 < list.size ? first + 255 : list.size;
      for (int64_t row = 0; row < m_; row += 64) {
        Bytes sums[kParts] = {};
        for (int64_t entry = first; entry < last; ++entry) {
          const uint8_t* column = x_.columns + list.items[entry] * m_ + row;
          for (int part = 0; part < kParts; ++part) sums[part] += load<uint8_t, kBytes>(column + part * kBytes);
        }
        uint8_t counts[64];
        std::memcpy(counts, sums, 64);
        for (int at = 0; at < 64; ++at) out[row + at] += sign * int32_t(counts[at]);
      }
    }
  }

  // field += the sum of columns times the change of each.
  void add_singles(const List& list) {
    constexpr int kTile = 64 / kDoubles < 8 ? 64 / kDoubles : 8;
    for (int64_t row = 0; row < m_ && list.size; row += kTile * kDoubles) {
      Doubles sums[kTile];
      for (int part = 0; part < kTile; ++part) sums[part] = load_doubles(own_.field + row + part * kDoubles);
      for (int64_t entry = 0; entry < list.size; ++entry) {
        const uint8_t* column = x_.columns + list.items[entry] * m_ + row;
        const Doubles change = all(own_.change[list.items[entry]]);
        for (int part = 0; part < kTile; ++part) sums[part] += change * load_bytes(column + part * kDoubles);
      }
      for (int part = 0; part < kTile; ++part) store<double, kDoubles>(own_.field + row + part * kDoubles, sums[part]);
    }
  }

  void find_violated() {
    wrong_ = 0;
    for (int64_t word = 0; word < m_ / 64; ++word) {
      uint64_t bits = 0;
      for (int part = 0; part < 64; part += kDoubles) {
        const int64_t row = 64 * word + part;
        const Doubles margin = load_doubles(&own_.target[row]) * (load_doubles(&own_.field[row]) - all(unit_.threshold));
        bits |= bits_of(margin < all(unit_.robustness)) << part;
      }
      const int64_t left = set_.m - 64 * word;
      if (left < 64) bits &= (uint64_t(1) << left) - 1;
      own_.violated[word] = bits;
      wrong_ += __builtin_popcountll(bits);
    }
  }

  const OnlineSettings& set_;
  const Patterns& x_;
  const OnlineUnit& unit_;
  const OnlineScratch& own_;  // signs are 0 where there are none; changes are those beyond kick X - c k
  const int64_t n_, m_;       // padded
  int64_t steps_ = 0, wrong_ = 0, wrong_signs_ = 0, in_gap_ = 0;
  double sum_ = 0;  // of |J|
};

void learn(const OnlineSettings& settings, const Patterns& patterns, const OnlineUnit& unit, const OnlineScratch& own) {
  if (settings.older) {
    Learner<true>(settings, patterns, unit, own).run();
  } else {
    Learner<false>(settings, patterns, unit, own).run();
  }
}

}  // namespace

extern const OnlineKernels online_kernels;
const OnlineKernels online_kernels{learn};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
