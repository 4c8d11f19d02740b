// The sparseness-enforcing projection for whole tensors: cuts them into groups of rows, leads each group through its
// passes, and shares the work among threads.
//
// A tensor is (outer, n, inner) in memory, contiguous, and its rows run along n: row o * inner + i.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <mutex>
#include <tuple>
#include <vector>

#include "dispatch.h"
#include "hoyer.h"
#include "hoyer_search.h"

namespace gossamer {
namespace {

constexpr std::int64_t kLongRow = 1 << 17;      // from here on threads share a row
constexpr std::int64_t kSmallTensor = 1 << 14;  // up to here waking a thread would cost more than it saves

struct Shape {
  std::int64_t outer, n, inner;
};

inline void add(HoyerMoments& into, const HoyerMoments& part) {
  into = {std::max(into.top, part.top), into.sum + part.sum, into.square + part.square, into.finite + part.finite};
}
inline void add(HoyerSums& into, const HoyerSums& part) {
  into = {into.count + part.count, into.sum + part.sum, into.square + part.square};
}
inline void add(HoyerPull& into, const HoyerPull& part) {
  into = {into.count + part.count, into.plain + part.plain, into.weighted + part.weighted};
}

// The passes over one group, by one thread or, along a long row, by several. The sums do not depend on how many.
template <class T>
struct Passes {
  const HoyerKernels<T>& kernels;
  HoyerGroup<T> group;
  int threads;

  void moments(const T* x, const T* shift, bool masked, HoyerMoments* out) const {
    reduce(out, [&](const HoyerGroup<T>& part, std::int64_t at, HoyerMoments* result) {
      kernels.moments(part, x + at, shift, masked, result);
    });
  }
  void measure(const T* x, const HoyerTrial<T>* trial, HoyerSums* out) const {
    reduce(out, [&](const HoyerGroup<T>& part, std::int64_t at, HoyerSums* result) {
      kernels.measure(part, x + at, trial, result);
    });
  }
  void write(const T* x, const HoyerTrial<T>* trial, T* s, HoyerSums* out) const {
    reduce(out, [&](const HoyerGroup<T>& part, std::int64_t at, HoyerSums* result) {
      kernels.write(part, x + at, trial, s + at, result);
    });
  }
  void pull(const T* v, const T* s, HoyerPull* out) const {
    reduce(out, [&](const HoyerGroup<T>& part, std::int64_t at, HoyerPull* result) {
      kernels.pull(part, v + at, s + at, result);
    });
  }
  void push(const T* v, const T* s, const HoyerPush<T>* push, T* out) const {
    if (threads == 1) return kernels.push(group, v, s, push, out);
    share([&](const HoyerGroup<T>& part, std::int64_t at, std::int64_t) {
      kernels.push(part, v + at, s + at, push, out + at);
    });
  }

 private:
  std::int64_t count() const { return (group.n + kHoyerBlock - 1) / kHoyerBlock; }

  template <class Call>
  void share(const Call& call) const {
    parallel(threads, [&](int part, int parts) {
      for (std::int64_t b = count() * part / parts; b < count() * (part + 1) / parts; ++b) {
        HoyerGroup<T> block = group;
        block.n = std::min(kHoyerBlock, group.n - b * kHoyerBlock);
        call(block, b * kHoyerBlock, b);
      }
    });
  }

