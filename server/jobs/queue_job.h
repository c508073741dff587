#pragma once

// What every call does that asks for a job: the request is planned by the kind that takes it (job_kind.h) and queued, or
// with validate_only planned and estimated and nothing else. Two calls with one request id make one job; ALREADY_EXISTS
// (REQUEST_ID_REUSED) if they differ. `Request` has request_id and validate_only. Thread-safe.

#include <optional>
#include <string>
#include <utility>

#include "core/base/files.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/jobs/estimator.h"
#include "server/jobs/job_kind.h"
#include "server/jobs/job_manager.h"
#include "server/rpc/names.h"
#include "server/rpc/unary.h"

namespace engram::server {

// Digest of a request without its id, the same for equal requests: maps are written in the order of their keys.
template <typename Request>
std::string RequestDigest(Request request) {
  request.clear_request_id();
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    request.SerializeToCodedStream(&coded);
  }
  return Sha256Hex(bytes);
}

// `method`: the name of the call.
template <typename Request>
absl::Status QueueJob(const PlanContext& planning, JobManager& jobs, const char* method, const Request& request,
                      engram::v1::Job* response) {
  ENGRAM_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  jobs::RequestKey key;
  if (!request.request_id().empty()) key = {request.request_id(), method, RequestDigest(request)};
  // Before any check: what was valid when the job was accepted need not be so any more.
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<engram::v1::Job> earlier, jobs.FindEarlier(key));
  if (earlier) {
    *response = *earlier;
    return absl::OkStatus();
  }
  ENGRAM_ASSIGN_OR_RETURN(PlannedJob job, PlanJob(planning, request));
  return Reply(jobs.Submit(std::move(job.record), job.description, job.spec, key), response);
}

template <typename Request>
absl::Status ValidateJob(const PlanContext& planning, const JobEstimator& estimator, const Request& request,
                         engram::v1::Job* response) {
  ENGRAM_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  ENGRAM_ASSIGN_OR_RETURN(const PlannedJob job, PlanJob(planning, request));
  *response = job.description;
  return Reply(estimator.Estimate(job), response->mutable_estimate());
}

}  // namespace engram::server
