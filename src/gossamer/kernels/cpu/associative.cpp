// The online rule. All weights and steps are multiples of a quantum so small that their sums are exact in float64, in
// any order: so fields are updated by what changed, in whatever way is cheapest, and equal X J to the last bit.
//
// With k the sign by which the l1 step moves a weight, and 0 for one that it leaves alone or that was eliminated since,
// most weights change by kick X - c k. So the fields change by
//     kick (number of kicked weights that a pattern reads) - c T + delta (number set to the edge) + (the rest),   T = X k
// where numbers are sums of bytes, T follows the few k that change, and only the rest, mostly weights that were
// eliminated, are added one by one.

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

struct List {
  int32_t* items;
  int64_t size = 0;
  void add(int32_t item) { items[size++] = item; }
};

// The bits that are set in a word of a longer row, as indices.
inline void add_bits(List& list, int64_t word, uint64_t bits) {
  for (; bits; bits &= bits - 1) list.add(int32_t(64 * word) + __builtin_ctzll(bits));
}

// How many of the numbers of a word are used, in whole vectors.
inline int part_of(int64_t size, int64_t word) {
  const int64_t left = size - 64 * word;
  return left < 64 ? int((left + kDoubles - 1) / kDoubles) * kDoubles : 64;
}

// The index of bit number rank among those that are set.
inline int64_t select(const uint64_t* words, int64_t rank) {
  int64_t word = 0;
  for (int64_t here; rank >= (here = __builtin_popcountll(words[word])); ++word) rank -= here;
  return word * 64 + __builtin_ctzll(deposit(uint64_t(1) << rank, words[word]));
}

enum class Kind { free, gap, older };  // no gap anywhere; some gap; the rule of 2019

