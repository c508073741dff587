#pragma once

// The quadratic pull towards earlier weights that EWC and its relatives add to a task's loss:
//
//   penalty = 1/2 * strength * sum_i importance_i * (theta_i - anchor_i)^2
//
// It never goes through autograd and never through the gradient buffer: AdamW::Step adds it inside its one pass over
// flat memory, after the task's gradient was clipped (so that a large penalty does not shrink the task's gradient and
// the strength keeps its meaning), once an optimizer step, also under gradient accumulation.

#include <cstdint>
#include <string>
#include <string_view>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"

namespace engram::train {

// How a penalty acts on the weights. With k_i = lr * strength * importance_i:
//   kCoupled   strength * importance * (theta - anchor) joins the gradient inside AdamW, whose normalisation by sqrt(v)
//              bounds the move to about lr: it cannot diverge, but a weight with k_i > 2 oscillates around its anchor
//              by lr instead of settling. The strengths that are known to work for EWC on encoders (about 1000 Bayes
//              units) were measured with this form.
//   kProximal  theta <- (theta + sum k_i anchor_i) / (1 + sum k_i) after the AdamW update, the sums over all penalties
//              that take it: the implicit step, stable for every strength, past Adam's normalisation; its useful
//              strengths differ from the coupled ones.
//   kAuto      coupled, except for weights with k_i > 2, where plain gradient descent would diverge and AdamW
//              oscillates: those take the proximal step, which keeps them at their anchor. It is decided for each
//              weight and penalty at each step (lr follows the schedule), so the usual strengths are all but wholly
//              coupled, and no strength is too large.
// Sources: Kirkpatrick et al., PNAS 2017 (the penalty); Parikh & Boyd, "Proximal algorithms", 2014, section 6.1.1 (the
// implicit step).
enum class PenaltyMode { kAuto, kCoupled, kProximal };

// "auto", "coupled", "proximal"; INVALID_ARGUMENT naming these for anything else.
absl::StatusOr<PenaltyMode> ParsePenaltyMode(std::string_view name);
std::string_view PenaltyModeName(PenaltyMode mode);

// Covers the elements [begin, end) of the parameter buffer; frozen elements in it are left alone and add nothing to the
// value. The tensors are shared, not copied, and must not be views of the live weights (an anchor that moves along is a
// penalty of 0).
struct QuadraticPenalty {
  std::string name;       // for messages and metrics: the earlier task
  at::Tensor importance;  // fp32 [end - begin], contiguous, >= 0, on the buffer's device
  at::Tensor anchor;      // fp32 [end - begin], likewise
  double strength =
      0;  // lambda in units of the mean loss over one unit (text or token); 0: the penalty does nothing at all
  int64_t begin = 0, end = 0;
  PenaltyMode mode = PenaltyMode::kAuto;
};

// INVALID_ARGUMENT for a strength that is negative or not finite, a range outside [0, buffer_size], tensors of another
// shape, dtype or device, an anchor that shares memory with `weights`, or an importance with a negative or non-finite
// entry.
absl::Status ValidatePenalty(const QuadraticPenalty& penalty, const at::Tensor& weights);

}  // namespace engram::train
