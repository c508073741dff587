#pragma once

#include "engram/v1/job.grpc.pb.h"
#include "server/admin/metrics.h"
#include "server/jobs/job_manager.h"

namespace engram::server {

class JobService final : public engram::v1::JobService::CallbackService {
 public:
  JobService(JobManager& jobs, Metrics& metrics) : jobs_(jobs), metrics_(metrics) {}

  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const engram::v1::GetJobRequest* request,
                                   engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context, const engram::v1::ListJobsRequest* request,
                                     engram::v1::ListJobsResponse* response) override;
  grpc::ServerWriteReactor<engram::v1::Job>* WatchJob(grpc::CallbackServerContext* context,
                                                      const engram::v1::WatchJobRequest* request) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context, const engram::v1::CancelJobRequest* request,
                                      engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* PauseJob(grpc::CallbackServerContext* context, const engram::v1::PauseJobRequest* request,
                                     engram::v1::Job* response) override;
  grpc::ServerUnaryReactor* ResumeJob(grpc::CallbackServerContext* context, const engram::v1::ResumeJobRequest* request,
                                      engram::v1::Job* response) override;

 private:
  JobManager& jobs_;
  Metrics& metrics_;
};

}  // namespace engram::server
