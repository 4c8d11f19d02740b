// Copies between batch-major and feature-major matrices, for one instruction set.

#include "products.h"
#include "transpose.h"
#include "vec.h"

namespace gossamer {
namespace GOSSAMER_ISA {
namespace {

template <class T>
void copy_transposed(const CopyTransposed<T>& job, std::int64_t begin, std::int64_t end) {
  transpose_matrix<T, kLanes<T>>(job.from + begin, job.stride, job.rows, end - begin, job.to + begin * job.rows,
                                 job.rows);
}

}  // namespace

extern const Layout layout;
const Layout layout{copy_transposed<std::uint16_t>, copy_transposed<std::uint32_t>, copy_transposed<std::uint64_t>};

}  // namespace GOSSAMER_ISA
}  // namespace gossamer
