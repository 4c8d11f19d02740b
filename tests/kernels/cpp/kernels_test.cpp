// The kernels against plain loops, on random shapes and patterns, with several threads: made to run under sanitizers.
// Every array is exactly as long as it has to be, so that a read or write past its end is caught.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "spspmm.h"
#include "pattern.h"
#include "products.h"
#include "srelu.h"

using namespace gossamer;
namespace gossamer::baseline {
extern const Kernels kernels;
extern const Layout layout;
extern const SpspmmKernels spspmm_kernels;
extern const SreluKernelSet srelu_kernels;
}  // namespace gossamer::baseline

namespace {

std::mt19937_64 source(7);
int failures = 0;

std::int64_t below(std::int64_t n) { return std::int64_t(source() % std::uint64_t(n)); }
template <class T>
std::vector<T> numbers(std::int64_t n) {
  std::normal_distribution<double> normal;
  std::vector<T> result(n);
  for (auto& x : result) x = T(normal(source));
  return result;
}

void expect(bool right, const char* what) {
  if (!right) {
    ++failures;
    std::printf("wrong: %s\n", what);
  }
}
template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& wanted, const char* what) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double tolerance = (sizeof(T) == 4 ? 1e-4 : 1e-11) * (1 + std::fabs(wanted[i]));
    if (!(std::fabs(double(got[i]) - wanted[i]) <= tolerance)) return expect(false, what);
  }
}

struct Pattern {
  std::int64_t rows, cols;
  std::vector<std::int32_t> indptr, indices, t_indptr, t_indices, permutation;
  std::int64_t nnz() const { return std::int64_t(indices.size()); }
};

Pattern random_pattern(std::int64_t rows, std::int64_t cols) {
  Pattern p{rows, cols, {}, {}, {}, {}, {}};
  const std::int64_t count = below(rows * cols + 1);
  std::vector<std::int64_t> drawn(count);
  sample_sorted(rows * cols, count, source(), drawn.data());
  for (std::int64_t i = 1; i < count; ++i) expect(drawn[i - 1] < drawn[i], "drawn ascend");
  p.indptr.assign(rows + 1, 0);
  for (const auto cell : drawn) {
    ++p.indptr[cell / cols + 1];
    p.indices.push_back(std::int32_t(cell % cols));
  }
  for (std::int64_t r = 0; r < rows; ++r) p.indptr[r + 1] += p.indptr[r];
  p.t_indptr.resize(cols + 1);
  p.t_indices.resize(count);
  p.permutation.resize(count);
  transpose(p.indptr.data(), p.indices.data(), rows, cols, p.t_indptr.data(), p.t_indices.data());
  csc_permutation(p.indptr.data(), p.t_indptr.data(), p.t_indices.data(), rows, cols, p.permutation.data());
  std::int64_t where = 0;
  expect(check(p.indptr.data(), p.indices.data(), rows, cols, count, &where) == 0, "a sound pattern is accepted");
  return p;
}

// Runs work(begin, end) on the rows in three parts, each on a thread of its own.
template <class Work>
void threaded(std::int64_t rows, const Work& work) {
  std::vector<std::thread> threads;
  for (int part = 0; part < 3; ++part) threads.emplace_back([&, part] { work(rows * part / 3, rows * (part + 1) / 3); });
  for (auto& thread : threads) thread.join();
}

// Calls work with the job and the counters of a thread that starts at column `begin`.
template <class Job, class Work>
void with_counters(const Pattern& p, Job job, std::int64_t begin, const Work& work) {
  std::vector<std::int32_t> first(p.rows), next(p.rows);
  first_from(p.indptr.data(), p.indices.data(), p.rows, p.cols, begin, first.data());
  job.pattern.first = first.data(), job.pattern.next = next.data(), job.pattern.others = p.rows;
  work(job);
}

