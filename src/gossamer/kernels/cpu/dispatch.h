// Which instruction set runs, and how work is shared among threads.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "types.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace gossamer {

int active_isa();   // the one in use: 0 baseline, 1 avx2, 2 avx512
bool after_fork();  // true in a child of fork(): its copy of the thread pool is dead, so stay on one thread

std::int64_t l1_bytes();  // caches of one core
std::int64_t l2_bytes();
void keep_freed_pages();  // of the memory that kernels and their callers ask for again and again

// Every instruction set defines a table of its own; function() gives the one in use.
#ifdef GOSSAMER_HAS_avx512
#define GOSSAMER_TABLE(Type, table, function)                          \
  namespace baseline {                                                 \
  extern const Type table;                                             \
  }                                                                    \
  namespace avx2 {                                                     \
  extern const Type table;                                             \
  }                                                                    \
  namespace avx512 {                                                   \
  extern const Type table;                                             \
  }                                                                    \
  inline const Type& function() {                                      \
    const int isa = active_isa();                                      \
    return isa == 2 ? avx512::table : isa == 1 ? avx2::table : baseline::table; \
  }
#else
#define GOSSAMER_TABLE(Type, table, function) \
  namespace baseline {                        \
  extern const Type table;                    \
  }                                           \
  inline const Type& function() { return baseline::table; }
#endif

// Addresses come from Python as integers.
using Address = std::uintptr_t;
template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// Calls call(products of the storage type, a value of that type): 0 float32, 1 float64, 2 bfloat16.
template <class Table, class Call>
void with_dtype(int dtype, const Table& table, const Call& call) {
  switch (dtype) {
    case 0: return call(table.f32, float());
    case 1: return call(table.f64, double());
    case 2: return call(table.bf16, bfloat16());
    default: throw std::invalid_argument("dtype must be 0 (float32), 1 (float64) or 2 (bfloat16)");
  }
}

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
