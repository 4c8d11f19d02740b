#include "pattern.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

namespace gossamer {
namespace {

class Random {  // xoshiro256++ (Blackman and Vigna 2021), seeded by splitmix64
 public:
  explicit Random(std::uint64_t seed) {
    for (auto& word : state_) {
      seed += 0x9e3779b97f4a7c15u;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      word = z ^ (z >> 31);
    }
  }

  std::uint64_t next() {
    const std::uint64_t result = rotate(state_[0] + state_[3], 23) + state_[0], shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

  std::uint64_t below(std::uint64_t bound) {  // uniform on [0, bound): Lemire 2019, without bias
    unsigned __int128 product = static_cast<unsigned __int128>(next()) * bound;
    if (std::uint64_t(product) < bound) {
      const std::uint64_t threshold = (0 - bound) % bound;
      while (std::uint64_t(product) < threshold) product = static_cast<unsigned __int128>(next()) * bound;
    }
    return std::uint64_t(product >> 64);
  }

 private:
  static std::uint64_t rotate(std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  std::uint64_t state_[4];
};

constexpr int kDigit = 11, kDigits = 1 << kDigit;

// Stable sort by kDigit bits from `shift` on, from one place to another; returns where each of the digits ends.
std::vector<std::int64_t> sort_by_digit(const std::int64_t* from, std::int64_t count, int shift, std::int64_t* to) {
  std::vector<std::int64_t> place(kDigits);
  for (std::int64_t i = 0; i < count; ++i) ++place[(from[i] >> shift) & (kDigits - 1)];
  std::int64_t total = 0;
  for (auto& here : place) total += std::exchange(here, total);
  for (std::int64_t i = 0; i < count; ++i) to[place[(from[i] >> shift) & (kDigits - 1)]++] = from[i];
  return place;
}

// Ascending sort of numbers below `positions`: parted by their highest digit, then part by part, each of which stays in a
// cache, by the digits below from the lowest on.
void sort_below(std::vector<std::int64_t>& keys, std::int64_t positions) {
  if (keys.size() < kDigits) return std::sort(keys.begin(), keys.end());
  int bits = kDigit;
  while (bits < 63 && (positions - 1) >> bits) ++bits;
  const int highest = bits - kDigit;
  const std::unique_ptr<std::int64_t[]> parted(new std::int64_t[keys.size()]);  // not cleared: fresh pages are dear
  const auto ends = sort_by_digit(keys.data(), std::int64_t(keys.size()), highest, parted.get());
  std::int64_t begin = 0;
  for (const auto end : ends) {
    std::int64_t *from = parted.get() + begin, *to = keys.data() + begin;
    const std::int64_t count = end - begin;
    if (count < kDigits / 4) {
      std::sort(from, from + count);
    } else {
      for (int shift = 0; shift < highest; shift += kDigit) {
        sort_by_digit(from, count, shift, to);
        std::swap(from, to);
      }
    }
    if (from != keys.data() + begin) std::copy(from, from + count, keys.data() + begin);
    begin = end;
  }
}

}  // namespace

// Draws until enough distinct numbers are there, sorting each time; a surplus is thinned at random. By symmetry every
// subset of the size asked for is equally likely. More than half of the positions: the complement is drawn instead.
void sample_sorted(std::int64_t positions, std::int64_t count, std::uint64_t seed, std::int64_t* out) {
  Random random(seed);
  const bool inverted = count > positions / 2;
  const std::int64_t wanted = inverted ? positions - count : count;
  std::vector<std::int64_t> drawn;
  while (std::int64_t(drawn.size()) < wanted) {
    const double share = double(wanted) / double(positions);  // at most one half: few draws collide
    const std::int64_t missing = wanted - std::int64_t(drawn.size());
    const double tries = double(missing) * (-std::log1p(-share) / std::max(share, 1e-300)) * (drawn.empty() ? 1 : 2);
    const std::int64_t more = std::int64_t(tries) + 16;
    drawn.reserve(drawn.size() + more);
    for (std::int64_t i = 0; i < more; ++i) drawn.push_back(std::int64_t(random.below(std::uint64_t(positions))));
    sort_below(drawn, positions);
    drawn.erase(std::unique(drawn.begin(), drawn.end()), drawn.end());
  }
  // Selection sampling (Knuth, algorithm 3.4.2 S) of `wanted` out of what was drawn keeps the order.
  std::int64_t surplus = std::int64_t(drawn.size()) - wanted, kept = 0;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const std::uint64_t left = drawn.size() - i;
    if (surplus > 0 && random.below(left) < std::uint64_t(surplus)) {
      --surplus;
    } else {
      drawn[kept++] = drawn[i];
    }
  }
  if (!inverted) {
    std::copy(drawn.begin(), drawn.begin() + kept, out);
    return;
  }
  std::int64_t next = 0, written = 0;
  for (std::int64_t position = 0; position < positions; ++position) {
    if (next < kept && drawn[next] == position) {
      ++next;
    } else {
      out[written++] = position;
    }
  }
}

void transpose(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows, std::int64_t cols,
               std::int32_t* t_indptr, std::int32_t* t_indices) {
  const std::int64_t nnz = indptr[rows];
  std::fill(t_indptr, t_indptr + cols + 1, 0);
  for (std::int64_t j = 0; j < nnz; ++j) ++t_indptr[indices[j] + 1];
  for (std::int64_t col = 0; col < cols; ++col) t_indptr[col + 1] += t_indptr[col];
  std::vector<std::int32_t> next(t_indptr, t_indptr + cols);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int32_t j = indptr[row]; j < indptr[row + 1]; ++j) t_indices[next[indices[j]]++] = std::int32_t(row);
  }
}

