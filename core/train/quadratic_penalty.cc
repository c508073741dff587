#include "core/train/quadratic_penalty.h"

#include <cmath>
#include <limits>

#include "ATen/ops/linalg_vector_norm.h"
#include "absl/strings/str_cat.h"

namespace engram::train {

absl::StatusOr<PenaltyMode> ParsePenaltyMode(std::string_view name) {
  if (name == "auto") return PenaltyMode::kAuto;
  if (name == "coupled") return PenaltyMode::kCoupled;
  if (name == "proximal") return PenaltyMode::kProximal;
  return InvalidField("penalty_mode",
                      absl::StrCat("\"", AbslView(name), "\" is unknown; choose auto, coupled or proximal"));
}

std::string_view PenaltyModeName(PenaltyMode mode) {
  switch (mode) {
    case PenaltyMode::kCoupled:
      return "coupled";
    case PenaltyMode::kProximal:
      return "proximal";
    case PenaltyMode::kAuto:
      break;
  }
  return "auto";
}

absl::Status ValidatePenalty(const QuadraticPenalty& penalty, const at::Tensor& weights) {
  const auto invalid = [&](std::string_view what) {
    return InvalidField("penalty", absl::StrCat("the penalty of \"", penalty.name, "\" ", AbslView(what)));
  };
  if (!std::isfinite(penalty.strength) || penalty.strength < 0)
    return invalid("needs a strength that is finite and not negative");
  if (penalty.begin < 0 || penalty.begin >= penalty.end || penalty.end > weights.numel()) {
    return invalid("covers elements that the model does not have");
  }
  for (const at::Tensor* tensor : {&penalty.importance, &penalty.anchor}) {
    if (!tensor->defined() || tensor->scalar_type() != at::kFloat || !tensor->is_contiguous() ||
        tensor->numel() != penalty.end - penalty.begin || tensor->device() != weights.device()) {
      return invalid("needs importance and anchor as fp32 tensors of the size of its range, on the model's device");
    }
  }
  if (penalty.anchor.is_alias_of(weights))
    return invalid("has the live weights themselves as its anchor; anchors must be copies");
  // NaN fails the comparison too.
  const double smallest = penalty.importance.min().item<double>(), largest = penalty.importance.max().item<double>();
  if (!(smallest >= 0) || !std::isfinite(largest)) return invalid("has an importance that is negative or not finite");
  const double farthest =
      at::linalg_vector_norm(penalty.anchor, std::numeric_limits<double>::infinity()).item<double>();
  if (!std::isfinite(farthest)) return invalid("has an anchor that is not finite");
  return absl::OkStatus();
}

}  // namespace engram::train
