#include "server/jobs/estimator.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "server/jobs/cost_model.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::JobEstimate;

// The precision that decides a job's speed; evaluations and consolidations have no choice.
std::string PrecisionOf(const engram::v1::Job& job) {
  const auto found = job.options().find("precision");
  return found == job.options().end() ? "" : found->second;
}

}  // namespace

absl::Status JobEstimator::AddMeasuredSpeed(const PlannedJob& job, SpeedRange& range, JobEstimate& out) const {
  constexpr int64_t kJobsLookedAt = 200;
  constexpr int kJobsOfOneModel = 5;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> ended,
                          context_.store.ListJobs("", kJobsLookedAt, "", jobs::JobState::kSucceeded));
  for (const jobs::JobRecord& record : ended) {
    engram::v1::Job earlier;
    engram::worker::v1::RunOutcome outcome;
    // Of a job that was resumed only the last run's time is known.
    if (record.attempts != 1 || !earlier.ParseFromString(record.description) ||
        !outcome.ParseFromString(record.outcome) || earlier.kind() != job.description.kind() ||
        PrecisionOf(earlier) != PrecisionOf(job.description) || outcome.result().tokens() == 0 ||
        outcome.result().work_seconds() <= 0) {
      continue;
    }
    const bool same = record.model == job.record.model;
    // Newest first: the newest of the same model is what the seconds stand on, those before it widen the range; the
    // newest of another model is what there is until then.
    if (!same && out.speed_origin() != engram::v1::SPEED_ORIGIN_UNSPECIFIED) continue;
    double speed = static_cast<double>(outcome.result().tokens()) / outcome.result().work_seconds();
    if (!same) {
      const int64_t theirs = ModelFileBytes(context_.paths, record.model, record.base_version);
      const int64_t ours = ModelFileBytes(context_.paths, job.record.model, job.record.base_version);
      if (theirs == 0 || ours == 0) continue;
      speed *= static_cast<double>(theirs) / static_cast<double>(ours);
    }
    if (same && out.speed_origin() == engram::v1::SPEED_ORIGIN_SAME_MODEL) {
      range = {std::min(range.lowest, speed), std::max(range.highest, speed)};
      out.set_speed_jobs(out.speed_jobs() + 1);
      if (out.speed_jobs() == kJobsOfOneModel) break;
      continue;
    }
    range = {speed, speed};
    out.set_speed_jobs(1);
    out.set_tokens_per_second(speed);
    out.set_speed_origin(same ? engram::v1::SPEED_ORIGIN_SAME_MODEL : engram::v1::SPEED_ORIGIN_OTHER_MODEL);
    out.set_speed_job(JobName(record.id));
  }
  return absl::OkStatus();
}

absl::Status JobEstimator::AddTime(const PlannedJob& job, const WorkEstimate& work, JobEstimate& out) const {
  SpeedRange range;
  ENGRAM_RETURN_IF_ERROR(AddMeasuredSpeed(job, range, out));
  const bool on_cpu = devices_ == std::vector<std::string>(devices_.size(), "cpu");
  if (out.speed_job().empty() && on_cpu && work.products_per_token > 0) {
    ENGRAM_ASSIGN_OR_RETURN(const double speed, ProductSpeed(work.bf16));
    out.set_tokens_per_second(speed / work.products_per_token);
    out.set_speed_origin(engram::v1::SPEED_ORIGIN_MATRIX_PRODUCTS);
  }
  if (out.tokens_per_second() <= 0) return absl::OkStatus();
  const auto tokens = static_cast<double>(out.total_tokens());
  out.set_seconds(tokens / out.tokens_per_second());
  // What else the machine does, and texts of other lengths, move a job's speed by this factor; another model's, of which
  // only the number of weights is taken into account, by more. Of the matrix products alone no upper bound follows.
  constexpr double kSameModel = 1.5, kOtherModel = 3;
  switch (out.speed_origin()) {
    case engram::v1::SPEED_ORIGIN_SAME_MODEL:
    case engram::v1::SPEED_ORIGIN_OTHER_MODEL: {
      const double factor = out.speed_origin() == engram::v1::SPEED_ORIGIN_SAME_MODEL ? kSameModel : kOtherModel;
      out.set_seconds_low(tokens / range.highest / factor);
      out.set_seconds_high(tokens / range.lowest * factor);
      break;
    }
    default:
      out.set_seconds_low(out.seconds());
  }
  return absl::OkStatus();
}

void JobEstimator::AddDisk(JobEstimate& out) const {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(context_.paths.data_dir, error);
  if (error) return;
  out.set_free_disk_bytes(static_cast<int64_t>(space.available));
  if (out.disk_bytes() > out.free_disk_bytes()) {
    out.add_warnings(absl::StrCat("DISK_LOW: the job needs about ", out.disk_bytes() >> 20, " MiB of disk and ",
                                  out.free_disk_bytes() >> 20, " MiB are free; delete versions that nobody needs"));
  }
}

absl::StatusOr<JobEstimate> JobEstimator::Estimate(const PlannedJob& job) const {
  const JobKind* const kind = FindJobKind(job.spec.work_case());
  if (kind == nullptr) return absl::InternalError("no kind of job has this work");
  ENGRAM_ASSIGN_OR_RETURN(const WorkEstimate work, kind->Estimate(context_, job));
  JobEstimate out = work.counts;
  ENGRAM_RETURN_IF_ERROR(AddTime(job, work, out));
  AddDisk(out);
  return out;
}

}  // namespace engram::server
