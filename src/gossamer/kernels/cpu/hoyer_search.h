// Where the threshold of the sparseness-enforcing projection lies: the part of the work that is done once for a row and
// a pass, in double. The passes themselves are in hoyer.cpp.
//
// Sought is the depth D = x_max − α > 0 at which y = max(x − α, 0) / D has Σy / sqrt(Σy²) = r. The largest y is 1,
// whatever the row's scale and offset: no sum overflows, none underflows, and a large mean costs no digits. The ratio
// falls from sqrt(n) at D = ∞ to sqrt(ties of the maximum) at D = 0.
//
// From d = count, p = Σy, w = Σy² at one trial depth, two steps are on offer, y ← y − δ, D ← D (1 − δ):
//   on a fixed support   δ = (p − r sqrt((d w − p²) / (d − r²))) / d       exact if no unit comes in or drops out
//   Newton on log(p²/w)  δ = log(p² / (r² w)) p w / (2 (d w − p²))         exact for exponential tails
// The first ends the search, the second leads there; a bracket guards both. A pass that finds the expected count has
// proved the support, and such a pass can write its result at once, as the length of the new y is known beforehand.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "hoyer.h"

namespace gossamer {
namespace {

// The a at which a standard normal z has E max(z − a, 0) / sqrt(E max(z − a, 0)²) = ratio, to about 1e-3.
inline double gaussian_threshold(double ratio) {
  constexpr int kSize = 321;
  constexpr double kLow = -8, kHigh = 8, kStep = (kHigh - kLow) / (kSize - 1);
  static const std::array<double, kSize> table = [] {
    std::array<double, kSize> ratios;
    for (int i = 0; i < kSize; ++i) {
      const double a = kLow + i * kStep;
      const double density = std::exp(-a * a / 2) / std::sqrt(2 * std::acos(-1.0));
      const double tail = std::erfc(a / std::sqrt(2.0)) / 2;
      ratios[i] = (density - a * tail) / std::sqrt((1 + a * a) * tail - a * density);
    }
    return ratios;
  }();
  const auto next = std::lower_bound(table.begin(), table.end(), ratio, std::greater<double>());
  if (next == table.begin()) return kLow;
  if (next == table.end()) return kHigh;
  const double part = (next[-1] - ratio) / (next[-1] - next[0]);
  return kLow + (double(next - table.begin()) - 1 + part) * kStep;
}

// The same, looked up once for rows of the same number of units and the same radius.
inline double gaussian_threshold_again(double ratio) {
  thread_local double known = -1, threshold = 0;
  if (ratio != known) known = ratio, threshold = gaussian_threshold(ratio);
  return threshold;
}

enum class Fate {
  kSearch,   // a threshold exists
  kTies,     // too many units share the maximum: they alone are active
  kFlat,     // fewer than r² units are not −inf: the flattest result there is
  kMasked,   // all units are −inf: all zero
  kInvalid,  // NaN or +inf in the row, or no such sparseness
};

template <class T>
class Search {
 public:
  Fate fate = Fate::kInvalid;
  double active = 0;  // units that share the maximum (kTies), or that are not −inf (kFlat)
  int passes = 0;

  void begin(const HoyerMoments& moments, double shift, double n, double radius, bool magnitude) {
    const double finite = moments.finite;
    radius_ = radius;
    finite_ = finite;
    fate = Fate::kInvalid;
    trial_ = {};
    if (std::isnan(moments.sum) || moments.top == infinity || !(radius > 1 && radius * radius < n)) return;
    fate = finite == 0 ? Fate::kMasked : finite <= radius * radius * (1 + 1e-12) ? Fate::kFlat : Fate::kSearch;
    active = finite;
    if (fate != Fate::kSearch) return;

    // A difference x - shift of the largest numbers of both signs is infinite; the mean is not.
    constexpr double largest = std::numeric_limits<T>::max();
    const double mean = std::clamp(shift + moments.sum / finite / kHoyerShrink, -largest, largest);
    const double reach = std::max(std::fabs(moments.top), std::fabs(mean));
    const bool huge = reach > double(std::numeric_limits<T>::max()) * 0x1p-32;
    const bool tiny = reach < double(std::numeric_limits<T>::min()) * 0x1p+64;
    unit_ = huge ? 0x1p-32 : tiny ? 0x1p+96 : 1;
    top_ = moments.top * unit_;
    const double spread = top_ - mean * unit_;
    const double variance = moments.square / finite - std::pow(moments.sum / finite, 2);
    const double deviation = std::sqrt(std::max(variance, 0.0)) / kHoyerShrink * unit_;
    const double ratio = radius / std::sqrt(finite);
    if (magnitude) {  // |x| of a normal x
      const double rms = std::hypot(deviation, mean * unit_);
      depth_ = top_ - std::max(gaussian_threshold_again(ratio * std::sqrt(0.5)), 0.0) * rms;
    } else {
      depth_ = spread - gaussian_threshold_again(ratio) * deviation;
    }
    if (!(depth_ > 0.02 * spread && depth_ < infinity)) depth_ = 0.25 * spread;
    mean_depth_ = spread;
    const bool constant = !(depth_ > 0);  // as far as the moments tell
    if (constant) depth_ = top_ == 0 ? 1 : std::fabs(top_);
    // As many ties as r² leave the depth open, down to the next smaller unit.
    const double r2 = radius * radius;
    if (constant || std::fabs(r2 - std::round(r2)) <= 1e-12 * r2) {
      probe();
    } else {
      aim();
    }
  }

  bool settled() const { return settled_ || fate != Fate::kSearch; }
  bool may_write() const { return settled() || candidate_; }  // the trial is expected to be the last
  const HoyerTrial<T>& trial() const { return trial_; }

