#pragma once

// The plan of a training with lambda=auto: which strengths are tried, and on which earlier tasks (what comes of it:
// server/worker/strength_search.h).

#include "core/base/status.h"
#include "engram/v1/job.pb.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/jobs/plan_context.h"
#include "server/jobs/task_options.h"

namespace engram::server {

// Sets work.search: the grid times the strategy's default, and the version's other classifiers and taggers whose data sets
// are at hand. INVALID_ARGUMENT (field "lambda_grid") for what is no number or gives a strength that the strategy does not
// take, for fewer than 2 or more than 20; (field "lambda") for a masked language model, which has no accuracy to weigh.
// FAILED_PRECONDITION (NOTHING_TO_WEIGH) if no earlier task can be measured.
absl::Status FillSearch(const PlanContext& context, const BaseVersion& base, const TaskOptions& asked,
                        engram::worker::v1::TrainWork& work);

// Adds to an estimate of the training what its search takes: a training per strength, at most as long.
void AddSearch(const engram::worker::v1::TrainWork& work, engram::v1::JobEstimate& estimate);

}  // namespace engram::server
