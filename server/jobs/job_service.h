#pragma once

// engram.v1.JobService: jobs as they are, as they change, and what people want of them. Every call is one call of the
// JobManager, made in the pool, because the manager reads the database and locks. Thread-safe; the JobManager and what
// the environment holds outlive it. Errors: INVALID_ARGUMENT for a name that is no job's, a page or a state that is
// none, NOT_FOUND (JOB_NOT_FOUND), and FAILED_PRECONDITION for what the job's state does not allow.

#include "engram/v1/job.grpc.pb.h"
#include "server/jobs/job_manager.h"
#include "server/rpc/call.h"

namespace engram::server {

class JobService final : public engram::v1::JobService::CallbackService {
 public:
  using Api = engram::v1::JobService;

  JobService(JobManager& jobs, const CallEnvironment& environment) : jobs_(jobs), environment_(environment) {}

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
  const CallEnvironment environment_;
};

}  // namespace engram::server
