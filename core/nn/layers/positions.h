#pragma once

// Where the tokens of a batch are: rotations of queries and keys, and positions beyond a trained table.

#include <optional>
#include <vector>

#include "core/checkpoint/rope.h"
#include "core/nn/encoder_config.h"
#include "core/nn/ops/attention/attention.h"
#include "core/nn/packed_batch.h"
#include "core/nn/position_extension.h"

namespace engram::nn {

// The extension of a position table that a mode is; nullopt for kTrained and the modes of rotary positions.
std::optional<PositionExtension> ExtensionOf(PositionMode mode);

// How a sequence of `length` tokens with this plan turns in the place of `rope`.
checkpoint::Rope RopeWith(const checkpoint::Rope& rope, const PositionPlan& plan, int64_t length);

// The rotations of one batch. Sequences whose frequencies are equal share rows; the others have rows of their own, so
// that none sees its neighbours. Made anew for each pass: what a pass turns by follows from its batch alone.
class Rotations {
 public:
  // nullopt for a family without rotary positions.
  static std::optional<Rotations> Of(const EncoderConfig& config, const PackedBatch& batch);

  // Those of the rows [begin, begin + count) of the batch.
  Rotations Rows(int64_t begin, int64_t count) const;

  // Turns the queries and keys of qkv [T, shape.qkv_width()] in place, by rope number `rope` of the config;
  // `transposed`: their gradients.
  void Turn(size_t rope, const at::Tensor& qkv, const ops::AttentionShape& shape, bool transposed) const;

 private:
  struct Table {
    at::Tensor rows;   // fp32 [P, w]: ops::Rotate
    at::Tensor index;  // int32 [T]
  };
  // `planned`: as the batch's plans say; else as the model's own rope does.
  static Table MakeTable(const checkpoint::Rope& rope, const PackedBatch& batch, bool planned);

  std::vector<Table> tables_;
};

}  // namespace engram::nn
