// A library of ops for op_library_test.cc: some compute as they should, the others each fail in a way of its own.
// ENGRAM_SAMPLE_VERSION: the version of the table that it claims to be built for.

#include <stdexcept>

#include "ATen/TensorOperators.h"
#include "ATen/ops/mm.h"
#include "core/nn/ops/op_table.h"

namespace {

using namespace engram::nn;

ops::OpTable twins{};

at::Tensor LinearInputGradient(const at::Tensor& g, const at::Tensor& w) { return at::mm(g, w); }

at::Tensor FirstToken(const at::Tensor& hidden, const PackedBatch& batch) { return twins.first_token(hidden, batch); }

// Wrong by one part in a thousand.
at::Tensor MeanPool(const at::Tensor& hidden, const PackedBatch& batch) {
  return (twins.mean_pool(hidden, batch).to(at::kFloat) * 1.001).to(hidden.scalar_type());
}

// Right for all but one activation.
at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act) {
  return twins.activation_gradient(g, pre, act == Activation::kSilu ? Activation::kGelu : act);
}

double GradientNorm(const at::Tensor& /*gradients*/, std::span<const ops::ElementRange> /*ranges*/) { return 42; }

ops::CrossEntropyResult CrossEntropy(const at::Tensor& /*logits*/, const at::Tensor& /*target*/,
                                     const at::Tensor& /*weight*/) {
  throw std::runtime_error("CUDA error: no kernel image is available for execution on the device");
}

// Forward it drops what the gradient does not.
ops::AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, const ops::AttentionShape& shape,
                               const ops::Dropout& dropout, bool keep) {
  ops::Dropout other = dropout;
  ++other.site;
  return twins.attention(qkv, batch, shape, other, keep);
}

}  // namespace

extern "C" bool engram_override_ops(uint64_t version, uint64_t bytes, ops::OpTable* table) {
  if (version != ENGRAM_SAMPLE_VERSION || bytes != sizeof *table) return false;
  twins = *table;
  table->linear_input_gradient = LinearInputGradient;
  table->first_token = FirstToken;
  table->mean_pool = MeanPool;
  table->activation_gradient = ActivationGradient;
  table->gradient_norm = GradientNorm;
  table->cross_entropy = CrossEntropy;
  table->attention = Attention;
  return true;
}
