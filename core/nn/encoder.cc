#include "core/nn/encoder.h"

#include <algorithm>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "c10/core/GradMode.h"
#include "c10/core/InferenceMode.h"
#include "core/nn/ops/activation/activation.h"
#include "core/nn/ops/embedding/embedding.h"
#include "core/nn/ops/linear/linear.h"

namespace engram::nn {
namespace {

void PlaceLinear(bool bias, SlotId slot, LinearSlots& slots) { (bias ? slots.bias : slots.weight) = slot; }
void PlaceNorm(bool shift, SlotId slot, NormSlots& slots) { (shift ? slots.beta : slots.gamma) = slot; }

// The tensor, let go of where it was kept.
at::Tensor Take(at::Tensor& tensor) { return std::exchange(tensor, at::Tensor()); }

RowOwners Owners(const PackedBatch& batch) { return {batch.cu_seqlens, batch.host_cu_seqlens}; }

}  // namespace

ops::Dropout DropoutAt(const std::optional<TrainingMode>& mode, double probability, uint32_t site) {
  if (!mode || probability <= 0) return {};
  return {static_cast<float>(probability), mode->seed, mode->step, site};
}

absl::StatusOr<Encoder> Encoder::Create(const EncoderConfig& config, ParameterBuffer* parameters) {
  Encoder encoder(config, parameters);
  encoder.layers_.resize(static_cast<size_t>(config.layers));
  std::vector<ParameterSpec> specs;
  for (checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(config)) {
    if (tensor.role == checkpoint::TensorRole::kPooler && !config.has_pooler) continue;
    encoder.Place(tensor, static_cast<SlotId>(specs.size()));
    specs.push_back({std::move(tensor.name), std::move(tensor.shape)});
    specs.back().decay = specs.back().shape.size() > 1;
  }
  ENGRAM_ASSIGN_OR_RETURN(encoder.slots_, parameters->Append(specs));
  return encoder;
}

void Encoder::Place(const checkpoint::ExpectedTensor& tensor, SlotId slot) {
  using Role = checkpoint::TensorRole;
  const bool bias = tensor.bias;
  Layer of_no_layer;  // for roles that belong to none, which do not touch it
  Layer& layer = tensor.layer < 0 ? of_no_layer : layers_[static_cast<size_t>(tensor.layer)];
  switch (tensor.role) {
    case Role::kWordEmbeddings:
      word_ = slot;
      break;
    case Role::kPositionEmbeddings:
      position_ = slot;
      break;
    case Role::kTypeEmbeddings:
      type_ = slot;
      break;
    case Role::kEmbeddingNorm:
      return PlaceNorm(bias, slot, embedding_norm_);
    case Role::kQuery:
      (bias ? layer.qkv_bias : layer.qkv_weight) = slot;
      break;
    case Role::kKey:
    case Role::kValue:  // these lie behind the query's
      break;
    case Role::kAttentionOutput:
      return PlaceLinear(bias, slot, layer.attention_output);
    case Role::kAttentionNorm:
      return PlaceNorm(bias, slot, layer.attention_norm);
    case Role::kIntermediate:
      return PlaceLinear(bias, slot, layer.intermediate);
    case Role::kOutput:
      return PlaceLinear(bias, slot, layer.output);
    case Role::kOutputNorm:
      return PlaceNorm(bias, slot, layer.output_norm);
    case Role::kPooler:
      return PlaceLinear(bias, slot, pooler_);
    case Role::kHeadDense:
    case Role::kHeadNorm:
    case Role::kHeadOutput:
    case Role::kTiedCopy:
      break;
  }
}

double Encoder::AttentionOutputDropout() const {
  return config_.family->dropout_after_attention ? config_.hidden_dropout : 0.0;
}

at::Tensor Encoder::LayerForward(size_t index, const at::Tensor& x, const PackedBatch& batch,
                                 const std::optional<TrainingMode>& mode, LayerTape* tape) const {
  const Layer& layer = layers_[index];
  const ParameterBuffer& p = *parameters_;
  const bool keep = tape != nullptr;
  const uint32_t site = static_cast<uint32_t>(3 * index + 1);
  const auto weight = [&](const at::Tensor& packed, SlotId slot, int count = 1) {
    return packed.defined() && !keep ? packed : p.ComputeStacked(slot, count);
  };
  const at::Tensor qkv =
      ops::Linear(x, weight(layer.packed.qkv, layer.qkv_weight, 3), p.ComputeStacked(layer.qkv_bias, 3));
  const ops::AttentionResult attention =
      ops::Attention(qkv, batch, config_.heads, DropoutAt(mode, config_.attention_dropout, site), keep);
  const at::Tensor projected =
      ops::Linear(attention.out, weight(layer.packed.attention_output, layer.attention_output.weight),
                  p.Compute(layer.attention_output.bias));
  const ops::LayerNormResult attended = ops::AddLayerNorm(
      projected, x, DropoutAt(mode, AttentionOutputDropout(), site + 1), p.Compute(layer.attention_norm.gamma),
      p.Compute(layer.attention_norm.beta), config_.layer_norm_eps, keep);
  at::Tensor pre;
  const at::Tensor activated =
      ops::LinearActivation(attended.y, weight(layer.packed.intermediate, layer.intermediate.weight),
                            p.Compute(layer.intermediate.bias), config_.activation, keep ? &pre : nullptr);
  const at::Tensor out =
      ops::Linear(activated, weight(layer.packed.output, layer.output.weight), p.Compute(layer.output.bias));
  const ops::LayerNormResult result = ops::AddLayerNorm(
      out, attended.y, DropoutAt(mode, config_.hidden_dropout, site + 2), p.Compute(layer.output_norm.gamma),
      p.Compute(layer.output_norm.beta), config_.layer_norm_eps, keep);
  if (keep) *tape = {x, qkv, attention, attended, pre, activated, result};
  return result.y;
}

at::Tensor Encoder::Forward(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape) const {
  const int64_t threads = at::get_num_threads();
  if (tape == nullptr && !mode && batch.ids.is_cpu() && threads > 1 && !at::in_parallel_region()) {
    const std::vector<int64_t> cuts = BalancedParts(batch, threads);
    if (!cuts.empty()) return ForwardInParts(batch, cuts);
  }
  return ForwardWhole(batch, mode, tape);
}

at::Tensor Encoder::ForwardInParts(const PackedBatch& batch, const std::vector<int64_t>& cuts) const {
  const bool inference = c10::InferenceMode::is_enabled(), autograd = c10::GradMode::is_enabled();
  at::Tensor hidden = at::empty({batch.tokens(), config_.hidden_size}, parameters_->compute().options());
  at::parallel_for(0, static_cast<int64_t>(cuts.size()) - 1, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference_mode(inference);  // modes belong to a thread
    const c10::AutoGradMode autograd_mode(autograd && !inference);
    for (int64_t i = begin; i < end; ++i) ForwardGroups(batch, cuts[i], cuts[i + 1], hidden);
  });
  return hidden;
}

