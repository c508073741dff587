#pragma once

// CrossEntropyLoss in two parts, so that a device can be given the backward pass before anybody waits for the loss.

#include "ATen/core/Tensor.h"

namespace engram::train {

class PendingLoss {
 public:
  // As CrossEntropyLoss (micro_batch.h); begins to compute.
  PendingLoss(const at::Tensor& logits, const at::Tensor& targets, double weight, const at::Tensor& class_weights);
  // Of `weight` times the loss with respect to the logits, fp32.
  const at::Tensor& grad() const { return grad_; }
  // The losses of all terms, summed without the weight; waits for the device.
  double Sum() const;

 private:
  double weight_;
  at::Tensor losses_, grad_;
};

}  // namespace engram::train