void csc_permutation(const std::int32_t* indptr, const std::int32_t* t_indptr, const std::int32_t* t_indices,
               std::int64_t rows, std::int64_t cols, std::int32_t* out) {
  std::vector<std::int32_t> next(indptr, indptr + rows);
  for (std::int32_t j = 0; j < t_indptr[cols]; ++j) out[j] = next[t_indices[j]]++;
}

void first_from(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows, std::int64_t cols,
                std::int64_t column, std::int32_t* out) {
  const double share = cols ? double(column) / double(cols) : 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int32_t start = indptr[row], stop = indptr[row + 1];
    // Columns are spread about evenly as a rule: walk from where that puts the entry.
    std::int32_t j = start + std::int32_t(double(stop - start) * share);
    while (j < stop && indices[j] < column) ++j;
    while (j > start && indices[j - 1] >= column) --j;
    out[row] = j;
  }
}

void flat_indices_of(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows, std::int64_t cols,
              std::int64_t* out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int32_t j = indptr[row]; j < indptr[row + 1]; ++j) out[j] = row * cols + indices[j];
  }
}

void csr_of(const std::int64_t* flat_indices, std::int64_t count, std::int64_t rows, std::int64_t cols, std::int32_t* indptr,
            std::int32_t* indices) {
  std::int64_t j = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    indptr[row] = std::int32_t(j);
    for (; j < count && flat_indices[j] < (row + 1) * cols; ++j) indices[j] = std::int32_t(flat_indices[j] - row * cols);
  }
  indptr[rows] = std::int32_t(j);
}

void merge(const std::int64_t* a, std::int64_t a_count, const std::int64_t* b, std::int64_t b_count, std::int64_t* out,
           bool* from_a) {
  std::int64_t i = 0, j = 0;
  while (i < a_count && j < b_count) {
    const std::int64_t x = a[i], y = b[j];
    const bool first = x < y;
    from_a[i + j] = first;
    out[i + j] = first ? x : y;
    i += first, j += !first;
  }
  for (; i < a_count; ++i) from_a[i + j] = true, out[i + j] = a[i];
  for (; j < b_count; ++j) from_a[i + j] = false, out[i + j] = b[j];
}

void split(const std::int64_t* list, const bool* chosen, std::int64_t count, std::int64_t* yes, std::int64_t* no) {
  for (std::int64_t i = 0; i < count; ++i) {  // without branches, which nobody could predict
    *yes = *no = list[i];
    yes += chosen[i], no += !chosen[i];
  }
}

void empty_at(const std::int64_t* occupied, std::int64_t count, const std::int64_t* ranks, std::int64_t wanted,
              std::int64_t* out) {
  std::int64_t below = 0;
  for (std::int64_t j = 0; j < wanted; ++j) {
    while (below < count && occupied[below] - below <= ranks[j]) ++below;
    out[j] = ranks[j] + below;
  }
}

int check(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows, std::int64_t cols,
          std::int64_t nnz, std::int64_t* where) {
  *where = 0;
  if (indptr[0] != 0) return 1;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (indptr[row + 1] < indptr[row]) return *where = row, 2;
  }
  if (indptr[rows] != nnz) return *where = rows, 3;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int32_t before = -1;
    for (std::int32_t j = indptr[row]; j < indptr[row + 1]; ++j) {
      const std::int32_t index = indices[j];
      if (index < 0 || index >= cols) return *where = j, 4;
      if (index <= before) return *where = j, 5;
      before = index;
    }
  }
  return 0;
}

}  // namespace gossamer
