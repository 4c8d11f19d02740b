// Training steps of random stacks, their gradients against differences of the loss, with several threads: made to run
// under sanitizers. Every array that is handed over is exactly as long as it has to be.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
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

#include "training_step_plan.h"

namespace gossamer {
int active_isa() { return 0; }
bool after_fork() { return false; }
std::int64_t l1_bytes() { return 1 << 12; }
std::int64_t l2_bytes() { return 1 << 15; }
void keep_freed_pages() {}
}  // namespace gossamer
using namespace gossamer;

namespace {

std::mt19937_64 source(7);
int failures = 0;

std::int64_t below(std::int64_t n) { return std::int64_t(source() % std::uint64_t(n)); }
std::int64_t between(std::int64_t low, std::int64_t high) { return low + below(high - low + 1); }

template <class T>
struct Net {
  TrainingStep<T> step;
  std::deque<std::vector<T>> values, gradients, first, second;
  std::deque<std::vector<std::int32_t>> patterns;
  std::int64_t units = 0, words = 0;

  int parameter(std::int64_t count, bool adam) {
    std::normal_distribution<double> normal;
    values.emplace_back(count), gradients.emplace_back(count), first.emplace_back(count), second.emplace_back(count);
    for (T& x : values.back()) x = T(0.5 * normal(source));
    return step.parameter(values.back().data(), gradients.back().data(), first.back().data(),
                          adam ? second.back().data() : nullptr, count, 0, 0, !adam);
  }

  void sparse(std::int64_t outputs, double density, bool relu, bool adam) {
    std::vector<std::int32_t> indptr{0}, indices, t_indptr(units + 1);
    for (std::int64_t r = 0; r < outputs; ++r) {
      for (std::int64_t c = 0; c < units; ++c)
        if (double(below(1000)) < 1000 * density) indices.push_back(std::int32_t(c));
      indptr.push_back(std::int32_t(indices.size()));
    }
    std::vector<std::int32_t> t_indices(indices.size());
    transpose(indptr.data(), indices.data(), outputs, units, t_indptr.data(), t_indices.data());
    std::vector<std::int32_t> place(indices.size());
    csc_permutation(indptr.data(), t_indptr.data(), t_indices.data(), outputs, units, place.data());
    const int weights = parameter(std::int64_t(indices.size()), adam), bias = below(2) ? parameter(outputs, adam) : -1;
    const std::int32_t* kept[5];
    int i = 0;
    for (auto* list : {&indptr, &indices, &t_indptr, &t_indices, &place}) {
      patterns.push_back(*list);
      kept[i++] = patterns.back().data();
    }
    step.sparse(units, outputs, kept[0], kept[1], kept[2], kept[3], kept[4], weights, bias, relu);
    units = outputs;
  }

