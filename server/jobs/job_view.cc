#include "server/jobs/job_view.h"

#include "engram/worker/v1/worker.pb.h"
#include "server/jobs/job_kind.h"
#include "server/library/catalog.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using jobs::JobState;

constexpr bool Equal(JobState stored, engram::v1::JobState shown) {
  return static_cast<int>(stored) == static_cast<int>(shown);
}
static_assert(Equal(JobState::kQueued, engram::v1::JOB_STATE_QUEUED) &&
              Equal(JobState::kRunning, engram::v1::JOB_STATE_RUNNING) &&
              Equal(JobState::kPaused, engram::v1::JOB_STATE_PAUSED) &&
              Equal(JobState::kSucceeded, engram::v1::JOB_STATE_SUCCEEDED) &&
              Equal(JobState::kFailed, engram::v1::JOB_STATE_FAILED) &&
              Equal(JobState::kCancelled, engram::v1::JOB_STATE_CANCELLED));

}  // namespace

jobs::JobState StoredState(engram::v1::JobState state) { return static_cast<JobState>(state); }

std::string StateName(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "queued";
    case JobState::kRunning:
      return "running";
    case JobState::kPaused:
      return "paused";
    case JobState::kSucceeded:
      return "succeeded";
    case JobState::kFailed:
      return "failed";
    case JobState::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string KindName(const jobs::JobRecord& record) {
  engram::worker::v1::RunSpec spec;
  const JobKind* const kind = spec.ParseFromString(record.specification) ? FindJobKind(spec.work_case()) : nullptr;
  return kind == nullptr ? "unknown" : kind->facts().name;
}

engram::v1::Job DescribeJob(const jobs::JobRecord& record) {
  engram::v1::Job job;
  job.ParseFromString(record.description);
  job.set_name(JobName(record.id));
  job.set_state(static_cast<engram::v1::JobState>(record.state));
  job.set_priority(static_cast<int32_t>(record.priority));
  job.set_attempts(static_cast<int32_t>(record.attempts));
  job.set_label(record.label);
  SetTimestamp(record.created, job.mutable_create_time());
  if (record.started != absl::InfinitePast()) SetTimestamp(record.started, job.mutable_start_time());
  if (record.ended != absl::InfinitePast()) SetTimestamp(record.ended, job.mutable_end_time());
  engram::worker::v1::RunOutcome outcome;
  if (!record.outcome.empty() && outcome.ParseFromString(record.outcome)) {
    if (record.state == JobState::kSucceeded) *job.mutable_result() = outcome.result();
    if (record.state == JobState::kFailed) *job.mutable_error() = outcome.error();
  }
  return job;
}

}  // namespace engram::server