template <class T>
void test_products(const Products<T, T>& kernel) {
  const auto p = random_pattern(1 + below(20), 1 + below(below(3) ? 20 : 90));
  const std::int64_t batch = !below(5) ? 1 : below(3) ? 1 + below(below(2) ? 200 : 20) : 16 * (1 + below(8));
  const bool relu = below(2), prefetch = below(2);
  const auto values = numbers<T>(p.nnz()), bias = numbers<T>(p.rows), x = numbers<T>(p.cols * batch);
  const auto grad = numbers<T>(p.rows * batch);

  std::vector<double> y_wanted(p.rows * batch), dx_wanted(p.cols * batch, 0.0), dv_wanted(p.nnz(), 0.0);
  for (std::int64_t r = 0; r < p.rows; ++r) {
    for (std::int64_t b = 0; b < batch; ++b) {
      double sum = bias[r];
      for (auto j = p.indptr[r]; j < p.indptr[r + 1]; ++j) {
        sum += double(values[j]) * x[p.indices[j] * batch + b];
        dx_wanted[p.indices[j] * batch + b] += double(values[j]) * grad[r * batch + b];
        dv_wanted[j] += double(grad[r * batch + b]) * x[p.indices[j] * batch + b];
      }
      y_wanted[r * batch + b] = relu ? std::max(sum, 0.0) : sum;
    }
  }
  std::vector<T> y(p.rows * batch), dx(p.cols * batch), dv(p.nnz()), dv_only(p.nnz()), dx_only(p.cols * batch);
  const Compressed forward{p.indptr.data(), p.indices.data(), p.rows, nullptr, nullptr, 0};
  const Compressed backward{p.t_indptr.data(), p.t_indices.data(), p.cols, nullptr, nullptr, 0};
  const Blocks blocks = below(2) ? Blocks{1 + below(8), 1 + below(8)} : Blocks{0, 0};
  std::vector<std::int32_t> resume(std::max(p.rows, p.cols));
  const Spmm<T, T> product{forward, values.data(), bias.data(), x.data(), y.data(), p.cols,       batch,
                                    batch,   batch,         relu,        prefetch, blocks,   resume.data(), nullptr};
  const Spmm<T, T> transposed{backward, values.data(), nullptr, grad.data(), dx_only.data(), p.rows,       batch,
                                       batch,    batch,         false,   prefetch,    blocks,         resume.data(), nullptr};
  const SpmmSddmm<T, T> both{backward, values.data(), x.data(), grad.data(), dx.data(), dv.data(), p.rows,       batch,
                                batch,    batch,         batch,    prefetch,    blocks,    resume.data(), nullptr};
  const SpmmSddmm<T, T> one{forward, nullptr, grad.data(), x.data(), nullptr, dv_only.data(), p.cols,       batch,
                               batch,   batch,   batch,       prefetch, blocks,  resume.data(), nullptr};
  const bool packs = below(2);
  const auto with_scratch = [&](auto job, const auto& work) {  // each thread has its own
    std::vector<T> scratch(packs ? job.cols * 8 * 16 / std::int64_t(sizeof(T)) : 0);
    job.scratch = packs ? scratch.data() : nullptr;
    work(job);
  };
  threaded(p.rows, [&](auto begin, auto end) {
    with_scratch(product, [&](const auto& job) { kernel.spmm(job, begin, end); });
  });
  threaded(p.cols, [&](auto begin, auto end) { with_counters(p, transposed, begin, [&](const auto& counted) {
    with_scratch(counted, [&](const auto& job) { kernel.spmm(job, begin, end); });
  }); });
  threaded(p.cols, [&](auto begin, auto end) { with_counters(p, both, begin, [&](const auto& counted) {
    with_scratch(counted, [&](const auto& job) { kernel.spmm_sddmm(job, begin, end); });
  }); });
  threaded(p.rows, [&](auto begin, auto end) {
    with_scratch(one, [&](const auto& job) { kernel.spmm_sddmm(job, begin, end); });
  });
  expect_near(y, y_wanted, "product");
  expect_near(dx_only, dx_wanted, "transposed product");
  expect_near(dx, dx_wanted, "fused: input gradient");
  expect_near(dv, dv_wanted, "fused: weight gradient");
  expect_near(dv_only, dv_wanted, "weight gradient");
}

