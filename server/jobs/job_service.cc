#include "server/jobs/job_service.h"

#include "server/jobs/job_view.h"
#include "server/rpc/names.h"
#include "server/rpc/page.h"
#include "server/rpc/stream.h"
#include "server/rpc/unary.h"

namespace engram::server {
namespace {

using engram::v1::Job;

// One watcher's stream. What the client has not taken yet is replaced by what is newer.
class WatchStream final : public StreamCall<Job> {
 public:
  WatchStream(const CallEnvironment& environment, const grpc::CallbackServerContext& context, JobManager& jobs,
              std::string name)
      : StreamCall(environment, context, "WatchJob", /*latest_only=*/true), jobs_(jobs), name_(std::move(name)) {}

 private:
  void Open() override ABSL_LOCKS_EXCLUDED(watching_mutex_) {
    if (const absl::Status watching = Watch(); !watching.ok()) Close(watching);
  }
  absl::Status Watch() ABSL_LOCKS_EXCLUDED(watching_mutex_) {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", name_));
    const auto watcher = [weak = weak_from_this()](const absl::StatusOr<Job>& job) {
      const auto stream = weak.lock();
      if (stream == nullptr) return;
      if (job.ok()) stream->Push(*job);
      if (!job.ok() || job->state() >= engram::v1::JOB_STATE_SUCCEEDED) stream->Close(job.status());
    };
    ENGRAM_ASSIGN_OR_RETURN(const int64_t subscription, jobs_.Watch(id, watcher));
    absl::MutexLock lock(&watching_mutex_);
    if (gone_) {
      jobs_.Unwatch(subscription);
    } else {
      subscription_ = subscription;
    }
    return absl::OkStatus();
  }
  void OnGone() override ABSL_LOCKS_EXCLUDED(watching_mutex_) {
    absl::MutexLock lock(&watching_mutex_);
    gone_ = true;
    if (subscription_) jobs_.Unwatch(*subscription_);
  }

  JobManager& jobs_;
  const std::string name_;
  absl::Mutex watching_mutex_;
  std::optional<int64_t> subscription_ ABSL_GUARDED_BY(watching_mutex_);
  bool gone_ ABSL_GUARDED_BY(watching_mutex_) = false;  // the client may leave before Open has its turn
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
  if (request.state() != engram::v1::JOB_STATE_UNSPECIFIED) state = StoredState(request.state());
  ENGRAM_ASSIGN_OR_RETURN(std::vector<Job> page, jobs.List(before, size + 1, model, state));
  const auto describe = [](const Job& job, Job& out) {
    out = job;
    return absl::OkStatus();
  };
  ENGRAM_ASSIGN_OR_RETURN(const size_t count, FillPage(page, size, describe, *response.mutable_jobs()));
  if (count < page.size()) response.set_next_page_token(page[count - 1].name());
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* JobService::GetJob(grpc::CallbackServerContext* context,
                                             const engram::v1::GetJobRequest* request, Job* response) {
  return Answer(environment_, context, response, "GetJob", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", request->name()));
    return Reply(jobs_.Get(id), response);
  });
}

grpc::ServerUnaryReactor* JobService::ListJobs(grpc::CallbackServerContext* context,
                                               const engram::v1::ListJobsRequest* request,
                                               engram::v1::ListJobsResponse* response) {
  return Answer(environment_, context, response, "ListJobs",
                [this, request, response] { return ListPage(jobs_, *request, *response); });
}

grpc::ServerWriteReactor<Job>* JobService::WatchJob(grpc::CallbackServerContext* context,
                                                    const engram::v1::WatchJobRequest* request) {
  return StartStream<WatchStream>(environment_, *context, jobs_, request->name());
}

grpc::ServerUnaryReactor* JobService::CancelJob(grpc::CallbackServerContext* context,
                                                const engram::v1::CancelJobRequest* request, Job* response) {
  return Change(environment_, context, *request, response, "CancelJob", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", request->name()));
    return Reply(jobs_.Cancel(id), response);
  });
}

grpc::ServerUnaryReactor* JobService::PauseJob(grpc::CallbackServerContext* context,
                                               const engram::v1::PauseJobRequest* request, Job* response) {
  return Change(environment_, context, *request, response, "PauseJob", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", request->name()));
    return Reply(jobs_.Pause(id), response);
  });
}

grpc::ServerUnaryReactor* JobService::ResumeJob(grpc::CallbackServerContext* context,
                                                const engram::v1::ResumeJobRequest* request, Job* response) {
  return Change(environment_, context, *request, response, "ResumeJob", [this, request, response]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseJobName("name", request->name()));
    return Reply(jobs_.Resume(id), response);
  });
}

}  // namespace engram::server
