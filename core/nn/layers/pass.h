#pragma once

// What all layers of one forward or backward pass share. Layers are slots and numbers: they own no weights and keep
// nothing between passes, so copies of an encoder copy them, and any number of passes may run at a time.

#include <cstdint>
#include <optional>
#include <span>

#include "ATen/core/Tensor.h"
#include "core/nn/encoder_config.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/ops/dropout/dropout.h"
#include "core/nn/packed_batch.h"
#include "core/nn/parameter_buffer.h"
#include "core/nn/task_blocks.h"

namespace engram::nn {

class Rotations;

// Dropout number `site` of the network under `mode`; inactive in evaluation.
ops::Dropout DropoutAt(const std::optional<TrainingMode>& mode, double probability, uint32_t site);

// The tensor, let go of where it was kept.
at::Tensor Take(at::Tensor& tensor);

struct ForwardPass {
  const ParameterBuffer& parameters;
  const PackedBatch& batch;
  const std::optional<TrainingMode>& mode;
  const Rotations* rotations;               // nullptr: positions are not rotary
  const BlockPass* blocks;                  // nullptr: the encoder alone
  bool keep;                                // a backward pass will follow
  const at::Tensor* by_distance = nullptr;  // RelativePositions::ByDistance; nullptr: the family has no such table

  at::Tensor WithBlocks(size_t layer, BlockSite site, const at::Tensor& x, at::Tensor y) const {
    return blocks != nullptr ? blocks->Apply(layer, site, x, std::move(y)) : y;
  }
};

struct BackwardPass {
  const ParameterBuffer& parameters;
  const PackedBatch& batch;
  const std::optional<TrainingMode>& mode;
  const Rotations* rotations;
  const TaskBlocks* blocks;
  std::span<const BlockSiteTape> block_sites;
  RowOwners rows;  // the batch's own
  GradientSink& sink;
  const at::Tensor* by_distance = nullptr;
  at::Tensor* by_distance_gradient = nullptr;  // where all layers add theirs; undefined before the first

  // From the gradient behind a linear layer's blocks to that of the layer's output. Returns what comes to the gradient of
  // the layer's input beside its own; undefined: nothing.
  at::Tensor ThroughBlocks(size_t layer, BlockSite site, at::Tensor& g) const;
};

}  // namespace engram::nn
