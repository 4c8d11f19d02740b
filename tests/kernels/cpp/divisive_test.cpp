// The activations of Hebbian blocks and their cost against plain loops, on random shapes, with several threads: made to
// run under sanitizers. Every array is exactly as long as it has to be, so that a read or write past its end is caught.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "divisive.h"
#include "winners.h"

using namespace gossamer;
namespace gossamer::baseline {
extern const DivisiveKernelSet divisive_kernels;
extern const WinnersKernelSet winners_kernels;
}  // namespace gossamer::baseline

namespace {

std::mt19937_64 source(7);
int failures = 0;

std::int64_t below(std::int64_t n) { return std::int64_t(source() % std::uint64_t(n)); }
template <class T>
std::vector<T> numbers(std::int64_t n, bool ties) {
  std::normal_distribution<double> normal;
  std::vector<T> result(n);
  for (auto& x : result) x = ties ? T(below(5) - 2) : T(normal(source));
  return result;
}
template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& wanted, const char* what) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!(std::fabs(double(got[i]) - wanted[i]) <= 1e-9 * (1 + std::fabs(wanted[i])))) {
      ++failures;
      std::printf("wrong: %s\n", what);
      return;
    }
  }
}
template <class Work>
void threaded(std::int64_t count, const Work& work) {
  std::thread other(work, 0, count / 2);
  work(count / 2, count);
  other.join();
}

// Double precision, so that no rounding moves a number across its threshold.
void test_divisive(const DivisiveKernels<double>& kernel) {
  const MapShape shape{1 + below(3), 1 + below(20), 1 + below(9), 1 + below(20)};
  const auto [images, channels, height, width] = shape;
  const std::int64_t count = height * width, all = images * channels * count, rank = below(count + 1);
  const int window = below(2) ? 3 : 1, reach = window / 2;
  const double sigma = double(below(3)) / 2;
  const bool ties = below(2), straight = below(2);
  const auto u = numbers<double>(all, ties), g = numbers<double>(all, false);
  std::vector<double> z(all), du(all), local(images * count), divisor(images * count), threshold(images * channels);
  threaded(images, [&](auto begin, auto end) {
    kernel.forward({shape, sigma, window, rank, u.data(), z.data(), local.data(), divisor.data(), threshold.data()}, begin, end);
  });
  threaded(images, [&](auto begin, auto end) {
    kernel.backward({shape, sigma, window, straight, g.data(), u.data(), local.data(), divisor.data(), threshold.data(),
                     du.data()}, begin, end);
  });

  std::vector<double> z_wanted(all), du_wanted(all), local_wanted(images * count);
  for (std::int64_t n = 0; n < images; ++n) {
    const auto at = [&](std::int64_t c, std::int64_t p) { return (n * channels + c) * count + p; };
    const auto first_largest = [&](std::int64_t c, std::int64_t p) {  // of the window around p
      std::int64_t best = -1;
      for (std::int64_t i = std::max<std::int64_t>(p / width - reach, 0); i <= std::min(p / width + reach, height - 1); ++i) {
        for (std::int64_t j = std::max<std::int64_t>(p % width - reach, 0); j <= std::min(p % width + reach, width - 1); ++j) {
          if (best < 0 || std::max(u[at(c, i * width + j)], 0.0) > std::max(u[at(c, best)], 0.0)) best = i * width + j;
        }
      }
      return best;
    };
    for (std::int64_t p = 0; p < count; ++p) {
      for (std::int64_t c = 0; c < channels; ++c) local_wanted[n * count + p] += std::max(u[at(c, first_largest(c, p))], 0.0) / channels;
    }
    std::vector<double> of_local(count), of_divisor(count);
    for (std::int64_t c = 0; c < channels; ++c) {
      std::vector<double> sorted(count);
      for (std::int64_t p = 0; p < count; ++p) sorted[p] = std::max(u[at(c, p)], 0.0) / divisor[n * count + p];
      const auto values = sorted;
      std::sort(sorted.begin(), sorted.end());
      const double limit = rank ? sorted[rank - 1] : 0;
      for (std::int64_t p = 0; p < count; ++p) {
        z_wanted[at(c, p)] = values[p] > limit ? values[p] : 0;
        const double passed = straight || values[p] > limit ? g[at(c, p)] : 0, d = divisor[n * count + p];
        du_wanted[at(c, p)] = passed / d;
        of_divisor[p] -= passed * values[p] / d;
      }
    }
    const double* m = local.data() + n * count;
    const double most = *std::max_element(m, m + count);
    double sum = 0, largest = double(std::count(m, m + count, most));
    for (double d : of_divisor) sum += d;
    for (std::int64_t p = 0; p < count; ++p) of_local[p] = (1 - sigma) * of_divisor[p] + (m[p] == most ? sigma * sum / largest : 0);
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t p = 0; p < count; ++p) du_wanted[at(c, first_largest(c, p))] += of_local[p] / channels;
      for (std::int64_t p = 0; p < count; ++p) du_wanted[at(c, p)] *= u[at(c, p)] > 0;
    }
  }
  expect_near(local, local_wanted, "mean activation");
  expect_near(z, z_wanted, "gated activations");
  expect_near(du, du_wanted, "their gradient");
}

void test_winners(const WinnersKernels<double>& kernel) {
  const WinnersShape shape{1 + below(5), 1 + below(20), 1 + below(30)};
  const auto [outer, channels, inner] = shape;
  const std::int64_t locations = outer * inner, all = locations * channels, k = 1 + below(channels);
  const double rest = double(below(3)) / 4;
  const auto u = numbers<double>(all, false), g = numbers<double>(locations, false);
  std::vector<double> cost(locations), least(locations), du(all), cost_wanted(locations), du_wanted(all);
  const auto halves = [&, locations = locations](const auto& work) {
    threaded((locations + 63) / 64, [&](std::int64_t begin, std::int64_t end) {
      work(std::min(begin * 64, locations), std::min(end * 64, locations));
    });
  };
  halves([&](auto begin, auto end) { kernel.forward({shape, k, rest, u.data(), cost.data(), least.data()}, begin, end); });
  halves([&](auto begin, auto end) { kernel.backward({shape, k, rest, g.data(), u.data(), least.data(), du.data()}, begin, end); });
  for (std::int64_t l = 0; l < locations; ++l) {
    const std::int64_t first = l / inner * channels * inner + l % inner;
    std::vector<double> a(channels);
    for (std::int64_t c = 0; c < channels; ++c) a[c] = std::max(u[first + c * inner], 0.0);
    const auto values = a;
    std::sort(a.begin(), a.end(), std::greater<>());
    for (std::int64_t c = 0; c < channels; ++c) {
      cost_wanted[l] += c < k ? a[c] / k : -rest * a[c];
      du_wanted[first + c * inner] = values[c] > 0 ? g[l] * (values[c] >= a[k - 1] ? 1.0 / k : -rest) : 0;
    }
  }
  expect_near(cost, cost_wanted, "cost of winners");
  expect_near(du, du_wanted, "its gradient");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  for (int round = 0; round < rounds; ++round) {
    test_divisive(baseline::divisive_kernels.f64);
    test_winners(baseline::winners_kernels.f64);
  }
  std::printf("%d failures\n", failures);
  return failures != 0;
}
