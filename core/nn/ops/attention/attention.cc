#include "core/nn/ops/attention/attention.h"

#include "c10/util/Exception.h"
#include "core/nn/ops/attention/attention_reference.h"
#include "core/nn/ops/dropout/dropout_bits.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {
namespace {

// Two heads that shared dropout's bits would go unnoticed for ever.
void CheckDropout(const PackedBatch& batch, int64_t heads, const Dropout& dropout) {
  TORCH_CHECK_VALUE(!dropout.active() || AttentionDropoutFits(batch.sequences(), heads, batch.max_seqlen),
                    "a batch of ", batch.sequences(), " sequences of up to ", batch.max_seqlen,
                    " tokens has more attention probabilities than dropout can tell apart");
}

}  // namespace

AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, const AttentionShape& shape,
                          const Dropout& dropout, bool keep) {
  CheckDropout(batch, shape.heads, dropout);
  return OpsFor(qkv.device()).attention(qkv, batch, shape, dropout, keep);
}

at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const AttentionResult& kept,
                             const PackedBatch& batch, const AttentionShape& shape, const Dropout& dropout) {
  return OpsFor(g.device()).attention_gradient(g, qkv, kept, batch, shape, dropout);
}

AttentionResult RelativeAttention(const at::Tensor& qkv, const at::Tensor& by_distance, const PackedBatch& batch,
                                  const AttentionShape& shape, const Dropout& dropout, bool keep) {
  CheckDropout(batch, shape.heads, dropout);
  return reference::Attend(qkv, by_distance, batch, shape, dropout, keep);
}

RelativeAttentionGradients RelativeAttentionGradient(const at::Tensor& g, const at::Tensor& qkv,
                                                     const at::Tensor& by_distance, const at::Tensor& logsumexp,
                                                     const PackedBatch& batch, const AttentionShape& shape,
                                                     const Dropout& dropout) {
  return reference::Gradients(g, qkv, by_distance, logsumexp, batch, shape, dropout);
}

}  // namespace engram::nn::ops
