// Steps of LSTM and GRU on random sizes, units shared by threads: results against std::exp and std::tanh, gradients
// against differences of the results. Made to run under sanitizers: every array is exactly as long as it has to be, so
// that a read or write past its end is caught.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "recurrent.h"

using namespace gossamer;
namespace gossamer::baseline {
extern const RecurrentKernelSet recurrent_kernels;
}

namespace {

std::mt19937_64 source(3);
std::int64_t below(std::int64_t n) { return std::int64_t(source() % std::uint64_t(n)); }

template <class T>
std::vector<T> numbers(std::int64_t count) {
  std::vector<T> out;
  std::normal_distribution<double> normal(0, 2);
  for (std::int64_t i = 0; i < count; ++i) out.push_back(T(normal(source)));
  return out;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

template <class Kernel, class Job>
void in_threads(Kernel kernel, const Job& job) {
  std::vector<std::thread> threads;
  for (int part = 0; part < 3; ++part) {
    threads.emplace_back([&, part] { kernel(job, job.units * part / 3, job.units * (part + 1) / 3); });
  }
  for (auto& thread : threads) thread.join();
}

int failures = 0;

void expect_near(double found, double expected, double tolerance, const char* what) {
  if (std::abs(found - expected) <= tolerance * (1 + std::abs(expected))) return;
  if (++failures < 10) std::printf("wrong: %s is %.17g, not %.17g\n", what, found, expected);
}

// Blocks of a sequence with `gap` columns of other steps beside them: exactly as long as their last row needs.
std::int64_t length(std::int64_t rows, std::int64_t stride, std::int64_t batch) { return (rows - 1) * stride + batch; }

template <class T>
void check_lstm(const RecurrentKernels<T>& kernels, double tolerance) {
  const std::int64_t units = 1 + below(9), batch = 1 + below(40), stride = batch + below(5), size = units * batch;
  const auto x = numbers<T>(length(4 * units, stride, batch)), r = numbers<T>(4 * size), before = numbers<T>(size);
  std::vector<T> gates(length(4 * units, stride, batch)), cells(length(units, stride, batch)), y(cells.size()), h(size);
  in_threads(kernels.lstm, LstmForward<T>{units, batch, {x.data(), stride}, {before.data(), batch}, r.data(),
                                          {gates.data(), stride}, {cells.data(), stride}, {y.data(), stride}, h.data()});
  const auto dy = numbers<T>(length(units, stride, batch)), dh = numbers<T>(size), dc = numbers<T>(size);
  std::vector<T> dc_before = dc, dx(gates.size()), dr(4 * size);
  in_threads(kernels.lstm_backward,
             LstmBackward<T>{units, batch, {gates.data(), stride}, {cells.data(), stride}, {before.data(), batch},
                             {dy.data(), stride}, dh.data(), dc_before.data(), {dx.data(), stride}, dr.data()});
  for (std::int64_t u = 0; u < units; ++u) {
    for (std::int64_t b = 0; b < batch; ++b) {
      double a[5];  // sums of the gates, and the cell before
      for (int g = 0; g < 4; ++g) a[g] = double(x[(g * units + u) * stride + b]) + double(r[(g * units + u) * batch + b]);
      a[4] = double(before[u * batch + b]);
      const auto cell = [&] { return sigmoid(a[1]) * a[4] + sigmoid(a[0]) * std::tanh(a[2]); };
      const auto state = [&] { return sigmoid(a[3]) * std::tanh(cell()); };
      expect_near(double(cells[u * stride + b]), cell(), tolerance, "a cell");
      expect_near(double(y[u * stride + b]), state(), tolerance, "a state");
      if (h[u * batch + b] != y[u * stride + b]) ++failures;
      const double d = double(dy[u * stride + b]) + double(dh[u * batch + b]);
      const auto loss = [&] { return d * state() + double(dc[u * batch + b]) * cell(); };
      for (int g = 0; g < 5; ++g) {
        const double at = a[g], step = 1e-5;
        a[g] = at + step;
        const double ahead = loss();
        a[g] = at - step;
        const double slope = (ahead - loss()) / (2 * step);
        a[g] = at;
        const T found = g == 4 ? dc_before[u * batch + b] : dx[(g * units + u) * stride + b];
        expect_near(double(found), slope, std::max(1e-6, 10 * tolerance), "a gradient of an LSTM");
        if (g < 4 && dr[(g * units + u) * batch + b] != found) ++failures;
      }
    }
  }
}

template <class T>
void check_gru(const RecurrentKernels<T>& kernels, double tolerance) {
  const std::int64_t units = 1 + below(9), batch = 1 + below(40), stride = batch + below(5), size = units * batch;
  const auto x = numbers<T>(length(3 * units, stride, batch)), r = numbers<T>(3 * size), before = numbers<T>(size);
  std::vector<T> gates(length(4 * units, stride, batch)), y(length(units, stride, batch)), h = before;
  in_threads(kernels.gru, GruForward<T>{units, batch, {x.data(), stride}, r.data(), {gates.data(), stride},
                                        {y.data(), stride}, h.data()});
  const auto dy = numbers<T>(y.size()), dh = numbers<T>(size), from_next = numbers<T>(size);
  std::vector<T> direct = from_next, dx(length(3 * units, stride, batch)), all(dx.size()), dr(3 * size);
  in_threads(kernels.gru_backward,
             GruBackward<T>{units, batch, {gates.data(), stride}, {before.data(), batch}, {dy.data(), stride}, dh.data(),
                            direct.data(), {dx.data(), stride}, {all.data(), stride}, dr.data()});
  for (std::int64_t u = 0; u < units; ++u) {
    for (std::int64_t b = 0; b < batch; ++b) {
      double a[7];  // of the input, of the state, and the state before
      for (int g = 0; g < 3; ++g) {
        a[g] = double(x[(g * units + u) * stride + b]);
        a[3 + g] = double(r[(g * units + u) * batch + b]);
      }
      a[6] = double(before[u * batch + b]);
      const auto state = [&] {
        const double n = std::tanh(a[2] + sigmoid(a[0] + a[3]) * a[5]), z = sigmoid(a[1] + a[4]);
        return (1 - z) * n + z * a[6];
      };
      expect_near(double(y[u * stride + b]), state(), tolerance, "a state");
      if (h[u * batch + b] != y[u * stride + b]) ++failures;
      const double d = double(dy[u * stride + b]) + double(dh[u * batch + b]) + double(from_next[u * batch + b]);
      for (int g = 0; g < 7; ++g) {
        const double at = a[g], step = 1e-5;
        a[g] = at + step;
        const double ahead = state();
        a[g] = at - step;
        const double slope = d * (ahead - state()) / (2 * step);
        a[g] = at;
        const T found = g == 6 ? direct[u * batch + b]
                               : (g < 3 ? dx[(g * units + u) * stride + b] : all[((g - 3) * units + u) * stride + b]);
        expect_near(double(found), slope, std::max(1e-6, 10 * tolerance), "a gradient of a GRU");
        if (g >= 3 && g < 6 && dr[((g - 3) * units + u) * batch + b] != found) ++failures;
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 40;
  for (int round = 0; round < rounds; ++round) {
    check_lstm(baseline::recurrent_kernels.f32, 1e-6);
    check_lstm(baseline::recurrent_kernels.f64, 1e-14);
    check_gru(baseline::recurrent_kernels.f32, 1e-6);
    check_gru(baseline::recurrent_kernels.f64, 1e-14);
  }
  std::printf("%d rounds, %d failures\n", rounds, failures);
  return failures != 0;
}
