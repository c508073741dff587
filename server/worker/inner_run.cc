#include "server/worker/inner_run.h"

#include <algorithm>
#include <utility>

#include "core/base/files.h"

namespace engram::worker {
namespace {

constexpr const char* kResult = "result.binpb";

}  // namespace

absl::StatusOr<RunContext> InnerRun(const RunContext& context, const engram::worker::v1::TrainWork& work,
                                    const std::string& directory, std::string stage) {
  RunContext inner;
  inner.spec = context.spec;
  *inner.spec.mutable_train() = work;
  inner.directory = directory;
  inner.stop = context.stop;
  inner.events = context.events;
  inner.warnings = context.warnings;
  inner.stage = std::move(stage);
  ENGRAM_RETURN_IF_ERROR(RemoveTree(inner.output()));
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(inner.output()));
  return inner;
}

void TakeWarnings(const RunContext& from, RunContext& to) {
  for (const std::string& warning : from.warnings) {
    if (std::find(to.warnings.begin(), to.warnings.end(), warning) == to.warnings.end()) to.warnings.push_back(warning);
  }
}

void AddEffort(const engram::v1::JobResult& from, engram::v1::JobResult& to) {
  to.set_tokens(to.tokens() + from.tokens());
  to.set_steps(to.steps() + from.steps());
  to.set_work_seconds(to.work_seconds() + from.work_seconds());
}

absl::StatusOr<std::optional<engram::v1::JobResult>> TrainOnce(
    const std::string& directory, const std::function<absl::StatusOr<RunContext>()>& prepare,
    const std::function<void(const RunContext&)>& done) {
  const std::string kept = directory + "/" + kResult;
  if (PathExists(kept)) {
    engram::v1::JobResult result;
    ENGRAM_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(kept));
    if (!result.ParseFromString(bytes)) {
      return StatusWithReason(absl::StatusCode::kDataLoss, "CHECKPOINT_DAMAGED",
                              "the result of a training inside of this job is damaged; start the job again");
    }
    return result;
  }
  ENGRAM_ASSIGN_OR_RETURN(RunContext inner, prepare());
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<engram::v1::JobResult> trained, RunTraining(inner));
  if (done) done(inner);
  if (!trained) return trained;
  ENGRAM_RETURN_IF_ERROR(WriteFileAtomic(kept, trained->SerializeAsString()));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    if (name != kResult) ENGRAM_RETURN_IF_ERROR(RemoveTree(directory + "/" + name));
  }
  return trained;
}

}  // namespace engram::worker
