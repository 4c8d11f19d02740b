// Python's door to the online rule of associative units.

#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "associative.h"
#include "dispatch.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace gossamer {

GOSSAMER_TABLE(OnlineKernels, online_kernels, online_kernel_set)

namespace {

// Array number `unit` of those that a call is given, which lie `stride` elements apart; 0 if all units share one.
template <class T>
T* of_unit(Address address, std::int64_t unit, std::int64_t stride) {
  return address ? at<T>(address) + unit * stride : nullptr;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::int64_t padded(std::int64_t size) { return (size + kPatternPad - 1) / kPatternPad * kPatternPad; }

class OwnedPatterns {
 public:
  OwnedPatterns(std::int64_t m, std::int64_t n)
      : m_(m), n_(n), rows_(std::size_t(m * padded(n)), 0), columns_(std::size_t(n * padded(m)), 0),
        bits_(std::size_t(m * padded(n) / 64)), halves_(std::size_t(n * padded(m) / 2), 0) {}

  Patterns read(const std::uint8_t* x) {
    const Patterns result{padded(n_), padded(m_), rows_.data(), columns_.data(), bits_.data(), halves_.data()};
    std::fill(bits_.begin(), bits_.end(), 0);
    std::fill(halves_.begin(), halves_.end(), std::uint8_t(0));
    for (std::int64_t row = 0; row < m_; ++row) {
      std::memcpy(rows_.data() + row * result.n, x + row * n_, std::size_t(n_));
      for (std::int64_t col = 0; col < n_; ++col) {
        const std::uint8_t value = x[row * n_ + col];
        columns_[std::size_t(col * result.m + row)] = value;
        bits_[std::size_t((row * result.n + col) / 64)] |= std::uint64_t(value) << (col % 64);
        halves_[std::size_t(col * (result.m / 2) + row / 64 * 32 + row % 32)] |= std::uint8_t(value << (row % 64 / 32 * 4));
      }
    }
    return result;
  }

 private:
  std::int64_t m_, n_;
  std::vector<std::uint8_t> rows_, columns_;
  std::vector<std::uint64_t> bits_;
  std::vector<std::uint8_t> halves_;
};

class OwnedScratch {
 public:
  OwnedScratch(std::int64_t m, std::int64_t n)
      : m_(padded(m)), n_(padded(n)), remembers_(m <= kMostRemembered && n <= 0xffff), doubles_(std::size_t(6 * n_ + 2 * m_)),
        whole_(std::size_t(3 * m_ + 8 * n_)), bits_(std::size_t((8 * n_ + m_) / 64)), bytes_(std::size_t(n_)),
        overlaps_(remembers_ ? std::size_t(m_ * m_) : 0), known_(new bool[std::size_t(m_ + 1)]()) {}

  void forget() { std::fill_n(known_.get(), m_, false); }

  OnlineScratch get() {
    double* d = doubles_.data();
    std::int32_t* w = whole_.data();
    std::uint64_t* b = bits_.data();
    const std::int64_t bits = n_ / 64;
    return {d, d + n_, d + 2 * n_, d + 3 * n_, d + 4 * n_, d + 5 * n_, d + 6 * n_, d + 6 * n_ + m_,
            w, w + m_, w + 2 * m_, w + 3 * m_,
            b, b + bits, b + 2 * bits, b + 3 * bits, b + 4 * bits, b + 5 * bits, b + 6 * bits, b + 7 * bits, b + 8 * bits,
            bytes_.data(), remembers_ ? overlaps_.data() : nullptr, known_.get()};
  }

 private:
  static constexpr std::int64_t kMostRemembered = 2048;  // patterns: 8 MiB of overlaps on each thread
  std::int64_t m_, n_;
  bool remembers_;
  std::vector<double> doubles_;
  std::vector<std::int32_t> whole_;
  std::vector<std::uint64_t> bits_;
  std::vector<std::uint8_t> bytes_;
  std::vector<std::uint16_t> overlaps_;
  std::unique_ptr<bool[]> known_;
};

// Goes on with every unit whose status is 0, until it stops or so many seconds have passed.
void learn(int threads, std::int64_t units, std::int64_t n, std::int64_t m, Address x, std::int64_t x_stride,
           Address targets, Address numbers, Address delta, std::int64_t delta_stride, Address signs,
           std::int64_t signs_stride, Address seeds, Address weights, Address steps, Address report, Address history,
           std::int64_t every, std::int64_t records, std::int64_t first_record, Address status, std::int64_t max_steps,
           double rate, double tolerance, std::uint32_t chance, bool older, double seconds) {
  nb::gil_scoped_release release;
  const auto expired = [](const OnlineSettings& own) { return now() > own.deadline; };
  const OnlineSettings settings{n,     m,       max_steps,    rate,    tolerance,      chance, older,
                                every, records, first_record, expired, now() + seconds};
  const bool shares = x_stride == 0;
  OwnedPatterns all(shares ? m : 0, shares ? n : 0);
  const Patterns shared = shares ? all.read(at<const std::uint8_t>(x)) : Patterns{};
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> out_of_memory{false};
  parallel(threads, [&](int, int) {
    try {
      OwnedScratch scratch(m, n);
      OwnedPatterns own_patterns(shares ? 0 : m, shares ? 0 : n);
      for (std::int64_t unit; (unit = next++) < units;) {
        if (at<std::int32_t>(status)[unit] != 0 || settings.expired(settings)) continue;
        const double* own = at<const double>(numbers) + 6 * unit;
        const OnlineUnit job{own[0],
                             own[1],
                             own[2],
                             own[3],
                             own[4],
                             own[5],
                             of_unit<const std::int8_t>(targets, unit, m),
                             of_unit<const double>(delta, unit, delta_stride),
                             of_unit<const std::int8_t>(signs, unit, signs_stride),
                             at<const std::uint64_t>(seeds)[unit],
                             of_unit<double>(weights, unit, n),
                             of_unit<std::int64_t>(steps, unit, 1),
                             of_unit<double>(report, unit, 4),
                             of_unit<double>(history, unit, 3 * records),
                             of_unit<std::int32_t>(status, unit, 1)};
        const Patterns patterns = shares ? shared : own_patterns.read(of_unit<const std::uint8_t>(x, unit, x_stride));
        if (!shares) scratch.forget();
        online_kernel_set().learn(settings, patterns, job, scratch.get());
      }
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  });
  if (out_of_memory) throw std::bad_alloc();
}

}  // namespace

void bind_associative(nb::module_& m) {
  m.def("online_learn", &learn, "threads"_a, "units"_a, "n"_a, "m"_a, "x"_a, "x_stride"_a, "targets"_a, "numbers"_a,
        "delta"_a, "delta_stride"_a, "signs"_a, "signs_stride"_a, "seeds"_a, "weights"_a, "steps"_a, "report"_a,
        "history"_a, "every"_a, "records"_a, "first_record"_a, "status"_a, "max_steps"_a, "rate"_a, "tolerance"_a,
        "chance"_a, "older"_a, "seconds"_a);
}

}  // namespace gossamer
