#pragma once

// Learning-rate schedules, the closed forms of transformers' get_{constant,linear,cosine}_schedule_with_warmup
// (optimization.py).

#include <cstdint>

namespace engram::train {

enum class ScheduleKind { kConstant, kLinear, kCosine };

// ceil(ratio * total_steps), as transformers' TrainingArguments.get_warmup_steps.
int64_t WarmupSteps(double ratio, int64_t total_steps);

// The factor on the peak learning rate in step `step` (from 0). Rises linearly from 0 over the warm-up, so the very
// first step of a warm-up moves nothing; then constant, or falls to 0 at total_steps linearly or as half a cosine.
double ScheduleFactor(ScheduleKind kind, int64_t step, int64_t warmup_steps, int64_t total_steps);

}  // namespace engram::train
