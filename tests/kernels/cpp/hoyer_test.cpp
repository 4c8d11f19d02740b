// The projection's passes and search on random shapes, against a bisection: made to run under sanitizers. Every array is
// exactly as long as it has to be, so that a read or write past its end is caught.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "hoyer.h"
#include "hoyer_tensor.h"

namespace gossamer {
int active_isa() { return 0; }
bool after_fork() { return false; }
namespace baseline {
extern const HoyerKernelSet hoyer_kernels;
}
}  // namespace gossamer
using namespace gossamer;

namespace {

std::mt19937_64 source(11);
int failures = 0;

std::int64_t below(std::int64_t n) { return std::int64_t(source() % std::uint64_t(n)); }

void expect(bool right, const char* what) {
  if (!right) {
    ++failures;
    std::printf("wrong: %s\n", what);
  }
}

double ratio(const std::vector<double>& x, double alpha) {
  double sum = 0, square = 0;
  for (const double value : x) {
    const double y = std::max(value - alpha, 0.0);
    sum += y;
    square += y * y;
  }
  return sum / std::sqrt(square);
}

// One row, its maximum alone.
std::vector<double> by_bisection(const std::vector<double>& x, double radius) {
  double high = *std::max_element(x.begin(), x.end());
  double low = high - 1e6;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (ratio(x, middle) > radius ? low : high) = middle;
  }
  std::vector<double> s(x);
  double square = 0;
  for (double& value : s) {
    value = std::max(value - low, 0.0);
    square += value * value;
  }
  for (double& value : s) value /= std::sqrt(square);
  return s;
}

template <class T>
void check(const HoyerKernels<T>& kernels) {
  const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-8;
  const Shape shape{1 + below(3), 2 + below(below(4) ? 60 : 2500), 1 + below(40)};
  const auto [outer, n, inner] = shape;
  const bool magnitude = below(2), radius_per_row = below(2);
  const double root = std::sqrt(double(n));

  std::normal_distribution<double> normal;
  std::vector<T> x(outer * n * inner), s(x.size()), v(x.size()), out(x.size()), beta(outer * inner);
  for (T& value : x) value = T(normal(source));
  for (T& value : v) value = T(normal(source));
  std::vector<double> radius(radius_per_row ? outer * inner : 1);
  for (double& r : radius) r = root - (0.05 + 0.01 * double(below(90))) * (root - 1);

  forward<T>(kernels, shape, 1, {x.data(), s.data(), beta.data(), radius.data(), radius_per_row, magnitude});
  backward<T>(kernels, shape, 1, magnitude,
              {v.data(), s.data(), beta.data(), radius.data(), radius_per_row, out.data()});

  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < inner; ++i) {
      std::vector<double> row(n);
      const auto at = [&](std::int64_t j) { return (o * n + j) * inner + i; };
      for (std::int64_t j = 0; j < n; ++j) row[j] = magnitude ? std::fabs(double(x[at(j)])) : double(x[at(j)]);
      const std::vector<double> exact = by_bisection(row, radius[radius_per_row ? o * inner + i : 0]);
      double largest = 0, with_result = 0, with_signs = 0;
      for (std::int64_t j = 0; j < n; ++j) {
        const double sign = magnitude && x[at(j)] < 0 ? -1 : 1;
        largest = std::max(largest, std::fabs(double(s[at(j)]) - sign * exact[j]));
        with_result += double(out[at(j)]) * double(s[at(j)]);
        with_signs += double(out[at(j)]) * (s[at(j)] > 0) - double(out[at(j)]) * (s[at(j)] < 0);
      }
      expect(largest <= tolerance * 10, "projection");
      // The derivative maps into the complement of the result and of its signs.
      const double scale = 1 + double(beta[o * inner + i]) * root;
      expect(std::fabs(with_result) <= tolerance * 10 * scale, "product with the result");
      expect(std::fabs(with_signs) <= tolerance * 10 * scale * root, "product with the signs");
    }
}

template <class T>
void check_special(const HoyerKernels<T>& kernels) {
  const T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  const std::int64_t rows = 6, n = 4;
  const std::vector<T> x{0, 0, 0, 0, -infinity, 1, -infinity, 2, nan, 1, 2, 3, infinity, 0, 0, 0,
                         -infinity, -infinity, -infinity, -infinity, 3, 1, 2, 0};
  const double radius = 1.5;
  std::vector<T> s(x.size()), beta(rows);
  forward<T>(kernels, {rows, n, 1}, 1, {x.data(), s.data(), beta.data(), &radius, 0, false});
  expect(std::fabs(s[0] + s[1] + s[2] + s[3] - 1.5) < 1e-5 && beta[0] == 0, "ties");
  expect(s[4] == 0 && std::fabs(s[5] - std::sqrt(0.5)) < 1e-6 && beta[1] == 0, "too few units");
  expect(std::isnan(s[8]) && std::isnan(s[11]) && std::isnan(s[12]) && std::isnan(s[15]), "NaN and infinity");
  expect(s[16] == 0 && s[19] == 0, "all masked");
  expect(std::fabs(s[20] - 0.85355339) < 1e-6 && s[23] == 0 && std::fabs(beta[5] - std::sqrt(0.125)) < 1e-6, "plain");
}

}  // namespace

int main() {
  for (int i = 0; i < 30; ++i) {
    check(baseline::hoyer_kernels.f32);
    check(baseline::hoyer_kernels.f64);
  }
  check_special(baseline::hoyer_kernels.f32);
  check_special(baseline::hoyer_kernels.f64);
  std::printf("%d failures\n", failures);
  return failures ? 1 : 0;
}