template <Kind kind, bool has_signs>
class Learner {
 public:
  Learner(const OnlineSettings& settings, const Patterns& patterns, const OnlineUnit& unit, const OnlineScratch& own)
      : set_(settings), x_(patterns), unit_(unit), own_(own), n_(patterns.n), m_(patterns.m), keys_(unit.seed), j_(own.j), after_(own.after) {
    edge_ = unit_.delta[0];
    for (int64_t i = 0; i < n_; ++i) {
      const bool is = i < set_.n;
      j_[i] = is ? unit_.weights[i] + 0.0 : 0;
      after_[i] = 0;
      own_.delta[i] = is ? unit_.delta[i] : 0;
      own_.signs[i] = is && has_signs ? unit_.signs[i] : 0;
      own_.none[i] = 0;
      if (is && unit_.delta[i] != edge_) edge_ = -1;  // of several sizes: no change equals it
    }
    for (int64_t word = 0; word < n_ / 64; ++word) own_.up[word] = own_.down[word] = own_.connected[word] = 0;
    for (int64_t row = 0; row < m_; ++row) {
      own_.target[row] = row >= set_.m ? 0 : unit_.targets[row] ? 1 : -1;
      own_.field[row] = 0;
      own_.total[row] = own_.count[row] = own_.edges[row] = 0;
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
    for (int64_t i = 0; i < set_.n; ++i) unit_.weights[i] = j_[i];
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

  // Everything that follows from the weights. No weight counts as moved yet.
  void begin() {
    steps_ = *unit_.steps;
    List singles{own_.lists};
    for (int64_t i = 0; i < set_.n; ++i) {
      const double j = j_[i], size = std::fabs(j);
      sum_ += size;
      wrong_signs_ += j * own_.signs[i] < 0;
      in_gap_ += size > 0 && size < own_.delta[i];
      own_.change[i] = j;
      if (j == 0) continue;
      singles.add(int32_t(i));
      own_.connected[i / 64] |= uint64_t(1) << (i % 64);
    }
    add_singles(singles);
    change_fields(0, 0);
  }

  void record() {
    int64_t zeros = 0;
    for (int64_t i = 0; i < set_.n; ++i) zeros += j_[i] == 0;
    double* at = unit_.history + 3 * (steps_ / set_.every - set_.first_record);
    at[0] = double(wrong_), at[1] = double(zeros) / double(set_.n), at[2] = mean() / unit_.w;
  }

  void step() {
    const bool any = wrong_ > 0;
    double kick = 0;
    int64_t pattern = 0;
    const uint8_t* row = own_.none;
    if (any) {
      const uint32_t random = Philox::first_word(0, uint32_t(steps_), uint32_t(uint64_t(steps_) >> 32), kPick, unit_.seed);
      pattern = select(own_.violated, int64_t((uint64_t(random) * uint64_t(wrong_)) >> 32));
      row = x_.rows + pattern * n_;
      kick = unit_.kick * own_.target[pattern];
    }
    const bool moves = perceptron(row, kick, any);
    const double c = std::nearbyint(set_.rate * (mean() - unit_.w) / unit_.quantum) * unit_.quantum;
    for (List* list : {&rising_, &falling_, &gone_}) list->size = 0;
    l1_and_gap(any ? x_.bits + pattern * (n_ / 64) : nullptr, c, moves);
    if (kind == Kind::gap) revive();
    follow(pattern, kick, c);
  }

  // next = J + kick X, clipped; whether the l1 step moves any of them, where that matters.
  bool perceptron(const uint8_t* __restrict__ row, double kick, bool clip) {
    const double *__restrict__ now = j_, *__restrict__ signs = own_.signs, *__restrict__ deltas = own_.delta;
    double* __restrict__ next = own_.next;
    Doubles sum{};
    Longs any{};
    for (int64_t word = 0; word < n_ / 64; ++word) {
      uint64_t clipped = 0;
      for (int part = 0, end = part_of(set_.n, word); part < end; part += kDoubles) {
        const int64_t i = 64 * word + part;
        Doubles j = load_doubles(now + i) + kick * load_bytes(row + i);
        if (has_signs) {
          const Longs wrong = j * load_doubles(signs + i) < all(0);
          if (clip) {
            clipped |= bits_of(wrong) << part;
            j = where(~wrong, j);
          }
          any |= (j != all(0)) & (magnitude(j) != load_doubles(deltas + i));
        }
        sum += magnitude(j);
        store<double, kDoubles>(next + i, j);
      }
      own_.clipped[word] = clipped;
    }
    sum_ = sum_of(sum);
    return kind == Kind::older || bits_of(any) != 0;
  }

  // J = next - c k, clipped, zero where it is in the gap; and which of them changed otherwise than by kick X - c k.
  void l1_and_gap(const uint64_t* row, double c, bool clip) {
    const double *__restrict__ signs = own_.signs, *__restrict__ deltas = own_.delta;
    double *__restrict__ next = own_.next, *__restrict__ after = after_;
    Doubles sum{};
    wrong_signs_ = 0;
    for (int64_t word = 0; word < n_ / 64; ++word) {
      uint64_t moving = 0, negative = 0, nonzero = 0, staying = 0, clipped = own_.clipped[word];
      for (int part = 0, end = part_of(set_.n, word); part < end; part += kDoubles) {
        const int64_t i = 64 * word + part;
        Doubles sign{}, j = load_doubles(next + i), k;
        if (has_signs) sign = load_doubles(signs + i);
        Doubles delta{};
        if (kind == Kind::gap) delta = load_doubles(deltas + i);
        if (kind == Kind::older) {
          k = sign;
          moving |= bits_of(k != all(0)) << part;
        } else {
          const Doubles size = magnitude(j);
          Longs moves = size != all(0);
          if (kind == Kind::gap) moves &= size != delta;
          k = where(moves, sign_of(j));
          moving |= bits_of(moves) << part;
        }
        negative |= bits_of(same_bits<Longs>(k)) << part;  // -0 is none of them
        j -= c * k;
        if (has_signs && clip) {
          const Longs wrong = j * sign < all(0);
          clipped |= bits_of(wrong) << part;
          j = where(~wrong, j);
        }
        const Doubles size = magnitude(j);
        nonzero |= bits_of(size != all(0)) << part;
        if (kind == Kind::gap) {
          const Longs stays = size >= delta;
          staying |= bits_of(stays) << part;
          store<double, kDoubles>(next + i, j);
          j = where(stays, j);
          sum += where(stays, size);
        } else {
          sum += size;
        }
        store<double, kDoubles>(after + i, j);
      }
      const uint64_t gap = kind == Kind::gap ? nonzero & ~staying : 0, gone = gap | clipped;
      const uint64_t connected = nonzero & ~gap;  // in the older rule, some that were clipped first
      const uint64_t minus = moving & negative & ~gone, plus = moving & ~negative & ~gone;
      own_.gap[word] = gap;
      own_.kicked[word] = row ? row[word] & ~gone : 0;
      add_bits(rising_, word, plus & ~own_.up[word]);
      add_bits(rising_, word, own_.down[word] & ~minus);
      add_bits(falling_, word, minus & ~own_.down[word]);
      add_bits(falling_, word, own_.up[word] & ~plus);
      add_bits(gone_, word, gone & (own_.connected[word] | connected));
      own_.up[word] = plus, own_.down[word] = minus;
      own_.connected[word] = connected;
    }
    sum_ = sum_of(sum);
    in_gap_ = 0;
    double* before = j_;
    j_ = after_, after_ = before;
    if (has_signs && !clip) {
      for (int64_t i = 0; i < set_.n; ++i) wrong_signs_ += j_[i] * own_.signs[i] < 0;
    }
  }

  // Of the weights in the gap, which are zero by now, some are set to its edge, on either side.
  void revive() {
    int64_t candidates = 0;
    for (int64_t word = 0; word < n_ / 64; ++word) candidates += __builtin_popcountll(own_.gap[word]);
    const uint32_t low = set_.chance;
    if (low == 0) return;
    uint64_t *kept = own_.kept, *flipped = own_.flipped;  // by rank among the candidates
    for (int64_t word = 0; 64 * word < candidates; ++word) kept[word] = flipped[word] = 0;
    Words blocks{};
    for (int lane = 0; lane < kDoubles; ++lane) blocks[lane] = uint64_t(lane);
    const Words zero{}, steps = zero + uint64_t(uint32_t(steps_)), far = zero + (uint64_t(steps_) >> 32);
    const Longs end = Longs{} + int64_t(low);
    for (int64_t first = 0; 4 * first < candidates; first += kDoubles) {
      Words c[4] = {blocks + uint64_t(first), steps, far, zero + uint64_t(kGap)};
      keys_.mix(c);
      uint64_t high_bits = 0, low_bits = 0;
      for (int word = 0; word < 4; ++word) {  // rank 4 lane + word: kept at 2^32 - low and above, flipped below low
        const Words from = (c[word] + uint64_t(low)) & uint64_t(0xffffffffu), own = c[word] & uint64_t(0xffffffffu);
        high_bits |= deposit(bits_of(same_bits<Longs>(from) < end), 0x1111111111111111u) << word;
        low_bits |= deposit(bits_of(same_bits<Longs>(own) < end), 0x1111111111111111u) << word;
      }
      kept[4 * first / 64] |= high_bits << (4 * first % 64);
      flipped[4 * first / 64] |= low_bits << (4 * first % 64);
    }
    int64_t rank = 0;
    for (int64_t word = 0; rank < candidates; ++word) {
      const uint64_t gap = own_.gap[word], flips = deposit(bits_from(flipped, rank, candidates), gap);
      for (uint64_t rest = flips | deposit(bits_from(kept, rank, candidates), gap); rest; rest &= rest - 1) {
        const int bit = __builtin_ctzll(rest);
        revive(64 * word + bit, flips >> bit & 1);
      }
      rank += __builtin_popcountll(gap);
    }
  }

  // Up to 64 bits of a longer row, from one of them on.
  static uint64_t bits_from(const uint64_t* words, int64_t first, int64_t size) {
    const int64_t word = first / 64, shift = first % 64;
    const uint64_t bits = words[word] >> shift;
    return shift && 64 * (word + 1) < size ? bits | words[word + 1] << (64 - shift) : bits;
  }

  void revive(int64_t i, bool flip) {
    const double j = (own_.next[i] < 0) != flip ? -own_.delta[i] : own_.delta[i];
    j_[i] = j;
    sum_ += own_.delta[i];
    wrong_signs_ += j * own_.signs[i] < 0;
    own_.connected[i / 64] |= uint64_t(1) << (i % 64);
    if (after_[i] == 0) gone_.add(int32_t(i));  // others are there already
  }

  // The fields, after a step; `after` is what the weights were before it.
  void follow(int64_t pattern, double kick, double c) {
    if (kick != 0) count_kicked(pattern);
    List singles{own_.lists}, up{own_.lists + n_}, down{own_.lists + 2 * n_};
    for (int64_t entry = 0; entry < gone_.size; ++entry) {
      const int32_t i = gone_.items[entry];
      const double change = own_.change[i] = j_[i] - after_[i];
      if (std::fabs(change) == edge_) {
        (change > 0 ? up : down).add(i);
      } else if (change != 0) {
        singles.add(i);
      }
    }
    add_singles(singles);
    if (kind == Kind::gap) {
      add_columns<true>(up, down, own_.edges);
    }
    add_columns(rising_, falling_, own_.total);
    change_fields(kick, c);
  }

  // How many of the weights that changed by the kick each pattern reads: from those of the kicked pattern, whose overlaps
  // with all others are remembered, or from nothing, whichever is nearer.
  void count_kicked(int64_t pattern) {
    const uint64_t* bits = x_.bits + pattern * (n_ / 64);
    int64_t all_kicked = 0, different = 0;
    for (int64_t word = 0; word < n_ / 64; ++word) {
      all_kicked += __builtin_popcountll(own_.kicked[word]);
      different += __builtin_popcountll(own_.kicked[word] ^ bits[word]);
    }
    List more{own_.lists}, fewer{own_.lists + n_};
    if (own_.overlaps && different < all_kicked) {
      const uint16_t* overlap = overlaps_of(pattern);
      for (int64_t row = 0; row < m_; ++row) own_.count[row] = overlap[row];
      for (int64_t word = 0; different && word < n_ / 64; ++word) {
        add_bits(fewer, word, bits[word] & ~own_.kicked[word]);  // and kicked are a part of them
      }
      add_columns(more, fewer, own_.count);
    } else {
      for (int64_t word = 0; word < n_ / 64; ++word) add_bits(more, word, own_.kicked[word]);
      add_columns<true>(more, fewer, own_.count);
    }
  }

  const uint16_t* overlaps_of(int64_t pattern) {
    uint16_t* overlap = own_.overlaps + pattern * m_;
    if (!own_.known[pattern]) {
      List inputs{own_.lists}, nothing{own_.lists};
      const uint64_t* bits = x_.bits + pattern * (n_ / 64);
      for (int64_t word = 0; word < n_ / 64; ++word) add_bits(inputs, word, bits[word]);
      add_columns<true>(inputs, nothing, own_.count);
      for (int64_t row = 0; row < m_; ++row) overlap[row] = uint16_t(own_.count[row]);
      own_.known[pattern] = true;
    }
    return overlap;
  }

  // out += the sum of some columns - that of others, or out = that.
  template <bool fresh = false>
  void add_columns(const List& plus, const List& minus, int32_t* out) const {
    if (!fresh && plus.size == 0 && minus.size == 0) return;
    int64_t block = 0;
    for (; block + 4 <= m_ / 64; block += 4) add_blocks<fresh, 4>(plus, minus, block, out);
    switch (m_ / 64 - block) {
      case 3: return add_blocks<fresh, 3>(plus, minus, block, out);
      case 2: return add_blocks<fresh, 2>(plus, minus, block, out);
      case 1: return add_blocks<fresh, 1>(plus, minus, block, out);
    }
  }

  // Of so many blocks of rows: up to 15 columns are added in halves of bytes, these in bytes as long as those hold them.
  template <bool fresh, int width>
  void add_blocks(const List& plus, const List& minus, int64_t block, int32_t* out) const {
    using Bytes = Vec<uint8_t, 32>;
    constexpr int64_t kHalf = 15, kByte = 8 * kHalf;
    const uint8_t* columns = x_.halves + 32 * block;
    bool adds = !fresh;
    int64_t first = 0;
    do {
      Bytes lower[width], upper[width];
      for (int part = 0; part < width; ++part) lower[part] = upper[part] = Bytes{};
      const auto add = [&](const List& list, auto sign) {
        const int64_t end = list.size < first + kByte ? list.size : first + kByte;
        for (int64_t entry = first; entry < end;) {
          Bytes sums[width];
          for (int part = 0; part < width; ++part) sums[part] = Bytes{};
          for (const int64_t stop = end < entry + kHalf ? end : entry + kHalf; entry < stop; ++entry) {
            const uint8_t* column = columns + list.items[entry] * (m_ / 2);
            for (int part = 0; part < width; ++part) sums[part] += load<uint8_t, 32>(column + 32 * part);
          }
          for (int part = 0; part < width; ++part) {
            const Bytes low = sums[part] & uint8_t(15), high = (sums[part] ^ low) >> 4;
            lower[part] = sign(lower[part], low), upper[part] = sign(upper[part], high);
          }
        }
      };
      add(plus, [](Bytes a, Bytes b) { return a + b; });
      add(minus, [](Bytes a, Bytes b) { return a - b; });
      std::int8_t counts[64 * width];
      for (int part = 0; part < width; ++part) {
        std::memcpy(counts + 64 * part, &lower[part], 32);
        std::memcpy(counts + 64 * part + 32, &upper[part], 32);
      }
      int32_t* to = out + 64 * block;
      if (adds) {
        for (int at = 0; at < 64 * width; ++at) to[at] += counts[at];
      } else {
        for (int at = 0; at < 64 * width; ++at) to[at] = counts[at];
      }
      adds = true;
      first += kByte;
    } while (first < plus.size || first < minus.size);
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

  // field += kick count - c T + edge edges; and which associations are violated then.
  void change_fields(double kick, double c) {
    const double *__restrict__ targets = own_.target;
    const int32_t *__restrict__ counts = own_.count, *__restrict__ totals = own_.total, *__restrict__ edges = own_.edges;
    double* __restrict__ fields = own_.field;
    const Doubles threshold = all(unit_.threshold), robustness = all(unit_.robustness), edge = all(edge_);
    wrong_ = 0;
    for (int64_t word = 0; word < m_ / 64; ++word) {
      uint64_t bits = 0;
      for (int part = 0, end = part_of(set_.m, word); part < end; part += kDoubles) {
        const int64_t row = 64 * word + part;
        Doubles field = load_doubles(fields + row);
        field += kick * load_whole(counts + row) - c * load_whole(totals + row);
        if (kind == Kind::gap) field += edge * load_whole(edges + row);
        store<double, kDoubles>(fields + row, field);
        const Doubles margin = load_doubles(targets + row) * (field - threshold);
        bits |= bits_of(margin < robustness) << part;
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
  const OnlineScratch& own_;
  const int64_t n_, m_;  // padded
  const PhiloxKeys keys_;
  double *j_, *after_;
  double edge_;  // delta, where it is the same for all inputs
  List rising_{own_.lists + 3 * n_}, falling_{own_.lists + 5 * n_}, gone_{own_.lists + 7 * n_};  // inputs: k, and J
  int64_t steps_ = 0, wrong_ = 0, wrong_signs_ = 0, in_gap_ = 0;
  double sum_ = 0;  // of |J|
};

template <Kind kind>
void run(const OnlineSettings& settings, const Patterns& patterns, const OnlineUnit& unit, const OnlineScratch& own) {
  if (unit.signs) {
    Learner<kind, true>(settings, patterns, unit, own).run();
  } else {
    Learner<kind, false>(settings, patterns, unit, own).run();
  }
}

void learn(const OnlineSettings& settings, const Patterns& patterns, const OnlineUnit& unit, const OnlineScratch& own) {
  bool gap = false;
  for (int64_t i = 0; i < settings.n; ++i) gap |= unit.delta[i] > 0;
  const auto kernel = settings.older ? run<Kind::older> : gap ? run<Kind::gap> : run<Kind::free>;
  kernel(settings, patterns, unit, own);
}

}  // namespace

extern const OnlineKernels online_kernels;
const OnlineKernels online_kernels{learn};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
