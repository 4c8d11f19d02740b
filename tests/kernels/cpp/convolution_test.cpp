// Sparse convolutions of random shapes against plain loops, shared among threads: made to run under sanitizers. Every
// array is exactly as long as it has to be, so that a read or write past its end is caught.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

// Threads that the thread sanitizer knows, in place of OpenMP's.
#define parallel parallel_in_openmp
#include "dispatch.h"
#undef parallel
namespace gossamer {
template <class Work>
void parallel(int threads, const Work& work) {
  std::vector<std::thread> others;
  for (int part = 1; part < threads; ++part) others.emplace_back([&, part] { work(part, threads); });
  work(0, threads);
  for (auto& other : others) other.join();
}
}  // namespace gossamer

#include "convolution.h"
#include "convolution_work.h"

namespace gossamer {
int active_isa() { return 0; }
bool after_fork() { return false; }
std::int64_t l1_bytes() { return 1 << 12; }  // small: several blocks and strips
std::int64_t l2_bytes() { return 1 << 15; }
namespace baseline {
extern const ConvolutionKernels convolution_kernels;
}
}  // namespace gossamer
using namespace gossamer;

namespace {

std::mt19937_64 source(5);
int failures = 0;

std::int64_t below(std::int64_t n) { return std::int64_t(source() % std::uint64_t(n)); }
std::int64_t between(std::int64_t low, std::int64_t high) { return low + below(high - low + 1); }

template <class T>
std::vector<T> numbers(std::int64_t n) {
  std::normal_distribution<double> normal;
  std::vector<T> result(n);
  for (auto& x : result) x = T(normal(source));
  return result;
}

template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& wanted, const char* what) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double tolerance = (sizeof(T) == 4 ? 1e-4 : 1e-11) * (1 + std::fabs(wanted[i]));
    if (!(std::fabs(double(got[i]) - wanted[i]) <= tolerance)) {
      ++failures;
      std::printf("wrong: %s\n", what);
      return;
    }
  }
}

Dimension dimension() {
  Dimension d{between(1, 12), 0, between(1, 4), between(1, 3), between(1, 2), below(4)};
  d.output = (d.input + d.padding + below(3) - d.dilation * (d.kernel - 1) - 1) / d.stride + 1;
  const bool holds = d.input + d.padding >= d.dilation * (d.kernel - 1) + 1 && d.output >= 1;
  return holds ? d : dimension();
}

std::int64_t index(bool innermost, std::int64_t samples, std::int64_t channels, std::int64_t pixels, std::int64_t n,
                   std::int64_t c, std::int64_t p) {
  return innermost ? (c * pixels + p) * samples + n : (n * channels + c) * pixels + p;
}

Layer small_layer() {
  const std::int64_t groups = between(1, 2), inputs = groups * between(1, 9), outputs = groups * between(1, 9);
  return {between(1, 11), inputs, outputs, groups, dimension(), dimension(), below(2) == 1, below(2) == 1};
}
Layer large_layer() {  // enough work, and enough entries, for several threads
  const Dimension d{6, 3, 3, 2, 1, 1};
  return {between(8, 11), 60, 62, between(1, 2), d, d, below(2) == 1, below(2) == 1};
}

