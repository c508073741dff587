#pragma once

// lambda=auto: the strength of a strategy is chosen by trainings at several strengths, each measured on texts that it was
// not trained on (docs/ewc.md, "The strength by measurement").

#include "core/base/status.h"
#include "engram/v1/job.pb.h"
#include "server/worker/run.h"

namespace engram::worker {

// Fills in `tolerance` and `chosen` of a sweep whose points have strengths in ascending order and both scores;
// `new_texts`: on how many texts new_score was measured.
//   tolerance = max(0.01, sqrt(p (1 - p) / new_texts)), p the highest new_score: one standard error of it, as in the
//   one-standard-error rule (Breiman et al., "Classification and regression trees", 1984), and a point at least
//   chosen: of the points with new_score >= p - tolerance the one with the highest earlier_score; of equal ones the weakest
// INVALID_ARGUMENT without points or texts.
absl::Status ChooseStrength(int64_t new_texts, engram::v1::StrengthSweep& sweep);

// The training of `context.spec.train()`, whose search is set, at the strength that its search comes to, on all rows. Each
// strength is trained on what is left when a part of the new task's training rows (its validation part, where there is
// one) is held out; earlier tasks are measured on their validation parts or, without one, on at most 500 of their
// training rows. A run that goes on repeats no strength that is done.
RunResult TrainAtBestStrength(RunContext& context);

}  // namespace engram::worker
