#pragma once

#include "engram/v1/task.grpc.pb.h"
#include "server/job_manager.h"
#include "server/metrics.h"
#include "server/task_planner.h"

namespace engram::server {

class TaskService final : public engram::v1::TaskService::CallbackService {
 public:
  TaskService(const TaskPlanner& planner, JobManager& jobs, Metrics& metrics)
      : planner_(planner), jobs_(jobs), metrics_(metrics) {}

  grpc::ServerUnaryReactor* StartTask(grpc::CallbackServerContext* context, const engram::v1::StartTaskRequest* request,
                                      engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* ConsolidateTask(grpc::CallbackServerContext* context,
                                            const engram::v1::ConsolidateTaskRequest* request,
                                            engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* EvaluateTask(grpc::CallbackServerContext* context,
                                         const engram::v1::EvaluateTaskRequest* request,
                                         engram::v1::Job* response) override;

 private:
  const TaskPlanner& planner_;
  JobManager& jobs_;
  Metrics& metrics_;
};

}  // namespace engram::server