  void activation(std::int64_t which, std::int64_t batch, bool adam) {
    switch (which) {
      case 0: return step.curve(units, Curve::kSigmoid, 0);
      case 1: return step.curve(units, Curve::kTanh, 0);
      case 2: return step.curve(units, Curve::kReLU, 0);
      case 3: return step.curve(units, Curve::kLeaky, -0.3);
      case 4: return step.top_k(units, between(1, units), below(2));
      case 5: {
        const int t_l = parameter(units, adam), a_l = parameter(units, adam), t_r = parameter(units, adam);
        return step.srelu(units, t_l, a_l, t_r, parameter(units, adam));
      }
      case 6: {
        words += (units * batch + 3) / 4;
        return step.dropout(units, -10000, 1.5, below(2));
      }
      default:
        if (units > 1) step.hoyer(units, 1 + 0.5 * (std::sqrt(double(units)) - 1), below(2) ? 1 : 1.7, below(2));
    }
  }
};

// A batch's loss without change of the parameters, or with.
template <class T>
double train(Net<T>& net, int threads, const std::vector<T>& x, std::int64_t inputs, const std::vector<T>& y, Task task,
             std::int64_t batch, const std::vector<std::int64_t>& order, const std::vector<std::int64_t>& bits,
             double rate, bool adam, std::int64_t size) {
  std::vector<std::int64_t> classes(y.size() / net.units);
  for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = std::int64_t(i) % net.units;
  const std::size_t batches = (order.size() + size - 1) / size;
  std::vector<Recipe> recipes(batches, Recipe{rate, 0.01, 0.9, 0, 1, 0.9, 0.999, 1e-8});
  std::vector<double> losses(batches), credits(batches);
  net.step.train(threads, {x.data(), inputs, 1, nullptr, nullptr, nullptr}, {task, classes.data(), y.data(), nullptr},
                 order.data(), std::int64_t(order.size()), size, reinterpret_cast<const std::int16_t*>(bits.data()),
                 recipes.data(), 1, adam, false, rate > 0 ? 1.0 : 0.0, losses.data(), credits.data());
  return losses[0] / double(batch);
}

template <class T>
std::vector<T> numbers(std::int64_t n) {
  std::normal_distribution<double> normal;
  std::vector<T> result(n);
  for (auto& x : result) x = T(normal(source));
  return result;
}

// Smooth stacks: the gradients are the slopes of the loss.
void test_gradients() {
  const std::int64_t inputs = between(1, 20), batch = between(1, 20);
  Net<double> net;
  net.units = inputs;
  for (std::int64_t depth = between(1, 3); depth > 0; --depth) {
    if (below(2)) {
      net.sparse(between(2, 20), 0.3, false, false);
    } else {
      const std::int64_t outputs = between(2, 20);
      const int weights = net.parameter(outputs * net.units, false);
      net.step.dense(net.units, outputs, weights, net.parameter(outputs, false), false);
      net.units = outputs;
    }
    if (depth > 1) net.activation(below(2), batch, false);
  }
  const Task task = Task(below(3));
  const auto x = numbers<double>(batch * inputs);
  auto y = numbers<double>(batch * net.units);
  if (task == Task::kLabels)
    for (double& value : y) value = value > 0;
  std::vector<std::int64_t> order(batch), none;
  for (std::int64_t b = 0; b < batch; ++b) order[b] = b;
  const auto loss = [&] { return train(net, 2, x, inputs, y, task, batch, order, none, 0, false, batch); };
  loss();
  const auto gradients = net.gradients;
  for (std::size_t p = 0; p < net.values.size(); ++p) {
    for (std::size_t i = 0; i < net.values[p].size(); i += 1 + net.values[p].size() / 5) {
      double& value = net.values[p][i];
      const double before = value, h = 1e-5;
      value = before + h;
      const double above = loss();
      value = before - h;
      const double slope = (above - loss()) / (2 * h);
      value = before;
      if (std::fabs(slope - gradients[p][i]) > 1e-6 * (1 + std::fabs(slope))) {
        ++failures;
        std::printf("gradient %g, the loss rises by %g\n", gradients[p][i], slope);
      }
    }
  }
}

// Any stack, for memory and threads.
template <class T>
void test_any(std::int64_t widest, std::int64_t most, int threads) {
  const std::int64_t inputs = between(1, widest), n = between(1, 2 * most), size = between(1, most);
  const bool adam = below(2);
  Net<T> net;
  net.units = inputs;
  std::int64_t words = 0;
  for (std::int64_t depth = between(1, 4); depth > 0; --depth) {
    net.sparse(between(2, widest), 0.2, below(2), adam);
    net.activation(below(8), size, adam);
  }
  net.sparse(between(1, 10), 0.5, false, adam);
  words = net.words * (n / size + 1);
  const auto x = numbers<T>(n * inputs), y = numbers<T>(n * net.units);
  std::vector<std::int64_t> order(n), bits(words);
  for (std::int64_t b = 0; b < n; ++b) order[b] = n - 1 - b;
  for (auto& word : bits) word = std::int64_t(source());
  const double loss = train(net, threads, x, inputs, y, Task(below(3)), std::min(n, size), order, bits, 0.01, adam, size);
  if (!std::isfinite(loss)) {
    ++failures;
    std::printf("the loss is %g\n", loss);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  for (int round = 0; round < rounds; ++round) {
    test_gradients();
    test_any<float>(40, 20, 1);
    test_any<double>(40, 20, 2);
  }
  for (int round = 0; round < 2; ++round) test_any<float>(600, 128, 3);
  std::printf("%d rounds, %d failures\n", rounds, failures);
  return failures != 0;
}
