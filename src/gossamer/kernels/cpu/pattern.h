// Building and checking patterns: linear time, no dense array. Cells of a (rows x cols) layer are numbered row * cols + col.
#pragma once

#include <cstdint>
#include <memory>

namespace gossamer {

// `count` distinct numbers of [0, positions), uniformly, ascending.
void sample_sorted(std::int64_t positions, std::int64_t count, std::uint64_t seed, std::int64_t* out);

// Transposed CSR of a CSR pattern: column pointers, and the row of each entry.
void transpose(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows, std::int64_t cols,
               std::int32_t* t_indptr, std::int32_t* t_indices);

// The permutation from CSR to CSC: for each entry in CSC order, its place in CSR order.
void csc_permutation(const std::int32_t* indptr, const std::int32_t* t_indptr, const std::int32_t* t_indices,
               std::int64_t rows, std::int64_t cols, std::int32_t* out);

// The first entry of each row whose column is `column` or greater.
void first_from(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows, std::int64_t cols,
                std::int64_t column, std::int32_t* out);

// The number row * cols + col of each entry.
void flat_indices_of(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows, std::int64_t cols,
              std::int64_t* out);

// The other way round: CSR of `count` ascending flat indices.
void csr_of(const std::int64_t* flat_indices, std::int64_t count, std::int64_t rows, std::int64_t cols, std::int32_t* indptr,
            std::int32_t* indices);

// Two ascending lists without a number in common as one, and which of its entries come from the first.
void merge(const std::int64_t* a, std::int64_t a_count, const std::int64_t* b, std::int64_t b_count, std::int64_t* out,
           bool* from_a);

// A list as two: those elements that are chosen, and the others. Both need room for one element more than they get.
void split(const std::int64_t* list, const bool* chosen, std::int64_t count, std::int64_t* yes, std::int64_t* no);

// The empty positions of these ranks, both ascending, beside `count` occupied ones: flat index r + |{i : occupied[i] - i <= r}|.
void empty_at(const std::int64_t* occupied, std::int64_t count, const std::int64_t* ranks, std::int64_t wanted,
              std::int64_t* out);

// out (as long as `place`): where `place` is true, the next of those elements of `source` that `stays`; elsewhere 0.
// Without branches, which nobody could predict.
template <class T>
void follow(const T* source, const bool* stays, std::int64_t before, const bool* place, std::int64_t count, T* out) {
  const std::unique_ptr<T[]> survivors(new T[std::size_t(before) + 1]);  // not cleared: fresh pages are dear
  std::int64_t kept = 0, from = 0;
  for (std::int64_t i = 0; i < before; ++i) survivors[kept] = source[i], kept += stays[i];
  survivors[kept] = T(0);  // read, and not used, behind the last
  for (std::int64_t i = 0; i < count; ++i) out[i] = T(survivors[from] * T(place[i])), from += place[i];
}

// 0 if (indptr, indices) is a CSR pattern with sorted rows and no duplicates, else a code: 1 indptr[0] is not zero,
// 2 indptr decreases, 3 indptr ends elsewhere than at nnz, 4 an index is out of range, 5 a row is not ascending.
// *where is the row (1 to 3) or the entry (4, 5).
int check(const std::int32_t* indptr, const std::int32_t* indices, std::int64_t rows, std::int64_t cols,
          std::int64_t nnz, std::int64_t* where);

}  // namespace gossamer
