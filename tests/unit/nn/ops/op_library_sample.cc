// A library of ops for op_table_test.cc. ENGRAM_SAMPLE_VERSION: the version of the table that it claims to be built for.

#include "ATen/ops/empty.h"
#include "core/nn/ops/op_table.h"

namespace {

at::Tensor Linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& /*b*/) {
  return at::empty({x.size(0), w.size(0)}, at::kFloat);
}

double GradientNorm(const at::Tensor& /*gradients*/, std::span<const engram::nn::ops::ElementRange> /*ranges*/) {
  return 42;
}

}  // namespace

extern "C" bool engram_override_ops(uint64_t version, uint64_t bytes, engram::nn::ops::OpTable* table) {
  if (version != ENGRAM_SAMPLE_VERSION || bytes != sizeof *table) return false;
  table->linear = Linear;
  table->gradient_norm = GradientNorm;
  return true;
}