  template <class Result, class Call>
  void reduce(Result* out, const Call& call) const {
    if (threads == 1) return call(group, 0, out);
    std::vector<Result> results(count());
    share([&](const HoyerGroup<T>& part, std::int64_t at, std::int64_t b) { call(part, at, &results[b]); });
    *out = results[0];
    for (std::int64_t b = 1; b < count(); ++b) add(*out, results[b]);
  }
};

// Calls work(passes, offset of the group's first element, its first row) for every group.
template <class T, class Work>
void for_groups(const HoyerKernels<T>& kernels, const Shape& shape, bool magnitude, int threads, const Work& work) {
  const auto [outer, n, inner] = shape;
  if (outer == 0 || inner == 0) return;
  if (outer * n * inner <= kSmallTensor) threads = 1;
  const int lanes = inner == 1 ? 1 : kernels.lanes(inner);
  const HoyerGroup<T> group{n, inner, lanes, magnitude};
  if (inner == 1 && n >= kLongRow && threads > 1) {
    for (std::int64_t row = 0; row < outer; ++row) work(Passes<T>{kernels, group, threads}, row * n, row);
    return;
  }
  // The last group across may overlap the one before: the shared rows are computed twice, with the same result, but by
  // the same thread.
  const std::int64_t across = (inner + lanes - 1) / lanes, groups = outer * across;
  const auto first_group = [&](int part, int parts) {
    const std::int64_t g = groups * part / parts;
    return inner % lanes && across > 1 && g % across == across - 1 ? g + 1 : g;
  };
  parallel(int(std::min<std::int64_t>(threads, groups)), [&](int part, int parts) {
    for (std::int64_t g = first_group(part, parts); g < first_group(part + 1, parts); ++g) {
      const std::int64_t o = g / across, i = std::min(g % across * lanes, inner - lanes);
      work(Passes<T>{kernels, group, 1}, o * n * inner + i, o * inner + i);
    }
  });
}

template <class T>
struct Projection {
  const T* x;
  T* s;
  T* beta;               // one for each row
  const double* radius;  // one for each row, or radius_step 0 and one for all
  std::int64_t radius_step;
  bool magnitude;
  double norm = 1;  // of every row of s
};

// A row without a threshold, one element after the other.
template <class T>
void write_special(const Search<T>& search, double radius, bool magnitude, const T* x, T* s, std::int64_t n,
                   std::int64_t stride, double norm) {
  const auto size = [&](std::int64_t i) { return magnitude ? std::fabs(x[i * stride]) : x[i * stride]; };
  T top = -std::numeric_limits<T>::infinity();
  for (std::int64_t i = 0; i < n; ++i) top = std::max(top, size(i));
  const double active = search.active, even = radius / active;
  // Equal parts and all for the first are mixed so that Σs = r and Σs² = 1.
  const double share = std::sqrt(std::max((1 - radius * even) / (radius * radius - radius * even), 0.0));
  bool first = true;
  for (std::int64_t i = 0; i < n; ++i) {
    T& out = s[i * stride];
    switch (search.fate) {
      case Fate::kTies:
        if (size(i) == top) {
          out = T((1 - share) * even + (first ? share * radius : 0));
          if (magnitude && x[i * stride] < 0) out = -out;
          first = false;
        } else {
          out = 0;
        }
        break;
      case Fate::kFlat:
        out = size(i) > -std::numeric_limits<T>::infinity() ? T(1 / std::sqrt(active)) : T(0);
        break;
      case Fate::kMasked: out = 0; break;
      default: out = std::numeric_limits<T>::quiet_NaN();
    }
    out = T(out * norm);
  }
}

// The number of passes that the group took.
template <class T>
int project(const Passes<T>& passes, const Projection<T>& job, std::int64_t offset, std::int64_t row) {
  const int lanes = passes.group.lanes;
  const std::int64_t n = passes.group.n, stride = passes.group.stride;
  const T* x = job.x + offset;
  T* s = job.s + offset;

  T shift[kHoyerLanes];
  for (int lane = 0; lane < lanes; ++lane) {
    const T first = job.magnitude ? std::fabs(x[lane]) : x[lane];
    shift[lane] = std::isfinite(first) ? first : T(0);
  }
  HoyerMoments moments[kHoyerLanes], unmasked[kHoyerLanes];
  passes.moments(x, shift, false, moments);
  int taken = 1;
  const auto masked = [](const HoyerMoments& m) { return m.sum == -std::numeric_limits<double>::infinity(); };
  for (int lane = 0; lane < lanes; ++lane) moments[lane].finite = double(n);
  if (std::any_of(moments, moments + lanes, masked)) {
    passes.moments(x, shift, true, unmasked);
    ++taken;
    for (int lane = 0; lane < lanes; ++lane)
      if (masked(moments[lane])) moments[lane] = unmasked[lane];
  }

  std::array<Search<T>, kHoyerLanes> searches;
  HoyerTrial<T> trials[kHoyerLanes];
  HoyerSums sums[kHoyerLanes];
  const auto every = [&](auto property) {
    return std::all_of(searches.begin(), searches.begin() + lanes, property);
  };
  const auto settled = [](const Search<T>& search) { return search.settled(); };
  for (int lane = 0; lane < lanes; ++lane)
    searches[lane].begin(moments[lane], shift[lane], double(n), job.radius[(row + lane) * job.radius_step],
                         job.magnitude);

  bool written = every([](const Search<T>& search) { return search.fate != Fate::kSearch; });
  while (!written) {
    const bool write = every([](const Search<T>& search) { return search.may_write(); });
    for (int lane = 0; lane < lanes; ++lane) trials[lane] = searches[lane].trial();
    if (write) {
      for (int lane = 0; lane < lanes; ++lane) trials[lane].gain = T(trials[lane].gain * job.norm);
      passes.write(x, trials, s, sums);
    } else {
      passes.measure(x, trials, sums);
    }
    ++taken;
    for (int lane = 0; lane < lanes; ++lane) searches[lane].take(sums[lane]);
    written = write && every(settled);
  }
  for (int lane = 0; lane < lanes; ++lane) {
    const Search<T>& search = searches[lane];
    job.beta[row + lane] = search.beta();
    if (search.fate != Fate::kSearch)
      write_special(search, job.radius[(row + lane) * job.radius_step], job.magnitude, x + lane, s + lane, n, stride,
                    job.norm);
  }
  return taken;
}

template <class T>
struct Product {
  const T* v;
  const T* s;
  const T* beta;
  const double* radius;
  std::int64_t radius_step;
  T* out;
  double norm = 1;  // of every row of s
};

// v times the derivative of norm s: with m = r/d, κ² = 1 − r²/d and c = ⟨|s| − m, v sign(s)⟩ / κ², summed over the support,
//   out = beta (v − sign(s) (mean of v sign(s) − m c) − s c).
template <class T>
void multiply(const Passes<T>& passes, const Product<T>& job, std::int64_t offset, std::int64_t row) {
  HoyerPull pulls[kHoyerLanes];
  HoyerPush<T> pushes[kHoyerLanes];
  passes.pull(job.v + offset, job.s + offset, pulls);
  for (int lane = 0; lane < passes.group.lanes; ++lane) {
    const auto [d, plain, weighted] = pulls[lane];
    const T beta = job.beta[row + lane];
    const double radius = job.radius[(row + lane) * job.radius_step];
    const double mean = radius / d, spread = 1 - radius * mean;
    const double along = beta > 0 && spread > 0 ? (weighted / job.norm - mean * plain) / spread : 0;
    pushes[lane] = {T(beta * job.norm), T(d > 0 ? plain / d - mean * along : 0), T(along / job.norm)};
  }
  passes.push(job.v + offset, job.s + offset, pushes, job.out + offset);
}

using Taken = std::tuple<std::int64_t, int>;  // passes: the sum over all groups, and the most for one

template <class T>
Taken forward(const HoyerKernels<T>& kernels, const Shape& shape, int threads, const Projection<T>& job) {
  std::mutex lock;
  std::int64_t sum = 0;
  int most = 0;
  for_groups(kernels, shape, job.magnitude, threads, [&](const auto& passes, std::int64_t offset, std::int64_t row) {
    const int taken = project(passes, job, offset, row);
    const std::lock_guard<std::mutex> guard(lock);
    sum += taken;
    most = std::max(most, taken);
  });
  return {sum, most};
}

template <class T>
void backward(const HoyerKernels<T>& kernels, const Shape& shape, int threads, bool magnitude, const Product<T>& job) {
  for_groups(kernels, shape, magnitude, threads, [&](const auto& passes, std::int64_t offset, std::int64_t row) {
    multiply(passes, job, offset, row);
  });
}

}  // namespace
}  // namespace gossamer
