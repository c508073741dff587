#pragma once

// engram.v1.TaskService: requests for work become jobs. Each call is planned by the kind of job that takes its
// request (job_kind.h: names resolved, options checked, defaults filled in) and queued (JobManager), or with
// validate_only planned and estimated (JobEstimator) and nothing else. Two calls with one request id make one job;
// ALREADY_EXISTS (REQUEST_ID_REUSED) if they differ.
// Thread-safe; what it is given outlives it.

#include "engram/v1/task.grpc.pb.h"
#include "server/jobs/estimator.h"
#include "server/jobs/job_kind.h"
#include "server/jobs/job_manager.h"
#include "server/rpc/call.h"

namespace engram::server {

class TaskService final : public engram::v1::TaskService::CallbackService {
 public:
  using Api = engram::v1::TaskService;

  TaskService(const PlanContext& planning, const JobEstimator& estimator, JobManager& jobs,
              const CallEnvironment& environment)
      : planning_(planning), estimator_(estimator), jobs_(jobs), environment_(environment) {}

  grpc::ServerUnaryReactor* StartTask(grpc::CallbackServerContext* context, const engram::v1::StartTaskRequest* request,
                                      engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* ConsolidateTask(grpc::CallbackServerContext* context,
                                            const engram::v1::ConsolidateTaskRequest* request,
                                            engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* EvaluateTask(grpc::CallbackServerContext* context,
                                         const engram::v1::EvaluateTaskRequest* request,
                                         engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* CrossValidateTask(grpc::CallbackServerContext* context,
                                              const engram::v1::CrossValidateTaskRequest* request,
                                              engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* ListStrategies(grpc::CallbackServerContext* context,
                                           const engram::v1::ListStrategiesRequest* request,
                                           engram::v1::ListStrategiesResponse* response) override;

 private:
  template <typename Request>
  grpc::ServerUnaryReactor* Handle(grpc::CallbackServerContext* context, const char* method, const Request* request,
                                   engram::v1::Job* response);

  const PlanContext& planning_;
  const JobEstimator& estimator_;
  JobManager& jobs_;
  const CallEnvironment environment_;
};

}  // namespace engram::server
