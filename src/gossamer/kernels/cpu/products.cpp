// The products of a sparse layer, and the gradient of a ReLU behind them, for one instruction set. See products.h for
// what they compute.

#include "products.h"

#include <cstdint>

#include "spmm_sddmm.h"
#include "spmm.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

template <class S>
void relu_gradient(const ReluGradient<S>& job, std::int64_t begin, std::int64_t end) {
  using C = Compute<S>;
  constexpr int W = kLanes<C>;
  using Vector = Vec<C, W>;
  for (std::int64_t row = begin; row < end; ++row) {
    const S *g = job.g + row * job.g_stride, *y = job.y + row * job.y_stride;
    S* out = job.out + row * job.out_stride;
    Vector sums{};
    std::int64_t b = 0;
    for (; b + W <= job.batch; b += W) {
      const Vector passed = load<S, W>(y + b) <= Vector{} ? Vector{} : load<S, W>(g + b);
      store<S, W>(out + b, passed);
      sums += passed;
    }
    C sum = 0;
    for (int lane = 0; lane < W; ++lane) sum += sums[lane];
    for (; b < job.batch; ++b) {
      const C passed = widen(y[b]) <= C(0) ? C(0) : widen(g[b]);
      out[b] = narrow<S>(passed);
      sum += passed;
    }
    job.dbias[row] = narrow<S>(sum);
  }
}

}  // namespace

#define GOSSAMER_NAME_(isa) #isa
#define GOSSAMER_NAME(isa) GOSSAMER_NAME_(isa)

extern const Kernels kernels;  // const alone would make it internal
const Kernels kernels{GOSSAMER_NAME(GOSSAMER_ISA),
                      kVectorBytes,
                      {spmm<float>, spmm_sddmm<float>, relu_gradient<float>},
                      {spmm<double>, spmm_sddmm<double>, relu_gradient<double>},
                      {spmm<bfloat16>, spmm_sddmm<bfloat16>, relu_gradient<bfloat16>}};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