void Encoder::ForwardGroups(const PackedBatch& batch, int64_t begin, int64_t end, const at::Tensor& hidden) const {
  constexpr int64_t kGroupBytes = 1 << 20;  // of intermediate rows: what a core's second cache holds
  const int64_t row_bytes = config_.intermediate_size * parameters_->compute().element_size();
  const int64_t group_tokens = std::clamp<int64_t>(kGroupBytes / row_bytes, 64, 512);
  const int64_t tokens = batch.host_cu_seqlens[end] - batch.host_cu_seqlens[begin];
  const int64_t share = tokens / ((tokens + group_tokens - 1) / group_tokens);  // groups of like size
  while (begin < end) {
    int64_t next = begin + 1;
    while (next < end && batch.host_cu_seqlens[next] - batch.host_cu_seqlens[begin] + batch.length(next) / 2 < share) {
      ++next;
    }
    const PackedBatch group = Part(batch, begin, next - begin);
    hidden.narrow(0, batch.host_cu_seqlens[begin], group.tokens()).copy_(ForwardWhole(group, std::nullopt, nullptr));
    begin = next;
  }
}

void Encoder::PackForInference() {
  const ParameterBuffer& p = *parameters_;
  for (Layer& layer : layers_) {
    layer.packed = {ops::PackWeight(p.ComputeStacked(layer.qkv_weight, 3)),
                    ops::PackWeight(p.Compute(layer.attention_output.weight)),
                    ops::PackWeight(p.Compute(layer.intermediate.weight)),
                    ops::PackWeight(p.Compute(layer.output.weight))};
  }
}

void Encoder::Rebind(ParameterBuffer* parameters) {
  parameters_ = parameters;
  for (Layer& layer : layers_) layer.packed = {};
}

