#include "server/jobs/task_service.h"

#include "core/base/files.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/jobs/describe_strategies.h"
#include "server/rpc/names.h"
#include "server/rpc/unary.h"

namespace engram::server {
namespace {

// Bytes of a request without its id, the same for equal requests: maps are written in the order of their keys.
template <typename Request>
std::string Digest(Request request) {
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

template <typename Request>
absl::Status Queue(const PlanContext& planning, JobManager& jobs, const char* method, const Request& request,
                   engram::v1::Job* response) {
  ENGRAM_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  jobs::RequestKey key;
  if (!request.request_id().empty()) key = {request.request_id(), method, Digest(request)};
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
absl::Status Validate(const PlanContext& planning, const JobEstimator& estimator, const Request& request,
                      engram::v1::Job* response) {
  ENGRAM_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  ENGRAM_ASSIGN_OR_RETURN(const PlannedJob job, PlanJob(planning, request));
  *response = job.description;
  return Reply(estimator.Estimate(job), response->mutable_estimate());
}

}  // namespace

template <typename Request>
grpc::ServerUnaryReactor* TaskService::Handle(grpc::CallbackServerContext* context, const char* method,
                                              const Request* request, engram::v1::Job* response) {
  return Answer(environment_, context, response, method, [this, method, request, response] {
    return request->validate_only() ? Validate(planning_, estimator_, *request, response)
                                    : Queue(planning_, jobs_, method, *request, response);
  });
}

grpc::ServerUnaryReactor* TaskService::StartTask(grpc::CallbackServerContext* context,
                                                 const engram::v1::StartTaskRequest* request,
                                                 engram::v1::Job* response) {
  return Handle(context, "StartTask", request, response);
}

grpc::ServerUnaryReactor* TaskService::ConsolidateTask(grpc::CallbackServerContext* context,
                                                       const engram::v1::ConsolidateTaskRequest* request,
                                                       engram::v1::Job* response) {
  return Handle(context, "ConsolidateTask", request, response);
}

grpc::ServerUnaryReactor* TaskService::EvaluateTask(grpc::CallbackServerContext* context,
                                                    const engram::v1::EvaluateTaskRequest* request,
                                                    engram::v1::Job* response) {
  return Handle(context, "EvaluateTask", request, response);
}

grpc::ServerUnaryReactor* TaskService::ListStrategies(grpc::CallbackServerContext* context,
                                                      const engram::v1::ListStrategiesRequest*,
                                                      engram::v1::ListStrategiesResponse* response) {
  return Answer(environment_, context, response, "ListStrategies", [response] {
    *response = DescribeStrategies();
    return absl::OkStatus();
  });
}

}  // namespace engram::server
