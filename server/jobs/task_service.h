#pragma once

#include "engram/v1/task.grpc.pb.h"
#include "server/admin/metrics.h"
#include "server/jobs/estimator.h"
#include "server/jobs/job_manager.h"
#include "server/jobs/task_planner.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

class TaskService final : public engram::v1::TaskService::CallbackService {
 public:
  TaskService(const TaskPlanner& planner, const JobEstimator& estimator, JobManager& jobs, WorkPool& pool,
              Metrics& metrics)
      : planner_(planner), estimator_(estimator), jobs_(jobs), pool_(pool), metrics_(metrics) {}

  grpc::ServerUnaryReactor* StartTask(grpc::CallbackServerContext* context, const engram::v1::StartTaskRequest* request,
                                      engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* ConsolidateTask(grpc::CallbackServerContext* context,
                                            const engram::v1::ConsolidateTaskRequest* request,
                                            engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* EvaluateTask(grpc::CallbackServerContext* context,
                                         const engram::v1::EvaluateTaskRequest* request,
                                         engram::v1::Job* response) override;

 private:
  template <typename Request>
  grpc::ServerUnaryReactor* Handle(grpc::CallbackServerContext* context, const char* method, const Request* request,
                                   engram::v1::Job* response);

  const TaskPlanner& planner_;
  const JobEstimator& estimator_;
  JobManager& jobs_;
  WorkPool& pool_;
  Metrics& metrics_;
};

}  // namespace engram::server
