#include "server/jobs/job_service.h"

#include "server/rpc/calls.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::Job;

// One watcher's stream. What the client has not taken yet is replaced by what is newer.
class WatchStream final : public StreamWriter<Job> {
 public:
  WatchStream(JobManager& jobs, Metrics& metrics, const absl::StatusOr<std::string>& id)
      : StreamWriter(metrics, "WatchJob", /*latest_only=*/true), jobs_(jobs) {
    if (!id.ok()) {
      Close(id.status());
      return;
    }
    const absl::StatusOr<int64_t> watching = jobs_.Watch(*id, [this](const absl::StatusOr<Job>& job) {
      if (job.ok()) Push(*job);
      if (!job.ok() || job->state() >= engram::v1::JOB_STATE_SUCCEEDED) Close(job.status());
    });
    if (watching.ok()) {
      subscription_ = *watching;
    } else {
      Close(watching.status());
    }
  }

 private:
  void OnGone() override { jobs_.Unwatch(subscription_); }

  JobManager& jobs_;
  int64_t subscription_ = 0;  // written before gRPC can call OnDone: the reactor is returned after the constructor
};

absl::Status ListPage(JobManager& jobs, const engram::v1::ListJobsRequest& request,
                      engram::v1::ListJobsResponse& response) {
  ENGRAM_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size()));
  std::string before, model;
  if (!request.page_token().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(before, ParseJobName("page_token", request.page_token()));
  }
  if (!request.model().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(model, ParseName("model", "models", request.model()));
  }
  if (!engram::v1::JobState_IsValid(request.state()))
    return InvalidField("state", "is no state of a job; leave it out for jobs of all states");
  std::optional<jobs::JobState> state;
  if (request.state() != engram::v1::JOB_STATE_UNSPECIFIED) state = static_cast<jobs::JobState>(request.state());
  ENGRAM_ASSIGN_OR_RETURN(std::vector<Job> page, jobs.List(before, size + 1, model, state));
  if (static_cast<int64_t>(page.size()) > size) {
    page.pop_back();
    response.set_next_page_token(page.back().name());
  }
  for (Job& job : page) *response.add_jobs() = std::move(job);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* JobService::GetJob(grpc::CallbackServerContext* context,
                                             const engram::v1::GetJobRequest* request, Job* response) {
  return Answer(context, metrics_, "GetJob", [&]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", request->name()));
    return Reply(jobs_.Get(id), response);
  });
}

grpc::ServerUnaryReactor* JobService::ListJobs(grpc::CallbackServerContext* context,
                                               const engram::v1::ListJobsRequest* request,
                                               engram::v1::ListJobsResponse* response) {
  return Answer(context, metrics_, "ListJobs", [&] { return ListPage(jobs_, *request, *response); });
}

grpc::ServerWriteReactor<Job>* JobService::WatchJob(grpc::CallbackServerContext* /*context*/,
                                                    const engram::v1::WatchJobRequest* request) {
  return new WatchStream(jobs_, metrics_, ParseJobName("name", request->name()));
}

grpc::ServerUnaryReactor* JobService::CancelJob(grpc::CallbackServerContext* context,
                                                const engram::v1::CancelJobRequest* request, Job* response) {
  return Answer(context, metrics_, "CancelJob", [&]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", request->name()));
    return Reply(jobs_.Cancel(id), response);
  });
}

grpc::ServerUnaryReactor* JobService::PauseJob(grpc::CallbackServerContext* context,
                                               const engram::v1::PauseJobRequest* request, Job* response) {
  return Answer(context, metrics_, "PauseJob", [&]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", request->name()));
    return Reply(jobs_.Pause(id), response);
  });
}

grpc::ServerUnaryReactor* JobService::ResumeJob(grpc::CallbackServerContext* context,
                                                const engram::v1::ResumeJobRequest* request, Job* response) {
  return Answer(context, metrics_, "ResumeJob", [&]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", request->name()));
    return Reply(jobs_.Resume(id), response);
  });
}

}  // namespace engram::server
