// Which instruction set runs, and how work is shared among threads.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace gossamer {



int active_isa();   // the one in use: 0 baseline, 1 avx2, 2 avx512
bool after_fork();  // true in a child of fork(): its copy of the thread pool is dead, so stay on one thread

// Calls work(part, parts) on up to `threads` threads of the pool that PyTorch uses.
template <class Work>
void parallel(int threads, const Work& work) {
#ifdef _OPENMP
  if (threads > 1 && !after_fork()) {
#pragma omp parallel num_threads(threads)
    work(omp_get_thread_num(), omp_get_num_threads());
    return;
  }
#endif
  work(0, 1);
}

// First row of part `part` when rows are cut into `parts` of about equal entries; every row counts for one entry more.
inline std::int64_t balanced_row(const std::int32_t* indptr, std::int64_t rows, int part, int parts) {
  if (part <= 0) return 0;
  if (part >= parts) return rows;
  const double total = double(indptr[rows]) + double(rows), goal = total * part / parts;
  std::int64_t low = 0, high = rows;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (double(indptr[middle]) + double(middle) < goal) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace gossamer
