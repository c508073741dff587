#include "core/nn/layers/embedding_layer.h"

#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/tensor.h"
#include "core/nn/layers/positions.h"
#include "core/nn/ops/embedding/embedding.h"

namespace engram::nn {
namespace {

// How sequence i goes beyond a table of `rows` positions; nullopt: it does not.
std::optional<PositionExtension> Beyond(const PackedBatch& batch, int64_t i, int64_t rows) {
  return batch.length(i) > rows ? ExtensionOf(batch.plan(i).mode) : std::nullopt;
}

}  // namespace

EmbeddingLayer::EmbeddingLayer(const EncoderConfig& config)
    : dropout_(config.hidden_dropout),
      first_position_(config.first_position()),
      norm_(config.family->block.norm, config.layer_norm_eps) {}

bool EmbeddingLayer::Append(const checkpoint::ExpectedTensor& tensor, SlotId slot) {
  using Role = checkpoint::TensorRole;
  switch (tensor.role) {
    case Role::kWordEmbeddings:
      word_ = slot;
      return true;
    case Role::kPositionEmbeddings:
      position_ = slot;
      return true;
    case Role::kTypeEmbeddings:
      type_ = slot;
      return true;
    case Role::kEmbeddingNorm:
      norm_.Append(tensor, slot);
      return true;
    default:
      return false;
  }
}

at::Tensor EmbeddingLayer::Sum(const ForwardPass& pass) const {
  const PackedBatch& batch = pass.batch;
  const at::Tensor word = Table(word_, pass.parameters), type = Table(type_, pass.parameters),
                   position = Table(position_, pass.parameters);
  if (batch.plans.empty() || position_ < 0) return ops::EmbeddingSum(batch, word, type, position, first_position_);
  // Sequences within the table as ever; rows of the others, which have none there, are replaced.
  const at::Tensor trained = position.narrow(0, first_position_, position.size(0) - first_position_);
  PackedBatch within = batch;
  within.positions = batch.positions.clone();
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    if (Beyond(batch, i, trained.size(0)))
      within.positions.narrow(0, batch.host_cu_seqlens[i], batch.length(i)).zero_();
  }
  at::Tensor sum = ops::EmbeddingSum(within, word, type, position, first_position_);
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const auto extension = Beyond(batch, i, trained.size(0));
    if (!extension) continue;
    const int64_t length = batch.length(i);
    sum.narrow(0, batch.host_cu_seqlens[i], length)
        .copy_(ops::EmbeddingSum(Part(batch, i, 1), word, type, at::Tensor(), 0) +
               ExtendedPositions(trained, *extension, length, 0, length));
  }
  return sum;
}

at::Tensor EmbeddingLayer::Table(SlotId slot, const ParameterBuffer& parameters) const {
  return slot >= 0 ? parameters.Compute(slot) : at::Tensor();
}

at::Tensor EmbeddingLayer::ForwardRows(const ForwardPass& pass, int64_t begin, int64_t count) const {
  const PackedBatch& batch = pass.batch;
  const at::Tensor word = Table(word_, pass.parameters), type = Table(type_, pass.parameters),
                   position = Table(position_, pass.parameters);
  PackedBatch rows;
  rows.ids = batch.ids.narrow(0, begin, count);
  rows.type_ids = batch.type_ids.narrow(0, begin, count);
  rows.positions = batch.positions.narrow(0, begin, count);
  rows.host_cu_seqlens = {0, static_cast<int32_t>(count)};
  at::Tensor hidden;
  std::optional<PositionExtension> extension;
  if (position_ >= 0) extension = Beyond(batch, 0, position.size(0) - first_position_);
  if (extension) {
    const at::Tensor trained = position.narrow(0, first_position_, position.size(0) - first_position_);
    hidden = ops::EmbeddingSum(rows, word, type, at::Tensor(), 0) +
             ExtendedPositions(trained, *extension, batch.length(0), begin, begin + count);
  } else {
    hidden = ops::EmbeddingSum(rows, word, type, position, first_position_);
  }
  return norm_.exists() ? norm_.Forward(hidden, at::Tensor(), {}, pass).y : hidden;
}

at::Tensor EmbeddingLayer::Forward(const ForwardPass& pass, Tape* tape) const {
  at::Tensor hidden = Sum(pass);
  if (norm_.exists()) {
    ops::LayerNormResult norm = norm_.Forward(hidden, at::Tensor(), {}, pass);
    hidden = Take(norm.y);
    if (pass.keep) *tape = std::move(norm);
  }
  return ops::ApplyDropout(hidden, DropoutAt(pass.mode, dropout_, 0));
}

void EmbeddingLayer::PositionGradient(const at::Tensor& g, const BackwardPass& pass) const {
  const PackedBatch& batch = pass.batch;
  if (batch.plans.empty()) {
    const at::Tensor positions = first_position_ == 0 ? batch.positions : batch.positions + first_position_;
    return pass.sink.Embedding(position_, positions, g, pass.rows);
  }
  const int64_t rows = pass.parameters.slice(position_).shape.front() - first_position_;
  std::vector<int32_t> row, cu_rows = {0};
  std::vector<int64_t> token;
  std::vector<float> share;
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const auto extension = Beyond(batch, i, rows);
    for (int64_t t = 0; t < batch.length(i); ++t) {
      const std::vector<PositionTerm> terms =
          extension ? PositionTerms(*extension, rows, batch.length(i), t) : std::vector<PositionTerm>{{t, 1}};
      for (const PositionTerm& term : terms) {
        row.push_back(static_cast<int32_t>(term.row + first_position_));
        token.push_back(batch.host_cu_seqlens[i] + t);
        share.push_back(static_cast<float>(term.share));
      }
    }
    cu_rows.push_back(static_cast<int32_t>(row.size()));
  }
  const at::Device device = g.device();
  const at::Tensor shares = at::tensor(share).to(device).to(g.scalar_type()).unsqueeze(1);
  pass.sink.Embedding(position_, at::tensor(row, at::kInt).to(device),
                      at::index_select(g, 0, at::tensor(token).to(device)) * shares,
                      {at::tensor(cu_rows, at::kInt).to(device), cu_rows});
}

void EmbeddingLayer::Backward(at::Tensor g, const Tape& kept, const BackwardPass& pass) const {
  g = ops::ApplyDropout(g, DropoutAt(pass.mode, dropout_, 0));
  if (norm_.exists()) g = norm_.Backward(std::move(g), kept, {}, pass).residual;
  pass.sink.Embedding(word_, pass.batch.ids, g, pass.rows);
  if (position_ >= 0) PositionGradient(g, pass);
  if (type_ >= 0) pass.sink.Embedding(type_, pass.batch.type_ids, g, pass.rows);
}

}  // namespace engram::nn
