// The three products of a sparse layer, as plain pointers and sizes.
//
// W is (rows x cols) with nnz stored entries in CSR; X is feature-major, (cols x batch), row i starts at X + i * x_stride.
//   spmm:   Y = W X (+ bias, ReLU)                     one row of Y in registers, one broadcast per stored entry
//   spmm_sddmm:     dA = W B and dv[j] = <A[row j], B[col j]>   both need the same row of B: it is read once, used twice
#pragma once

#include <cstdint>

#include "types.h"

namespace gossamer {

struct Compressed {  // CSR without values
  const std::int32_t* indptr;
  const std::int32_t* indices;
  std::int64_t rows;
  // Of a transpose W', whose values are kept in the order of W: walked row by row, the entries that name row r of W come
  // in the order in which W keeps them, so a counter for each row of W tells where they are. Null: values in own order.
  const std::int32_t* first;  // position of the first entry of each row of W at or behind the row of W' that comes first
  std::int32_t* next;         // scratch of the same length
  std::int64_t others;        // rows of W
};

constexpr int kNarrowTile = 64;  // bytes of a tile that needs no more than a line of the cache of each row

// Work on so many rows and columns of the pattern at a time; no columns: on all at once.
struct Blocks {
  std::int64_t columns, rows;
};

template <class S, class C>
struct Spmm {
  Compressed pattern;  // W, or W' for a product with the transposed layer
  const S* values;
  const S* bias;  // null: none
  const S* x;
  S* y;
  std::int64_t cols, batch, x_stride, y_stride;
  bool relu;
  bool prefetch;         // X is larger than the first cache
  Blocks blocks;
  std::int32_t* resume;  // with blocks: scratch, one number for each row
  S* scratch;            // for a tile of X, of the calling thread; null: read it where it is
};

template <class S, class C>
struct SpmmSddmm {
  Compressed pattern;  // W' where dA is the gradient of the layer's input
  const S* values;  // used with da
  const S* a;       // (rows x batch)
  const S* b;       // (cols x batch)
  S* da;            // (rows x batch); null: not wanted
  C* dvalues;       // nnz
  std::int64_t cols, batch, a_stride, b_stride, da_stride;
  bool prefetch;  // B is larger than the first cache
  Blocks blocks;
  std::int32_t* resume;
  S* scratch;  // for a tile of B
};

template <class S>
struct ReluGradient {  // out[r] = g[r] where not y[r] <= 0, and dbias[r] = its sum over the batch; all (rows x batch)
  const S *g, *y;
  S *out, *dbias;
  std::int64_t batch, g_stride, y_stride, out_stride;
};

// What one instruction set offers. Rows [begin, end) of the pattern are worked on by the calling thread.
template <class S, class C>
struct Products {
  void (*spmm)(const Spmm<S, C>&, std::int64_t begin, std::int64_t end);
  void (*spmm_sddmm)(const SpmmSddmm<S, C>&, std::int64_t begin, std::int64_t end);
  void (*relu_gradient)(const ReluGradient<S>&, std::int64_t begin, std::int64_t end);
};

template <class T>
struct CopyTransposed {  // to (cols x rows) = transpose of from (rows x cols, row r at from + r * stride)
  const T* from;
  T* to;
  std::int64_t rows, cols, stride;
};

struct Layout {  // columns [begin, end) of the source
  void (*two_bytes)(const CopyTransposed<std::uint16_t>&, std::int64_t begin, std::int64_t end);
  void (*four_bytes)(const CopyTransposed<std::uint32_t>&, std::int64_t begin, std::int64_t end);
  void (*eight_bytes)(const CopyTransposed<std::uint64_t>&, std::int64_t begin, std::int64_t end);
};

struct Kernels {
  const char* name;
  int vector_bytes;
  Products<float, float> f32;
  Products<double, double> f64;
  Products<bfloat16, float> bf16;
};

}  // namespace gossamer