template <class T>
void test_spspmm(const SpspmmFunctions<T, T>& kernel) {
  const auto p = random_pattern(1 + below(30), 1 + below(30));
  const std::int64_t batch = 1 + below(4), slots = below(p.cols + 1);
  const auto values = numbers<T>(p.nnz()), code = numbers<T>(batch * slots), grad = numbers<T>(batch * p.rows);
  std::vector<std::int32_t> units(batch * slots);
  for (auto& unit : units) unit = std::int32_t(below(p.cols));
  const Spspmm<T, T> job{p.t_indptr.data(), p.t_indices.data(), values.data(), nullptr,
                         {units.data(), batch, slots}, code.data(), p.rows};
  std::vector<double> y_wanted(batch * p.rows, 0.0), dc_wanted(batch * slots, 0.0), dv_wanted(p.nnz(), 0.0);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t s = 0; s < slots; ++s) {
      const auto unit = units[b * slots + s];
      for (auto j = p.t_indptr[unit]; j < p.t_indptr[unit + 1]; ++j) {
        const double weight = values[j], g = grad[b * p.rows + p.t_indices[j]];
        y_wanted[b * p.rows + p.t_indices[j]] += weight * code[b * slots + s];
        dc_wanted[b * slots + s] += weight * g;
        dv_wanted[j] += double(code[b * slots + s]) * g;
      }
    }
  }
  std::vector<T> y(batch * p.rows, T(0)), dc(batch * slots), dv(p.nnz(), T(0));
  threaded(batch, [&](auto begin, auto end) {
    for (auto b = begin; b < end; ++b) kernel.scatter(job, b, 0, slots, y.data() + b * p.rows);
  });
  threaded(p.cols, [&](auto begin, auto end) {
    kernel.backward(job, grad.data(), std::int32_t(begin), std::int32_t(end), dc.data(), dv.data());
  });
  expect_near(y, y_wanted, "spspmm product");
  std::vector<std::int32_t> place(p.nnz());  // the same weights in reversed order
  for (std::int64_t j = 0; j < p.nnz(); ++j) place[j] = std::int32_t(p.nnz() - 1 - j);
  const std::vector<T> reversed(values.rbegin(), values.rend());
  const Spspmm<T, T> gathering{p.t_indptr.data(), p.t_indices.data(), reversed.data(), place.data(),
                               {units.data(), batch, slots}, code.data(), p.rows};
  std::fill(y.begin(), y.end(), T(0));
  for (std::int64_t b = 0; b < batch; ++b) kernel.scatter(gathering, b, 0, slots, y.data() + b * p.rows);
  expect_near(y, y_wanted, "spspmm product of gathered weights");
  expect_near(dc, dc_wanted, "spspmm: code gradient");
  expect_near(dv, dv_wanted, "spspmm: weight gradient");
}

template <class T>
void test_srelu(const SreluKernels<T>& kernel) {
  const SreluShape shape{1 + below(4), 1 + below(40), below(2) ? 1 : 1 + below(40)};
  const auto [outer, units, inner] = shape;
  const std::int64_t count = outer * units * inner;
  const auto x = numbers<T>(count), d = numbers<T>(count);
  const auto t_l = numbers<T>(units), a_l = numbers<T>(units), t_r = numbers<T>(units), a_r = numbers<T>(units);
  std::vector<double> y_wanted(count), dx_wanted(count), sums_wanted(4 * units, 0.0);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t u = i / inner % units;
    const double knee = double(t_l[u]) + std::fabs(double(t_r[u])), sign = t_r[u] < 0 ? -1 : 1;
    const bool low = x[i] <= t_l[u], high = !low && x[i] >= T(t_l[u] + std::fabs(t_r[u]));
    y_wanted[i] = low ? t_l[u] + double(a_l[u]) * (x[i] - t_l[u]) : high ? knee + a_r[u] * (x[i] - knee) : x[i];
    dx_wanted[i] = d[i] * (low ? double(a_l[u]) : high ? double(a_r[u]) : 1.0);
    sums_wanted[u] += d[i] * ((1.0 - a_l[u]) * low + (1.0 - a_r[u]) * high);
    sums_wanted[units + u] += low ? double(d[i]) * (x[i] - t_l[u]) : 0.0;
    sums_wanted[2 * units + u] += sign * d[i] * (1.0 - a_r[u]) * high;
    sums_wanted[3 * units + u] += high ? d[i] * (x[i] - knee) : 0.0;
  }
  std::vector<T> y(count), dx(count), sums(4 * units);
  const SreluPieces<T> pieces{t_l.data(), a_l.data(), t_r.data(), a_r.data()};
  const SreluForward<T> forward{shape, pieces, x.data(), y.data()};
  const SreluBackward<T> backward{shape,     pieces,       d.data(),     x.data(), dx.data(), sums.data(), sums.data() + units,
                                  sums.data() + 2 * units, sums.data() + 3 * units};
  threaded(units, [&](auto begin, auto end) { kernel.forward(forward, begin, end); });
  threaded(units, [&](auto begin, auto end) { kernel.backward(backward, begin, end); });
  expect_near(y, y_wanted, "srelu");
  expect_near(dx, dx_wanted, "srelu: input gradient");
  expect_near(sums, sums_wanted, "srelu: gradients of the pieces");
}

