#include "server/jobs/task_service.h"

#include "server/jobs/describe_strategies.h"
#include "server/jobs/queue_job.h"
#include "server/rpc/unary.h"

namespace engram::server {

template <typename Request>
grpc::ServerUnaryReactor* TaskService::Handle(grpc::CallbackServerContext* context, const char* method,
                                              const Request* request, engram::v1::Job* response) {
  if (request->validate_only()) {
    // Reads and tokenizes texts of the data set.
    return Answer(
        environment_, context, response, method,
        [this, request, response] { return ValidateJob(planning_, estimator_, *request, response); },
        WorkPool::Length::kLong);
  }
  return Change(environment_, context, *request, response, method,
                [this, method, request, response] { return QueueJob(planning_, jobs_, method, *request, response); });
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

grpc::ServerUnaryReactor* TaskService::CrossValidateTask(grpc::CallbackServerContext* context,
                                                         const engram::v1::CrossValidateTaskRequest* request,
                                                         engram::v1::Job* response) {
  return Handle(context, "CrossValidateTask", request, response);
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