template <class T>
void test_convolution(const Convolution<T, T>& kernels, const Layer& layer, double density, int threads) {
  const std::int64_t group_inputs = layer.inputs / layer.groups, group_outputs = layer.outputs / layer.groups;
  const std::int64_t kernel = layer.y.kernel * layer.x.kernel, columns = group_inputs * kernel;
  const std::int64_t x_pixels = layer.y.input * layer.x.input, y_pixels = layer.y.output * layer.x.output;

  // CSR and its transpose.
  std::vector<std::int32_t> indptr{0}, indices, t_indptr{0}, t_indices, permutation;
  std::vector<std::vector<std::int32_t>> of_column(columns), row_of_column(columns);
  for (std::int64_t row = 0; row < layer.outputs; ++row) {
    for (std::int64_t col = 0; col < columns; ++col) {
      if (double(below(1000)) >= 1000 * density) continue;
      of_column[col].push_back(std::int32_t(indices.size()));
      row_of_column[col].push_back(std::int32_t(row));
      indices.push_back(std::int32_t(col));
    }
    indptr.push_back(std::int32_t(indices.size()));
  }
  for (std::int64_t col = 0; col < columns; ++col) {
    t_indices.insert(t_indices.end(), row_of_column[col].begin(), row_of_column[col].end());
    permutation.insert(permutation.end(), of_column[col].begin(), of_column[col].end());
    t_indptr.push_back(std::int32_t(t_indices.size()));
  }

  const auto nnz = std::int64_t(indices.size());
  const auto values = numbers<T>(nnz), bias = numbers<T>(layer.outputs);
  const auto x = numbers<T>(layer.samples * layer.inputs * x_pixels);
  const auto dy = numbers<T>(layer.samples * layer.outputs * y_pixels);
  std::vector<double> y_wanted(dy.size()), dx_wanted(x.size()), dv_wanted(nnz);
  for (std::int64_t n = 0; n < layer.samples; ++n) {
    for (std::int64_t row = 0; row < layer.outputs; ++row) {
      for (std::int64_t p = 0; p < y_pixels; ++p) {
        const auto here = index(layer.output_innermost, layer.samples, layer.outputs, y_pixels, n, row, p);
        y_wanted[here] += bias[row];
        for (std::int32_t j = indptr[row]; j < indptr[row + 1]; ++j) {
          const std::int64_t channel = row / group_outputs * group_inputs + indices[j] / kernel;
          const std::int64_t k = indices[j] % kernel;
          const auto pixel = [&](const Dimension& d, std::int64_t out, std::int64_t tap) {
            return out * d.stride + tap * d.dilation - d.padding;
          };
          const std::int64_t v = pixel(layer.y, p / layer.x.output, k / layer.x.kernel);
          const std::int64_t u = pixel(layer.x, p % layer.x.output, k % layer.x.kernel);
          if (v < 0 || v >= layer.y.input || u < 0 || u >= layer.x.input) continue;
          const auto there =
              index(layer.input_innermost, layer.samples, layer.inputs, x_pixels, n, channel, v * layer.x.input + u);
          y_wanted[here] += double(values[j]) * x[there];
          dx_wanted[there] += double(values[j]) * dy[here];
          dv_wanted[j] += double(x[there]) * dy[here];
        }
      }
    }
  }

  const Pattern pattern{indptr.data(), indices.data(), nullptr};
  const Pattern transposed{t_indptr.data(), t_indices.data(), permutation.data()};
  std::vector<T> y(dy.size()), dx(x.size()), dv(nnz), dx_alone(x.size()), dv_alone(nnz);
  convolve(kernels, layer, pattern, values.data(), bias.data(), x.data(), y.data(), threads);
  expect_near(y, y_wanted, "output");
  convolve_back(kernels, layer, transposed, values.data(), static_cast<const T*>(nullptr), dy.data(), dx_alone.data(),
                static_cast<T*>(nullptr), threads);
  expect_near(dx_alone, dx_wanted, "input gradient");
  if (nnz == 0) return;
  convolve_back(kernels, layer, transposed, values.data(), x.data(), dy.data(), dx.data(), dv.data(), threads);
  expect_near(dx, dx_wanted, "input gradient, of both");
  expect_near(dv, dv_wanted, "weight gradient, of both");
  convolve_back(kernels, layer, transposed, static_cast<const T*>(nullptr), x.data(), dy.data(),
                static_cast<T*>(nullptr), dv_alone.data(), threads);
  expect_near(dv_alone, dv_wanted, "weight gradient");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  for (int round = 0; round < rounds; ++round) {
    const double density = 0.1 * double(below(11));
    test_convolution(baseline::convolution_kernels.f32, small_layer(), density, 1);
    test_convolution(baseline::convolution_kernels.f64, small_layer(), density, 1);
  }
  test_convolution(baseline::convolution_kernels.f32, large_layer(), 0.95, 3);
  test_convolution(baseline::convolution_kernels.f64, large_layer(), 0.3, 2);
  std::printf("%d rounds, %d failures\n", rounds, failures);
  return failures != 0;
}
