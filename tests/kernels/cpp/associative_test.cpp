// The online rule on random units of several threads, which share their patterns: its report against plain loops over the
// weights that it leaves, and remembered overlaps against none. Made to run under sanitizers: every array is exactly as
// long as it has to be, so that a read or write past its end is caught.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "associative.h"

using namespace gossamer;
namespace gossamer::baseline {
extern const OnlineKernels online_kernels;
}

namespace {

std::mt19937_64 source(5);
std::int64_t below(std::int64_t n) { return std::int64_t(source() % std::uint64_t(n)); }

constexpr double kQuantum = 0x1p-20;
double on_grid(double x) { return std::nearbyint(x / kQuantum) * kQuantum; }
std::int64_t padded(std::int64_t n) { return (n + kPatternPad - 1) / kPatternPad * kPatternPad; }

struct Problem {
  std::int64_t n = 1 + below(150), m = 1 + below(150), n_pad = padded(n), m_pad = padded(m);
  std::vector<std::uint8_t> rows, columns;
  std::vector<std::uint64_t> bits;
  std::vector<std::uint8_t> halves;

  Problem() : rows(m_pad * n_pad), columns(n_pad * m_pad), bits(m_pad * n_pad / 64), halves(n_pad * m_pad / 2) {
    for (std::int64_t row = 0; row < m; ++row) {
      for (std::int64_t i = 0; i < n; ++i) {
        if (below(3)) continue;
        rows[row * n_pad + i] = columns[i * m_pad + row] = 1;
        bits[(row * n_pad + i) / 64] |= std::uint64_t(1) << (i % 64);
        halves[i * (m_pad / 2) + row / 64 * 32 + row % 32] |= std::uint8_t(1 << (row % 64 / 32 * 4));
      }
    }
  }
  Patterns view() const { return {n_pad, m_pad, rows.data(), columns.data(), bits.data(), halves.data()}; }
};

struct Unit {
  std::vector<std::int8_t> targets, signs;
  std::vector<double> delta, weights, report, history;
  std::uint64_t seed = source();
  double threshold, robustness, kick;
  std::int64_t steps = 0;
  std::int32_t status = 0;

  // The kind: 0 no gap, 1 one gap for all inputs, 2 several gaps, 3 the older rule.
  Unit(const Problem& problem, int kind, std::int64_t records)
      : targets(problem.m), delta(problem.n), weights(problem.n), report(4), history(3 * records) {
    for (auto& t : targets) t = std::int8_t(below(2));
    if (kind == 3 || below(2)) signs.resize(problem.n);
    for (auto& s : signs) s = below(2) ? 1 : -1;
    for (auto& d : delta) d = kind == 1 ? 0.25 : kind == 2 ? on_grid(0.1 * double(1 + below(3))) : 0;
    for (std::int64_t i = 0; i < problem.n; ++i) {
      const double size = delta[i] + on_grid(double(below(1000)) / 1000);
      weights[i] = (signs.empty() ? below(2) : signs[i] > 0) ? size : -size;
    }
    threshold = on_grid(double(problem.n) / 6);
    robustness = on_grid(0.1);
    kick = on_grid(0.05);
  }
};

void learn(const Problem& problem, Unit& unit, const OnlineSettings& settings, bool remembers) {
  const std::size_t n = std::size_t(problem.n_pad), m = std::size_t(problem.m_pad);
  std::vector<double> of_n[6], of_m[2];
  for (auto& v : of_n) v.resize(n);
  for (auto& v : of_m) v.resize(m);
  std::vector<std::int32_t> whole[3], lists(8 * n);
  for (auto& v : whole) v.resize(m);
  std::vector<std::uint64_t> bits[8], violated(m / 64);
  for (auto& v : bits) v.resize(n / 64);
  std::vector<std::uint8_t> none(n);
  std::vector<std::uint16_t> overlaps(remembers ? m * m : 0);
  const std::unique_ptr<bool[]> known(new bool[m]());
  const OnlineScratch scratch{of_n[0].data(),  of_n[1].data(),  of_n[2].data(),  of_n[3].data(),  of_n[4].data(),
                              of_n[5].data(),  of_m[0].data(),  of_m[1].data(),  whole[0].data(), whole[1].data(),
                              whole[2].data(), lists.data(),    bits[0].data(),  bits[1].data(),  bits[2].data(),
                              bits[3].data(),  bits[4].data(),  bits[5].data(),  bits[6].data(),  bits[7].data(),
                              violated.data(), none.data(),
                              remembers ? overlaps.data() : nullptr, known.get()};
  const OnlineUnit job{unit.threshold,      unit.robustness,      1,           unit.kick,
                       kQuantum,            1e9,                  unit.targets.data(), unit.delta.data(),
                       unit.signs.empty() ? nullptr : unit.signs.data(),   unit.seed,   unit.weights.data(),
                       &unit.steps,         unit.report.data(),   unit.history.data(), &unit.status};
  baseline::online_kernels.learn(settings, problem.view(), job, scratch);
}

bool report_is_right(const Problem& problem, const Unit& unit) {
  double violated = 0, wrong_signs = 0, in_gap = 0, sum = 0;
  for (std::int64_t row = 0; row < problem.m; ++row) {
    double field = 0;
    for (std::int64_t i = 0; i < problem.n; ++i) field += unit.weights[i] * problem.rows[row * problem.n_pad + i];
    violated += (unit.targets[row] ? 1 : -1) * (field - unit.threshold) < unit.robustness;
  }
  for (std::int64_t i = 0; i < problem.n; ++i) {
    const double size = std::fabs(unit.weights[i]);
    wrong_signs += !unit.signs.empty() && unit.weights[i] * unit.signs[i] < 0;
    in_gap += size > 0 && size < unit.delta[i];
    sum += size;
  }
  return unit.report[0] == violated && unit.report[1] == wrong_signs && unit.report[2] == in_gap &&
         unit.report[3] == sum / double(problem.n);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 40;
  int failures = 0;
  for (int round = 0; round < rounds; ++round) {
    const int kind = round % 4;
    const Problem problem;
    const std::int64_t steps = 1 + below(60), every = 7, records = steps / every + 1;
    const auto expired = [](const OnlineSettings&) { return false; };
    const OnlineSettings settings{problem.n, problem.m, steps,   0.02, 1e-3,    1u << 28,
                                  kind == 3, every,     records, 0,    expired, 0};
    std::vector<Unit> units;
    for (int u = 0; u < 2; ++u) {
      units.emplace_back(problem, kind, records);
      units.push_back(units.back());  // once with overlaps that are remembered, once without
    }
    std::vector<std::thread> threads;
    for (std::size_t u = 0; u < units.size(); ++u) {
      threads.emplace_back([&, u] { learn(problem, units[u], settings, u % 2 == 0); });
    }
    for (auto& thread : threads) thread.join();
    for (std::size_t u = 0; u < units.size(); ++u) {
      if (!report_is_right(problem, units[u])) ++failures, std::printf("wrong: the report of kind %d\n", kind);
      if (units[u].status == 0) ++failures, std::printf("wrong: not at an end\n");
      if (u % 2 && (units[u].weights != units[u - 1].weights || units[u].history != units[u - 1].history)) {
        ++failures, std::printf("wrong: remembered overlaps change the weights of kind %d\n", kind);
      }
    }
  }
  std::printf("%d rounds, %d failures\n", rounds, failures);
  return failures != 0;
}
