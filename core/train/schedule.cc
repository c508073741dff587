#include "core/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"

namespace engram::train {

absl::StatusOr<ScheduleKind> ParseSchedule(const std::string& name) {
  if (name == "constant") return ScheduleKind::kConstant;
  if (name == "linear") return ScheduleKind::kLinear;
  if (name == "cosine") return ScheduleKind::kCosine;
  return InvalidField("schedule", absl::StrCat("unknown schedule \"", name, "\"; the schedules are constant, linear and cosine"));
}

double ScheduleFactor(ScheduleKind kind, int64_t step, int64_t warmup, int64_t total) {
  if (step < warmup) return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup));
  if (kind == ScheduleKind::kConstant) return 1.0;
  const double span = static_cast<double>(std::max<int64_t>(1, total - warmup));
  if (kind == ScheduleKind::kLinear) return std::max(0.0, static_cast<double>(total - step) / span);
  const double progress = static_cast<double>(step - warmup) / span;
  return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
}

}  // namespace engram::train
