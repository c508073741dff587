#include "core/nn/encoder.h"

#include <algorithm>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/ops/empty.h"
#include "c10/core/GradMode.h"
#include "c10/core/InferenceMode.h"
#include "core/nn/between_layers.h"

namespace engram::nn {

Encoder::Encoder(const EncoderConfig& config, ParameterBuffer* parameters)
    : config_(config),
      parameters_(parameters),
      embedding_(config),
      final_norm_(config.family->block.norm, config.layer_norm_eps) {
  for (size_t l = 0; l < static_cast<size_t>(config.layers); ++l) layers_.emplace_back(config, l);
}

absl::StatusOr<Encoder> Encoder::Create(const EncoderConfig& config, ParameterBuffer* parameters) {
  Encoder encoder(config, parameters);
  std::vector<ParameterSpec> specs;
  for (checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(config)) {
    if (tensor.role == checkpoint::TensorRole::kPooler && !config.has_pooler) continue;
    encoder.Append(tensor, static_cast<SlotId>(specs.size()));
    specs.push_back({std::move(tensor.name), std::move(tensor.shape)});
    specs.back().decay = specs.back().shape.size() > 1;
  }
  ENGRAM_ASSIGN_OR_RETURN(encoder.slots_, parameters->Append(specs));
  return encoder;
}

void Encoder::Append(const checkpoint::ExpectedTensor& tensor, SlotId slot) {
  if (tensor.layer >= 0) return layers_[static_cast<size_t>(tensor.layer)].Append(tensor, slot);
  if (embedding_.Append(tensor, slot) || relative_.Append(tensor, slot)) return;
  if (tensor.role == checkpoint::TensorRole::kFinalNorm) return final_norm_.Append(tensor, slot);
  (tensor.bias ? pooler_.bias : pooler_.weight) = slot;
}

at::Tensor Encoder::Forward(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape,
                            Columns columns) const {
  const int64_t threads = at::get_num_threads();
  if (tape == nullptr && !mode && batch.ids.is_cpu() && threads > 1 && !at::in_parallel_region()) {
    const std::vector<int64_t> cuts = BalancedParts(batch, threads);
    if (!cuts.empty()) return ForwardInParts(batch, cuts, columns);
  }
  return ForwardWhole(batch, mode, tape, columns);
}

at::Tensor Encoder::ForwardInParts(const PackedBatch& batch, const std::vector<int64_t>& cuts, Columns columns) const {
  const bool inference = c10::InferenceMode::is_enabled(), autograd = c10::GradMode::is_enabled();
  at::Tensor hidden = at::empty({batch.tokens(), config_.hidden_size}, parameters_->compute().options());
  at::parallel_for(0, static_cast<int64_t>(cuts.size()) - 1, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference_mode(inference);  // modes belong to a thread
    const c10::AutoGradMode autograd_mode(autograd && !inference);
    for (int64_t i = begin; i < end; ++i) ForwardGroups(batch, cuts[i], cuts[i + 1], columns, hidden);
  });
  return hidden;
}

void Encoder::ForwardGroups(const PackedBatch& batch, int64_t begin, int64_t end, Columns columns,
                            const at::Tensor& hidden) const {
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
    hidden.narrow(0, batch.host_cu_seqlens[begin], group.tokens())
        .copy_(ForwardWhole(group, std::nullopt, nullptr, columns));
    begin = next;
  }
}

void Encoder::PackForInference() {
  for (Block& layer : layers_) layer.Pack(*parameters_);
}

void Encoder::Rebind(ParameterBuffer* parameters) {
  parameters_ = parameters;
  for (Block& layer : layers_) layer.Unpack();
}

at::Tensor Encoder::ForwardWhole(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape,
                                 Columns columns) const {
  if (columns.empty()) return ForwardLayers(batch, mode, tape, nullptr);
  std::vector<BlockCodes> codes(columns.size() - 1);
  for (size_t j = 0; j < codes.size(); ++j) {
    const BlockPass earlier(*columns[j], layers_.size(), std::span(codes).first(j), nullptr, &codes[j]);
    ForwardLayers(batch, std::nullopt, nullptr, &earlier);
  }
  std::vector<BlockSiteTape> sites;
  const BlockPass pass(*columns.back(), layers_.size(), codes, tape != nullptr ? &sites : nullptr, nullptr);
  at::Tensor hidden = ForwardLayers(batch, mode, tape, &pass);
  if (tape != nullptr) {
    tape->blocks = columns.back();
    tape->block_sites = std::move(sites);
  }
  return hidden;
}

at::Tensor Encoder::ForwardLayers(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape,
                                  const BlockPass* blocks) const {
  const bool keep = tape != nullptr;
  std::optional<Rotations> rotations = Rotations::Of(config_, batch);
  const at::Tensor by_distance = relative_.exists() ? relative_.ByDistance(*parameters_) : at::Tensor();
  const ForwardPass pass{*parameters_,
                         batch,
                         mode,
                         rotations ? &*rotations : nullptr,
                         blocks,
                         keep,
                         by_distance.defined() ? &by_distance : nullptr};
  if (keep)
    *tape = {mode, batch, rotations, {}, std::vector<Block::Tape>(layers_.size()), {}, nullptr, {}, by_distance};
  at::Tensor hidden = embedding_.Forward(pass, keep ? &tape->embedding : nullptr);
  for (size_t l = 0; l < layers_.size(); ++l) {
    if (l > 0) BetweenLayers::Pause();
    hidden = layers_[l].Forward(hidden, pass, keep ? &tape->layers[l] : nullptr);
  }
  if (!final_norm_.exists()) return hidden;
  ops::LayerNormResult norm = final_norm_.Forward(hidden, at::Tensor(), {}, pass);
  hidden = Take(norm.y);
  if (keep) tape->final_norm = std::move(norm);
  return hidden;
}

void Encoder::Backward(at::Tensor gradient, TapeState tape, GradientSink& sink) const {
  at::Tensor by_distance_gradient;
  const BackwardPass pass{*parameters_,
                          tape.batch,
                          tape.mode,
                          tape.rotations ? &*tape.rotations : nullptr,
                          tape.blocks,
                          tape.block_sites,
                          {tape.batch.cu_seqlens, tape.batch.host_cu_seqlens},
                          sink,
                          tape.by_distance.defined() ? &tape.by_distance : nullptr,
                          &by_distance_gradient};
  if (final_norm_.exists()) gradient = final_norm_.Backward(std::move(gradient), tape.final_norm, {}, pass).residual;
  for (size_t l = layers_.size(); l-- > 0;)
    gradient = layers_[l].Backward(std::move(gradient), std::move(tape.layers[l]), pass);
  if (relative_.exists()) relative_.Backward(by_distance_gradient, sink);
  embedding_.Backward(std::move(gradient), tape.embedding, pass);
}

}  // namespace engram::nn
