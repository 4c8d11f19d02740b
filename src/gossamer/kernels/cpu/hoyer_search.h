// Where the threshold of the sparseness-enforcing projection lies: the part of the work that is done once for a row and
// a pass, in double. The passes themselves are in hoyer.cpp.
//
// Sought is the depth D > 0 below the row's maximum at which y = max(1 + (x − x_max) / D, 0) has Σy / sqrt(Σy²) = r.
// With D for α = x_max − D, the largest y is 1 whatever the row's scale and offset: no sum overflows, none underflows,
// and a large mean costs no digits. The ratio falls from sqrt(n) at D = ∞ to sqrt(ties of the maximum) at D = 0.
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

enum class Fate {
  kSearch,   // a threshold exists
  kTies,     // too many units share the maximum: they alone are live
  kFlat,     // fewer than r² units are not −inf: the flattest result there is
  kMasked,   // all units are −inf: all zero
  kInvalid,  // NaN or +inf in the row, or no such sparseness
};

template <class T>
class Search {
 public:
  Fate fate = Fate::kInvalid;
  double live = 0;  // units that share the maximum (kTies), or that are not −inf (kFlat)
  int passes = 0;

  void begin(const HoyerMoments& moments, double shift, double n, double radius, bool magnitude) {
    const double finite = moments.finite;
    radius_ = radius;
    finite_ = finite;
    fate = Fate::kInvalid;
    trial_ = {};
    if (std::isnan(moments.sum) || moments.top == infinity || !(radius > 1 && radius * radius < n)) return;
    fate = finite == 0 ? Fate::kMasked : finite <= radius * radius * (1 + 1e-12) ? Fate::kFlat : Fate::kSearch;
    live = finite;
    if (fate != Fate::kSearch) return;

    const double mean = shift + moments.sum / finite / kHoyerShrink;
    const double limit = double(std::numeric_limits<T>::max()) / 16;
    unit_ = std::fabs(moments.top) > limit || std::fabs(mean) > limit ? 0x1p-8 : 1;
    top_ = moments.top * unit_;
    const double spread = top_ - mean * unit_;
    const double variance = moments.square / finite - std::pow(moments.sum / finite, 2);
    const double deviation = std::sqrt(std::max(variance, 0.0)) / kHoyerShrink * unit_;
    const double ratio = radius / std::sqrt(finite);
    if (magnitude) {  // |x| of a normal x
      const double rms = std::hypot(deviation, mean * unit_);
      depth_ = top_ - std::max(gaussian_threshold(ratio * std::sqrt(0.5)), 0.0) * rms;
    } else {
      depth_ = spread - gaussian_threshold(ratio) * deviation;
    }
    if (!(depth_ > 0.02 * spread && depth_ < infinity)) depth_ = 0.25 * spread;
    mean_depth_ = spread;
    if (!(depth_ > 0)) {  // as far as the moments tell, all are equal
      depth_ = top_ == 0 ? 1 : std::fabs(top_);
      probe();
    } else {
      aim();
    }
  }

  bool settled() const { return settled_ || fate != Fate::kSearch; }
  bool may_write() const { return settled() || candidate_; }  // the trial is expected to be the last
  const HoyerTrial<T>& trial() const { return trial_; }

  // dx/ds on the support, beta; 0 where the derivative is zero.
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
        live = sums.count;
      } else {
        aim();
      }
      return;
    }
    if (candidate_ && (forced_ || (sums.count == count_ && within_tolerance(sums)))) {
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
  double shallow_ = 0, deep_ = infinity;  // the bracket: ratio below r, ratio above r
  bool candidate_ = false, settled_ = false, probing_ = false, probed_ = false, forced_ = false;
  HoyerTrial<T> trial_{};

  void aim() {
    const double boost = depth_ < double(std::numeric_limits<T>::min()) * 0x1p26 ? 0x1p64 : 1;
    trial_ = {T(unit_ * boost), T(top_ * boost), T(1 / (depth_ * boost)), T(gain_)};
  }

  // A trial so shallow that only the maxima stay positive.
  void probe() {
    probing_ = probed_ = true;
    const double boost = std::fabs(top_) < 1 ? 0x1p64 : 1;
    trial_ = {T(unit_ * boost), T(top_ * boost), std::numeric_limits<T>::max() / 4, T(0)};
  }

  bool within_tolerance(const HoyerSums& sums) const {
    const double tolerance = 16 * epsilon;
    return std::fabs(gain_ * gain_ * sums.square - 1) <= tolerance &&
           std::fabs(gain_ * sums.sum - radius_) <= tolerance * radius_;
  }

  void step(const HoyerSums& sums) {
    const auto [d, p, w] = sums;
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
    const auto inside = [&] { return next > shallow_ && next < deep_; };
    if (!inside()) {
      exact = false;
      if (too_deep) next = depth_ * std::max(1 - fixed, epsilon);  // never crosses the root, but for rounding
    }
    if (!inside()) {
      if (deep_ == infinity) {
        next = std::max(4 * depth_, mean_depth_);
      } else if (deep_ > 4 * shallow_) {
        next = std::sqrt(shallow_ * deep_);
      } else {
        next = (shallow_ + deep_) / 2;
      }
    }
    candidate_ = exact;
    if ((deep_ < infinity && deep_ - shallow_ <= 4 * epsilon * deep_) || passes >= 100) {  // as near as numbers of this kind come
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
