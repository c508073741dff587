#pragma once

// Trainings inside of a job that are steps of it, each in a folder of its own: folds of a cross-validation, strengths that
// are tried.

#include <functional>
#include <optional>
#include <string>

#include "core/base/status.h"
#include "server/worker/run.h"

namespace engram::worker {

// A context for one of them: `work` in `directory`, which is made, its output emptied. `stage` is said before each phase.
absl::StatusOr<RunContext> InnerRun(const RunContext& context, const engram::worker::v1::TrainWork& work,
                                    const std::string& directory, std::string stage);

// Adds to `to` what `from` warns of and `to` does not yet: what several trainings warn of is said once.
void TakeWarnings(const RunContext& from, RunContext& to);

// Adds the tokens, steps and seconds of work of `from` to those of `to`.
void AddEffort(const engram::v1::JobResult& from, engram::v1::JobResult& to);

// What a training in `directory` came to. It is kept there, so that a run which goes on does not train it again, and
// everything else in it is deleted: the model once it is measured, its checkpoint, and what `prepare` wrote.
// `prepare` makes the context; it is not called for a training that is done. nullopt if the training stopped on request.
absl::StatusOr<std::optional<engram::v1::JobResult>> TrainOnce(
    const std::string& directory, const std::function<absl::StatusOr<RunContext>()>& prepare,
    const std::function<void(const RunContext&)>& done);

}  // namespace engram::worker
