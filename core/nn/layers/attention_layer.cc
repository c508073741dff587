#include "core/nn/layers/attention_layer.h"

#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "core/nn/layers/positions.h"
#include "core/nn/ops/attention/relative_attention.h"

namespace engram::nn {

AttentionLayer::AttentionLayer(const EncoderConfig& config, size_t layer)
    : layer_(layer),
      shape_{config.heads, config.key_heads(), config.head_width(), config.window(static_cast<int64_t>(layer)),
             config.family->block.causal},
      dropout_(config.attention_dropout),
      rope_(config.rope_index(static_cast<int64_t>(layer))),
      query_norm_(config.family->block.norm, config.layer_norm_eps),
      key_norm_(config.family->block.norm, config.layer_norm_eps) {}

bool AttentionLayer::Append(const checkpoint::ExpectedTensor& tensor, SlotId slot) {
  using Role = checkpoint::TensorRole;
  switch (tensor.role) {
    case Role::kQuery:
    case Role::kKey:
    case Role::kValue:
    case Role::kQueryKeyValue:
      input_.Append(tensor, slot);
      return true;
    case Role::kQueryNorm:
      query_norm_.Append(tensor, slot);
      return true;
    case Role::kKeyNorm:
      key_norm_.Append(tensor, slot);
      return true;
    case Role::kAttentionOutput:
      output_.Append(tensor, slot);
      return true;
    default:
      return false;
  }
}

void AttentionLayer::Pack(const ParameterBuffer& parameters) {
  input_.Pack(parameters);
  output_.Pack(parameters);
}

void AttentionLayer::Unpack() {
  input_.Unpack();
  output_.Unpack();
}

ops::LayerNormResult AttentionLayer::NormHeads(const NormLayer& norm, at::Tensor& qkv, int64_t first, int64_t heads,
                                               const ForwardPass& pass) const {
  if (!norm.exists()) return {};
  at::Tensor columns = qkv.narrow(1, first, heads * shape_.head_dim);
  ops::LayerNormResult result =
      norm.Forward(columns.reshape({qkv.size(0) * heads, shape_.head_dim}), at::Tensor(), {}, pass);
  columns.copy_(Take(result.y).view({qkv.size(0), heads * shape_.head_dim}));
  return result;
}

void AttentionLayer::NormHeadsBackward(const NormLayer& norm, at::Tensor& grad_qkv, int64_t first, int64_t heads,
                                       const ops::LayerNormResult& kept, const BackwardPass& pass) const {
  if (!norm.exists()) return;
  // Each token has `heads` rows.
  std::vector<int32_t> host_cu_rows(pass.rows.host_cu_rows.begin(), pass.rows.host_cu_rows.end());
  for (int32_t& end : host_cu_rows) end *= static_cast<int32_t>(heads);
  const RowOwners rows{pass.rows.cu_rows * heads, host_cu_rows};
  at::Tensor columns = grad_qkv.narrow(1, first, heads * shape_.head_dim);
  const at::Tensor g = columns.reshape({grad_qkv.size(0) * heads, shape_.head_dim});
  columns.copy_(norm.BackwardOfRows(g, kept, rows, pass).view({grad_qkv.size(0), heads * shape_.head_dim}));
}

at::Tensor AttentionLayer::Project(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const {
  at::Tensor qkv = pass.WithBlocks(layer_, BlockSite::kQueryKeyValue, x, input_.Forward(x, pass));
  ops::LayerNormResult query_norm = NormHeads(query_norm_, qkv, 0, shape_.heads, pass);
  ops::LayerNormResult key_norm = NormHeads(key_norm_, qkv, shape_.out_width(), shape_.kv_heads, pass);
  if (pass.rotations != nullptr) pass.rotations->Turn(rope_, qkv, shape_, /*transposed=*/false);
  if (pass.keep) *tape = {x, qkv, {}, std::move(query_norm), std::move(key_norm)};
  return qkv;
}

at::Tensor AttentionLayer::Output(const at::Tensor& attended, const ForwardPass& pass) const {
  return pass.WithBlocks(layer_, BlockSite::kAttentionOutput, attended, output_.Forward(attended, pass));
}

at::Tensor AttentionLayer::Forward(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const {
  const at::Tensor qkv = Project(x, pass, tape);
  const ops::Dropout dropout = DropoutAt(pass.mode, dropout_, dropout_site());
  const ops::AttentionResult attention =
      pass.by_distance != nullptr
          ? ops::RelativeAttention(qkv, *pass.by_distance, pass.batch, shape_, dropout, pass.keep)
          : ops::Attention(qkv, pass.batch, shape_, dropout, pass.keep);
  if (pass.keep) tape->attention = attention;
  return Output(attention.out, pass);
}

at::Tensor AttentionLayer::AttentionGradient(const at::Tensor& g, Tape& kept, const BackwardPass& pass) const {
  const ops::Dropout dropout = DropoutAt(pass.mode, dropout_, dropout_site());
  const at::Tensor qkv = Take(kept.qkv);
  const ops::AttentionResult attention = std::exchange(kept.attention, {});
  if (pass.by_distance == nullptr) return ops::AttentionGradient(g, qkv, attention, pass.batch, shape_, dropout);
  ops::RelativeAttentionGradients gradients =
      ops::RelativeAttentionGradient(g, qkv, *pass.by_distance, attention.logsumexp, pass.batch, shape_, dropout);
  at::Tensor& sum = *pass.by_distance_gradient;
  sum = sum.defined() ? sum.add_(gradients.by_distance) : gradients.by_distance;
  return gradients.qkv;
}

at::Tensor AttentionLayer::Backward(at::Tensor g, Tape kept, const BackwardPass& pass) const {
  at::Tensor more = pass.ThroughBlocks(layer_, BlockSite::kAttentionOutput, g);
  at::Tensor out = kept.attention.by_device ? kept.attention.out : Take(kept.attention.out);
  at::Tensor grad_out = output_.Backward(std::move(g), std::move(out), more, pass);
  at::Tensor grad_qkv = AttentionGradient(Take(grad_out), kept, pass);
  if (pass.rotations != nullptr) pass.rotations->Turn(rope_, grad_qkv, shape_, /*transposed=*/true);
  NormHeadsBackward(query_norm_, grad_qkv, 0, shape_.heads, kept.query_norm, pass);
  NormHeadsBackward(key_norm_, grad_qkv, shape_.out_width(), shape_.kv_heads, kept.key_norm, pass);
  more = pass.ThroughBlocks(layer_, BlockSite::kQueryKeyValue, grad_qkv);
  return input_.Backward(std::move(grad_qkv), Take(kept.input), more, pass);
}

}  // namespace engram::nn