at::Tensor Encoder::ForwardWhole(const PackedBatch& batch, const std::optional<TrainingMode>& mode,
                                 TapeState* tape) const {
  const ParameterBuffer& p = *parameters_;
  const at::Tensor sum = ops::EmbeddingSum(batch, p.Compute(word_), type_ >= 0 ? p.Compute(type_) : at::Tensor(),
                                           p.Compute(position_), config_.first_position());
  const ops::LayerNormResult norm =
      ops::AddLayerNorm(sum, at::Tensor(), {}, p.Compute(embedding_norm_.gamma), p.Compute(embedding_norm_.beta),
                        config_.layer_norm_eps, tape != nullptr);
  if (tape != nullptr) *tape = {mode, batch, norm, std::vector<LayerTape>(layers_.size())};
  at::Tensor hidden = ops::ApplyDropout(norm.y, DropoutAt(mode, config_.hidden_dropout, 0));
  for (size_t l = 0; l < layers_.size(); ++l)
    hidden = LayerForward(l, hidden, batch, mode, tape != nullptr ? &tape->layers[l] : nullptr);
  return hidden;
}

// The peak of a training step's memory lies here: what nothing below needs is let go at once.
at::Tensor Encoder::LayerBackward(size_t index, at::Tensor gradient, LayerTape kept, const TapeState& tape,
                                  GradientSink& sink) const {
  const Layer& layer = layers_[index];
  const ParameterBuffer& p = *parameters_;
  const RowOwners rows = Owners(tape.batch);
  const uint32_t site = static_cast<uint32_t>(3 * index + 1);

  sink.LayerNorm(layer.output_norm.gamma, layer.output_norm.beta, kept.output_norm.normalized, gradient, rows);
  auto after_output = ops::AddLayerNormGradient(gradient, kept.output_norm.normalized, kept.output_norm.rstd,
                                                p.Compute(layer.output_norm.gamma),
                                                DropoutAt(tape.mode, config_.hidden_dropout, site + 2));
  gradient.reset();
  kept.output_norm = {};
  sink.Linear(layer.output.weight, layer.output.bias, 1, Take(kept.activated), after_output.x, rows);
  at::Tensor grad_activated = ops::LinearInputGradient(Take(after_output.x), p.Compute(layer.output.weight));
  at::Tensor grad_pre = ops::ActivationGradient(Take(grad_activated), Take(kept.pre_activation), config_.activation);
  sink.Linear(layer.intermediate.weight, layer.intermediate.bias, 1, Take(kept.attention_norm.y), grad_pre, rows);
  at::Tensor grad_attended =
      ops::LinearInputGradient(Take(grad_pre), p.Compute(layer.intermediate.weight)).add_(Take(after_output.residual));

  sink.LayerNorm(layer.attention_norm.gamma, layer.attention_norm.beta, kept.attention_norm.normalized, grad_attended,
                 rows);
  auto after_attention = ops::AddLayerNormGradient(grad_attended, kept.attention_norm.normalized,
                                                   kept.attention_norm.rstd, p.Compute(layer.attention_norm.gamma),
                                                   DropoutAt(tape.mode, AttentionOutputDropout(), site + 1));
  grad_attended.reset();
  kept.attention_norm = {};
  sink.Linear(layer.attention_output.weight, layer.attention_output.bias, 1, Take(kept.attention.out),
              after_attention.x, rows);
  at::Tensor grad_out = ops::LinearInputGradient(Take(after_attention.x), p.Compute(layer.attention_output.weight));
  const at::Tensor grad_qkv =
      ops::AttentionGradient(Take(grad_out), Take(kept.qkv), Take(kept.attention.logsumexp), tape.batch, config_.heads,
                             DropoutAt(tape.mode, config_.attention_dropout, site));
  sink.Linear(layer.qkv_weight, layer.qkv_bias, 3, Take(kept.input), grad_qkv, rows);
  return ops::LinearInputGradient(grad_qkv, p.ComputeStacked(layer.qkv_weight, 3)).add_(after_attention.residual);
}

void Encoder::Backward(at::Tensor gradient, TapeState tape, GradientSink& sink) const {
  for (size_t l = layers_.size(); l-- > 0;) {
    gradient = LayerBackward(l, std::move(gradient), std::move(tape.layers[l]), tape, sink);
  }
  const RowOwners rows = Owners(tape.batch);
  gradient = ops::ApplyDropout(gradient, DropoutAt(tape.mode, config_.hidden_dropout, 0));
  sink.LayerNorm(embedding_norm_.gamma, embedding_norm_.beta, tape.embedding_norm.normalized, gradient, rows);
  const at::Tensor sum = ops::AddLayerNormGradient(gradient, tape.embedding_norm.normalized, tape.embedding_norm.rstd,
                                                   parameters_->Compute(embedding_norm_.gamma), {})
                             .residual;
  sink.Embedding(word_, tape.batch.ids, sum, rows);
  const at::Tensor positions =
      config_.first_position() == 0 ? tape.batch.positions : tape.batch.positions + config_.first_position();
  sink.Embedding(position_, positions, sum, rows);
  if (type_ >= 0) sink.Embedding(type_, tape.batch.type_ids, sum, rows);
}

}  // namespace engram::nn
