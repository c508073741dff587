#pragma once

// The optimizer: AdamW over a model's flat memory, with the quadratic penalties of continual learning in its one pass.
// The step itself, with its formulas and sources, is an op (core/nn/ops/adamw/adamw.h); here are the moments, the count
// of steps and the choice of what trains.
//
// Only trainable slots are touched: of all others neither weights nor moments move.
//
// Example:
//   AdamW optimizer(&model->parameters(), slots, AdamWOptions{});
//   const double norm = GradientNorm(model->parameters(), optimizer.ranges());
//   optimizer.Step(/*lr=*/2e-4, ClipScale(norm, 1.0), penalties);
//
// Not thread-safe. The buffer must outlive the optimizer, have gradients enabled and not be appended to in between.

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/nn/ops/adamw/adamw.h"
#include "core/nn/parameter_buffer.h"
#include "core/train/quadratic_penalty.h"

namespace engram::train {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.01;
};

using nn::ops::ElementRange;

// The slots' elements as ranges in ascending order, neighbours of one kind joined.
std::vector<ElementRange> RangesOf(const nn::ParameterBuffer& parameters, std::span<const nn::SlotId> slots);

// nn::ops::GradientNorm of the buffer's gradients.
double GradientNorm(const nn::ParameterBuffer& parameters, std::span<const ElementRange> ranges);

// What torch.nn.utils.clip_grad_norm_ multiplies gradients by: min(1, max_norm / (norm + 1e-6)); 1 if max_norm is 0 (no
// clipping).
double ClipScale(double norm, double max_norm);

class AdamW {
 public:
  AdamW(nn::ParameterBuffer* parameters, std::span<const nn::SlotId> trainable, const AdamWOptions& options);

  // One step at learning rate `lr`. Gradients are read, not changed. Returns the value of each penalty at the weights
  // before the step, summed in fp64; 0 for those of strength 0, which take no part at all. Penalties must have passed
  // ValidatePenalty.
  std::vector<double> Step(double lr, double gradient_scale, std::span<const QuadraticPenalty> penalties);

  // Factors of `lr` for the steps that follow; 1 for trainable slots not named. At 0 a slot takes no part.
  void SetLearningRateScales(const std::map<nn::SlotId, double>& scales);

  // What takes part in the next step.
  const std::vector<ElementRange>& ranges() const { return ranges_; }
  // Steps taken so far (t of the formulas).
  int64_t steps() const { return steps_; }
  // fp32 [N], 0 outside the trainable ranges.
  const at::Tensor& first_moment() const { return first_moment_; }
  const at::Tensor& second_moment() const { return second_moment_; }
  // Goes on from a checkpoint; tensors fp32 [N] are copied.
  void Restore(int64_t steps, const at::Tensor& first_moment, const at::Tensor& second_moment);

 private:
  // Ranges that step at one learning rate.
  struct Group {
    double scale = 1;
    std::vector<ElementRange> ranges;
  };

  nn::ParameterBuffer* parameters_;
  AdamWOptions options_;
  std::vector<nn::SlotId> trainable_;
  std::map<nn::SlotId, double> scales_;
  std::vector<ElementRange> ranges_;
  std::vector<Group> groups_;
  int64_t steps_ = 0;
  at::Tensor first_moment_, second_moment_;
};

}  // namespace engram::train
