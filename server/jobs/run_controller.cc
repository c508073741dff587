#include "server/jobs/run_controller.h"

#include "core/base/files.h"
#include "server/jobs/job_kind.h"
#include "server/rpc/api_error.h"
#include "server/rpc/names.h"

namespace engram::server {

using engram::worker::v1::RunOutcome;
using engram::worker::v1::RunSpec;

absl::Status RunController::Prepare(const jobs::JobRecord& job, const std::vector<std::string>& devices) const {
  RunSpec spec;
  const JobKind* const kind = spec.ParseFromString(job.specification) ? FindJobKind(spec.work_case()) : nullptr;
  if (kind == nullptr) return absl::DataLossError("the job's specification is damaged, or a newer server's");
  if (spec.base_version() > 0) spec.set_base_directory(paths_.version(spec.model(), spec.base_version()));
  kind->FillPaths(paths_, spec);
  spec.set_job(JobName(job.id));
  spec.set_version(job.version);
  spec.set_device(devices.front());
  spec.set_threads(threads_);
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.run(job.id)));
  return WriteFileAtomic(paths_.run(job.id) + "/spec.binpb", spec.SerializeAsString());
}

jobs::RunCallbacks RunController::Callbacks(const std::string& job) {
  return {[this, job](const std::string& message) {
            engram::worker::v1::RunEvent event;
            if (!event.ParseFromString(message)) return;
            if (event.has_checkpoint_step()) listener_.on_checkpoint(job);
            if (event.has_lack()) listener_.on_lack(job, FromError(event.lack()));
            if (event.has_progress()) listener_.on_progress(job, std::move(*event.mutable_progress()));
          },
          [this, job](jobs::RunExit exit) { listener_.on_exit(job, exit); }};
}

absl::Status RunController::Start(const std::string& job, const std::vector<std::string>& devices) {
  jobs::RunRequest request{job, paths_.run(job), {devices.front(), static_cast<int64_t>(devices.size()), 0}};
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<jobs::RunHandle> handle, launcher_.Launch(request, Callbacks(job)));
  Keep(job, std::move(handle));
  return absl::OkStatus();
}

absl::Status RunController::Attach(const std::string& job) {
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<jobs::RunHandle> handle, launcher_.Attach(job, Callbacks(job)));
  Keep(job, std::move(handle));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> RunController::DevicesOf(const std::string& job) const {
  ENGRAM_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(paths_.run(job) + "/spec.binpb"));
  RunSpec spec;
  if (!spec.ParseFromString(bytes)) return absl::DataLossError("the run's specification is damaged");
  return std::vector<std::string>{spec.device()};
}

void RunController::Keep(const std::string& job, std::unique_ptr<jobs::RunHandle> handle) {
  absl::MutexLock lock(&mutex_);
  handles_[job] = std::move(handle);
}

void RunController::Stop(const std::string& job) {
  absl::MutexLock lock(&mutex_);
  const auto found = handles_.find(job);
  if (found != handles_.end()) found->second->Stop();
}

void RunController::Kill(const std::string& job) {
  absl::MutexLock lock(&mutex_);
  const auto found = handles_.find(job);
  if (found != handles_.end()) found->second->Kill();
}

void RunController::Release(const std::string& job) {
  std::unique_ptr<jobs::RunHandle> handle;
  absl::MutexLock lock(&mutex_);
  auto found = handles_.extract(job);
  if (!found.empty()) handle = std::move(found.mapped());
}

void RunController::DetachAll() {
  std::map<std::string, std::unique_ptr<jobs::RunHandle>> handles;
  {
    absl::MutexLock lock(&mutex_);
    handles.swap(handles_);
  }
  for (const auto& [job, handle] : handles) handle->Detach();
}

absl::StatusOr<std::optional<RunOutcome>> RunController::ReadOutcome(const std::string& job) const {
  const std::string path = paths_.run(job) + "/result.binpb";
  if (!PathExists(path)) return std::nullopt;
  ENGRAM_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  RunOutcome outcome;
  if (!outcome.ParseFromString(bytes)) return absl::DataLossError("the run's result is damaged");
  return outcome;
}

}  // namespace engram::server