void test_lists() {
  const auto p = random_pattern(1 + below(20), 1 + below(20));
  std::vector<std::int64_t> flat_indices(p.nnz()), empty, ranks, wanted;
  flat_indices_of(p.indptr.data(), p.indices.data(), p.rows, p.cols, flat_indices.data());
  std::vector<std::int32_t> indptr(p.rows + 1), indices(p.nnz());
  csr_of(flat_indices.data(), p.nnz(), p.rows, p.cols, indptr.data(), indices.data());
  expect(indptr == p.indptr && indices == p.indices, "flat_indices of a pattern, and its pattern again");

  for (std::int64_t cell = 0; cell < p.rows * p.cols; ++cell) {
    if (!std::binary_search(flat_indices.begin(), flat_indices.end(), cell)) empty.push_back(cell);
  }
  for (std::int64_t rank = 0; rank < std::int64_t(empty.size()); rank += 1 + below(4)) {
    ranks.push_back(rank), wanted.push_back(empty[rank]);
  }
  std::vector<std::int64_t> found(ranks.size());
  empty_at(flat_indices.data(), p.nnz(), ranks.data(), std::int64_t(ranks.size()), found.data());
  expect(found == wanted, "empty flat_indices by rank");

  const std::unique_ptr<bool[]> chosen(new bool[flat_indices.size()]);
  std::vector<std::int64_t> yes_wanted, no_wanted;
  for (std::size_t i = 0; i < flat_indices.size(); ++i) {
    chosen[i] = below(2);
    (chosen[i] ? yes_wanted : no_wanted).push_back(flat_indices[i]);
  }
  std::vector<std::int64_t> yes(yes_wanted.size() + 1), no(no_wanted.size() + 1);
  split(flat_indices.data(), chosen.get(), p.nnz(), yes.data(), no.data());
  yes.pop_back(), no.pop_back();
  expect(yes == yes_wanted && no == no_wanted, "a list as two");
}

void test_layout(const Layout& layout) {
  const std::int64_t rows = 1 + below(50), cols = 1 + below(50), stride = cols + below(3);
  std::vector<std::uint32_t> from(rows * stride - (stride - cols)), to(rows * cols);
  for (auto& x : from) x = std::uint32_t(source());
  const CopyTransposed<std::uint32_t> job{from.data(), to.data(), rows, cols, stride};
  threaded(cols, [&](auto begin, auto end) { layout.four_bytes(job, begin, end); });
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) expect(to[c * rows + r] == from[r * stride + c], "transposed copy");
  }
}

void test_check() {
  const auto code = [](std::vector<std::int32_t> indptr, std::vector<std::int32_t> indices) {
    std::int64_t where = 0;
    return check(indptr.data(), indices.data(), std::int64_t(indptr.size()) - 1, 5, std::int64_t(indices.size()), &where);
  };
  expect(code({0, 2, 3}, {0, 4, 1}) == 0, "sound");
  expect(code({1, 2, 3}, {0, 4, 1}) == 1, "starts at one");
  expect(code({0, 3, 2}, {0, 4}) == 2, "decreases");
  expect(code({0, 2, 9}, {0, 4, 1}) == 3, "ends elsewhere");
  expect(code({0, 2, 3}, {0, 5, 1}) == 4, "out of range");
  expect(code({0, 2, 3}, {0, -1, 1}) == 4, "negative");
  expect(code({0, 2, 3}, {4, 0, 1}) == 5, "descends");
  expect(code({0, 2, 3}, {4, 4, 1}) == 5, "repeated");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  test_check();
  for (int round = 0; round < rounds; ++round) {
    test_products<float>(baseline::kernels.f32);
    test_products<double>(baseline::kernels.f64);
    test_spspmm<float>(baseline::spspmm_kernels.f32);
    test_spspmm<double>(baseline::spspmm_kernels.f64);
    test_srelu<float>(baseline::srelu_kernels.f32);
    test_srelu<double>(baseline::srelu_kernels.f64);
    test_lists();
    test_layout(baseline::layout);
  }
  std::printf("%d rounds, %d failures\n", rounds, failures);
  return failures != 0;
}