  // The slope of s over x on the support; 0 where the derivative is zero.
  T beta() const {
    if (fate != Fate::kSearch || count_ <= 2) return 0;
    return T(std::min(gain_ / depth_ * unit_, double(std::numeric_limits<T>::max())));
  }

  void take(const HoyerSums& sums) {
    ++passes;
    if (settled()) return;
    if (probing_) {
      probing_ = false;
      if (sums.count >= radius_ * radius_ * (1 - 1e-12)) {
        fate = Fate::kTies;
        active = sums.count;
      } else {
        aim();
      }
      return;
    }
    if (candidate_ && sums.count == count_ && (within_tolerance(sums) || ++confirmed_ == 3)) forced_ = true;
    if (forced_) {
      // Units that share the maximum could pass for a solution where their number is about r².
      if (count_ < radius_ * radius_ * 1.001 && !probed_) return probe();
      settled_ = true;
      return;
    }
    step(sums);
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  static constexpr double epsilon = std::numeric_limits<T>::epsilon();

  double radius_ = 0, finite_ = 0, unit_ = 1, top_ = 0, mean_depth_ = 0;
  double depth_ = 0, gain_ = 1, count_ = 0;
  double largest_ = 1;  // y of the maximum in this trial: 1 but for rounding
  double shallow_ = 0, deep_ = infinity;  // the bracket: ratio below r, ratio above r
  bool candidate_ = false, settled_ = false, probing_ = false, probed_ = false, forced_ = false;
  int confirmed_ = 0;  // trials with the expected count
  HoyerTrial<T> trial_{};

  void aim() {
    const bool fits = unit_ * 0x1p64 < double(std::numeric_limits<T>::max());
    const double boost = depth_ < double(std::numeric_limits<T>::min()) * 0x1p26 && fits ? 0x1p64 : 1;
    aim(depth_ * boost, boost);
  }

  void aim(double depth, double boost) {
    const double top = top_ * boost, alpha = top - depth;
    const double of_depth = alpha - top, lost = (top - (alpha - of_depth)) - (depth + of_depth);  // top - depth - alpha
    const T high = T(alpha), slope = T(1 / depth);
    largest_ = double(slope) * depth;
    trial_ = {T(unit_ * boost), high, T(alpha - double(high) + lost), slope, T(gain_ / largest_)};
  }

  // A trial so shallow that only the maxima stay positive: less than the spacing of numbers below the maximum.
  void probe() {
    probing_ = probed_ = true;
    const double boost = std::fabs(top_) < 1 && unit_ <= 1 ? 0x1p64 : 1;
    const double least = double(std::numeric_limits<T>::denorm_min()) * (unit_ * boost);
    aim(std::max(least, std::fabs(top_ * boost) * epsilon / 2) / 2, boost);
  }

  bool within_tolerance(const HoyerSums& sums) const {
    const double tolerance = 16 * epsilon;
    const double gain = trial_.gain;
    return std::fabs(gain * gain * sums.square - 1) <= tolerance &&
           std::fabs(gain * sums.sum - radius_) <= tolerance * radius_;
  }

  void step(const HoyerSums& sums) {
    const double d = sums.count, p = sums.sum / largest_, w = sums.square / (largest_ * largest_);
    const double r2 = radius_ * radius_, scatter = std::max(d * w - p * p, 0.0);
    const bool too_deep = p * p > r2 * w;
    (too_deep ? deep_ : shallow_) = depth_;

    double shift = -infinity, fixed = -infinity;  // δ
    bool exact = false;
    if (d > r2) {  // so it is if the trial was too deep
      fixed = (p - radius_ * std::sqrt(scatter / (d - r2))) / d;
      // Units that the step is expected to carry over the threshold, if the active y are spread exponentially.
      const double crossing = std::fabs(fixed) * d * d / p;
      exact = crossing < 1 || (d == finite_ && !too_deep);
      if (exact || std::fabs(fixed) < 0.02) shift = fixed;
    }
    if (shift == -infinity && scatter > 0) shift = std::log(p * p / (r2 * w)) * p * w / (2 * scatter);

    double next = depth_ * (1 - shift);
    if (deep_ == infinity && !exact) next = std::min(next, std::max(16 * depth_, 4 * mean_depth_));
    const auto inside = [&] { return next > shallow_ && next < deep_; };
    if (!inside() && !(exact && std::fabs(shift) < 64 * epsilon)) {
      exact = false;
      if (too_deep) next = depth_ * std::max(1 - fixed, epsilon);  // never crosses the root, but for rounding
      if (!inside()) {
        if (deep_ == infinity) {
          next = std::max(4 * depth_, mean_depth_);
        } else if (shallow_ == 0) {
          next = deep_ / 4;
        } else if (deep_ > 4 * shallow_) {
          next = std::sqrt(shallow_) * std::sqrt(deep_);
        } else {
          next = (shallow_ + deep_) / 2;
        }
      }
    }
    next = std::max(next, double(std::numeric_limits<T>::denorm_min()));
    candidate_ = exact;
    const bool narrow = deep_ < infinity && deep_ - shallow_ <= 4 * epsilon * deep_;
    if (narrow || passes >= 100) {  // as near as numbers of this kind come
      candidate_ = forced_ = true;
      gain_ = 1 / std::sqrt(w);
      count_ = d;
    } else {
      const double length2 = exact ? w - shift * (2 * p - shift * d) : 1;
      gain_ = exact ? (1 - shift) / std::sqrt(std::max(length2, 1e-300)) : 1;
      depth_ = next;
      count_ = d;
    }
    if (shallow_ == 0 && passes >= 3 && !probed_) return probe();
    aim();
  }
};

}  // namespace
}  // namespace gossamer
