#pragma once

// AdamW over flat memory (Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019), equal to
// torch.optim.AdamW:
//
//   g     <- gradient_scale * gradient + sum over coupled penalties of strength * importance * (theta - anchor)
//   theta <- theta - lr * weight_decay * theta                          where the slot decays
//   m     <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
//   theta <- theta - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
//   theta <- (theta + k anchor) / (1 + k)                               for proximal penalties
//
// One pass does all of it, and rounds theta to the bf16 copy where the buffer has one. On the CPU this is a kernel of
// our own, compiled for several instruction sets; elsewhere plain ATen operations on flat ranges. Work is cut into
// fixed chunks: results do not depend on the number of threads.
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
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/nn/parameter_buffer.h"
#include "core/train/quadratic_penalty.h"

namespace engram::train {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.01;
};

// A run of trainable elements [begin, end) that all decay or all do not.
struct ElementRange {
  int64_t begin = 0, end = 0;
  bool decay = true;
};

// The slots' elements as ranges in ascending order, neighbours of one kind joined.
std::vector<ElementRange> RangesOf(const nn::ParameterBuffer& parameters, std::span<const nn::SlotId> slots);

// Euclidean norm of the gradients in `ranges`: squares summed in fp64, in a fixed order. NaN or infinite exactly if an
// entry is.
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

  const std::vector<ElementRange>& ranges() const { return ranges_; }
  // Steps taken so far (t of the formulas).
  int64_t steps() const { return steps_; }
  // fp32 [N], 0 outside the trainable ranges.
  const at::Tensor& first_moment() const { return first_moment_; }
  const at::Tensor& second_moment() const { return second_moment_; }
  // Goes on from a checkpoint; tensors fp32 [N] are copied.
  void Restore(int64_t steps, const at::Tensor& first_moment, const at::Tensor& second_moment);

 private:
  nn::ParameterBuffer* parameters_;
  AdamWOptions options_;
  std::vector<ElementRange> ranges_;
  int64_t steps_ = 0;
  at::Tensor first_moment_, second_moment_;
};

// The numbers of one step, shared by the kernel and the plain form.
struct AdamWStepConstants {
  double lr = 0, gradient_scale = 1;
  double bias_correction1 = 1, bias_correction2 = 1;  // 1 - beta^t
  AdamWOptions options;
};

// The same step in plain ATen operations: what other devices run, and what tests compare the CPU kernel with.
std::vector<double> AdamWStepReference(nn::ParameterBuffer& parameters, std::span<const ElementRange> ranges,
                                       const at::Tensor& first_moment, const at::Tensor& second_moment,
                                       const AdamWStepConstants& constants,
                                       std::span<const QuadraticPenalty> penalties);

}  // namespace engram::train
