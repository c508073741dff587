#include "server/jobs/job_manager.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/checkpoint/version_directory.h"
#include "server/jobs/job_kind.h"
#include "server/library/catalog.h"
#include "server/rpc/api_error.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::Job;
using engram::worker::v1::RunOutcome;
using engram::worker::v1::RunSpec;
using jobs::JobRequest;
using jobs::JobState;

// What a version takes on disk.
int64_t TotalBytes(const std::map<std::string, std::string>& files, const std::string& directory) {
  int64_t bytes = 0;
  for (const auto& [name, digest] : files) bytes += FileBytes(absl::StrCat(directory, "/", name)).value_or(0);
  return bytes;
}

// For metrics and the log.
std::string KindName(const std::string& specification) {
  RunSpec spec;
  const JobKind* const kind = spec.ParseFromString(specification) ? FindJobKind(spec.work_case()) : nullptr;
  return kind == nullptr ? "unknown" : kind->facts().name;
}

std::string StateName(JobState state) {
  constexpr const char* kNames[] = {"", "queued", "running", "paused", "succeeded", "failed", "cancelled"};
  return kNames[static_cast<int>(state)];
}

absl::Status Draining() {
  return StatusWithReason(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down; try again soon");
}

absl::Status AlreadyEnded(const jobs::JobRecord& record) {
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, "JOB_ENDED",
                          absl::StrCat("the job has ended (", StateName(record.state), ")"));
}

}  // namespace

JobManager::JobManager(jobs::Store& store, const DataPaths& paths, jobs::Launcher& launcher, Metrics& metrics,
                       const Clock& clock, JobManagerOptions options)
    : store_(store),
      paths_(paths),
      launcher_(launcher),
      metrics_(metrics),
      clock_(clock),
      options_(std::move(options)),
      scheduler_(options_.devices) {}

JobManager::~JobManager() { ShutDown(absl::ZeroDuration()); }

// ---------------------------------------------------------------- start and end

absl::Status JobManager::Start() {
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.runs()));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> unfinished, store_.UnfinishedJobs());
  std::set<std::string> alive;
  {
    absl::MutexLock lock(&mutex_);
    for (const jobs::JobRecord& record : unfinished) {
      if (record.state == JobState::kPaused) continue;
      if (record.request == JobRequest::kCancel) {
        Conclude(record, JobState::kCancelled, {});
        continue;
      }
      const absl::StatusOr<std::optional<RunOutcome>> outcome = ReadOutcome(record.id);
      if (!outcome.ok()) {
        Fail(record, outcome.status());
      } else if (*outcome) {
        // Its worker had finished when the server ended.
        Conclude(record, (*outcome)->has_result() ? JobState::kSucceeded : JobState::kFailed, **outcome);
      } else {
        Requeue(record, record.request == JobRequest::kPause ? JobState::kPaused : JobState::kQueued);
      }
    }
    for (const jobs::JobRecord& record : unfinished) {
      const absl::StatusOr<jobs::JobRecord> now = store_.GetJob(record.id);
      if (!now.ok() || !jobs::HasEnded(now->state)) alive.insert(record.id);
    }
  }
  // Directories of jobs that ended just before the server did.
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> runs, ListDirectory(paths_.runs()));
  for (const std::string& run : runs) {
    if (!alive.contains(run)) ENGRAM_RETURN_IF_ERROR(RemoveTree(paths_.run(run)));
  }
  if (!unfinished.empty()) LogInfo("jobs taken up", {{"jobs", absl::StrCat(unfinished.size())}});
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void JobManager::ShutDown(absl::Duration patience) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    draining_ = true;
    for (auto& [id, run] : running_) {
      if (run.handle) run.handle->Stop();
    }
    mutex_.AwaitWithTimeout(absl::Condition(this, &JobManager::AllEnded), patience);
    killing_ = true;
    for (auto& [id, run] : running_) {
      LogWarning("a run is killed: it wrote no checkpoint in time", {{"job", id}});
      if (run.handle) run.handle->Kill();
    }
    if (thread_.joinable()) mutex_.Await(absl::Condition(this, &JobManager::AllEnded));
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
  // Only now: the thread may still have had a run's end to tell.
  absl::MutexLock lock(&mutex_);
  for (const auto& [number, subscription] : subscriptions_) subscription.watcher(Draining());
}

bool JobManager::SomethingToDo() const {
  if (stopped_) return true;
  for (const auto& [id, run] : running_) {
    if (run.exit && run.handle) return true;
  }
  return !draining_ && scheduler_.queued() > 0 && scheduler_.free_devices() > 0;
}

void JobManager::Run() {
  while (true) {
    std::optional<jobs::Assignment> next;
    std::optional<std::pair<std::string, std::unique_ptr<jobs::RunHandle>>> ended;
    {
      absl::MutexLock lock(&mutex_);
      const bool waits = !unrecorded_.empty() || !postponed_.empty();
      const absl::Duration patience = waits ? options_.try_again : absl::InfiniteDuration();
      mutex_.AwaitWithTimeout(absl::Condition(this, &JobManager::SomethingToDo), patience);
      if (stopped_) return;
      for (auto& [id, run] : running_) {
        if (!run.exit || !run.handle) continue;
        ended.emplace(id, std::move(run.handle));
        break;
      }
      if (!ended && !draining_) next = scheduler_.Next();
      if (next) running_[next->job].device = next->device;
    }
    if (ended) EndRun(ended->first, std::move(ended->second));
    if (next) StartRun(*next);
    if (!ended && !next) TryAgain();
  }
}

// ---------------------------------------------------------------- one run

namespace {
// A full disk, a busy database, too many processes: the same may succeed later.
bool Passes(const absl::Status& status) { return absl::IsResourceExhausted(status) || absl::IsUnavailable(status); }
}  // namespace

absl::Status JobManager::PrepareRun(const jobs::Assignment& assignment, const jobs::JobRecord& record) {
  RunSpec spec;
  if (!spec.ParseFromString(record.specification)) return absl::InternalError("the job's specification is damaged");
  const std::string stored = record.specification;
  const JobKind* const kind = FindJobKind(spec.work_case());
  if (kind == nullptr) return absl::InternalError("the job's specification is damaged, or a newer server's");
  if (spec.base_version() > 0) spec.set_base_directory(paths_.version(spec.model(), spec.base_version()));
  kind->FillPaths(paths_, spec);
  spec.set_job(JobName(record.id));
  spec.set_version(record.version);
  spec.set_device(assignment.device);
  spec.set_threads(options_.worker_threads);
  const std::string directory = paths_.run(record.id);
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(directory));
  ENGRAM_RETURN_IF_ERROR(WriteFileAtomic(directory + "/spec.binpb", spec.SerializeAsString()));
  return store_.BeginRun(record.id, stored);
}

absl::StatusOr<std::unique_ptr<jobs::RunHandle>> JobManager::Launch(const jobs::Assignment& assignment) {
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(assignment.job));
  ENGRAM_RETURN_IF_ERROR(PrepareRun(assignment, record));
  const std::string id = assignment.job;
  return launcher_.Launch(paths_.run(id), {[this, id](const std::string& message) { OnMessage(id, message); },
                                           [this, id](jobs::RunExit exit) { OnExit(id, exit); }});
}

void JobManager::StartRun(const jobs::Assignment& assignment) {
  absl::StatusOr<std::unique_ptr<jobs::RunHandle>> handle = Launch(assignment);
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<jobs::JobRecord> record = store_.GetJob(assignment.job);
  if (!handle.ok()) {
    running_.erase(assignment.job);
    scheduler_.Release(assignment.device);
    NotStarted(assignment.job, record, handle.status());
    return;
  }
  LogInfo("run started", {{"job", assignment.job}, {"device", assignment.device}});
  Running& run = running_[assignment.job];
  run.handle = *std::move(handle);
  // What was asked for while the process was being started.
  const JobRequest request = record.ok() ? record->request : JobRequest::kNone;
  if (request == JobRequest::kCancel || killing_) run.handle->Kill();
  if (request == JobRequest::kPause || draining_) run.handle->Stop();
  Notify(assignment.job);
}

void JobManager::NotStarted(const std::string& id, const absl::StatusOr<jobs::JobRecord>& record,
                            const absl::Status& why) {
  if (record.ok() && record->request == JobRequest::kCancel) {
    Conclude(*record, JobState::kCancelled, {});
  } else if (record.ok() && record->request == JobRequest::kPause) {
    Requeue(*record, JobState::kPaused);
  } else if (Passes(why)) {
    LogWarning("a run could not be started; it will be tried again",
               {{"job", id}, {"message", std::string(why.message())}});
    // Until then it is queued for everybody who asks. Where the database is what fails, TryAgain finds it as it was.
    if (!store_.SetJobState(id, JobState::kQueued).ok()) LogWarning("a job's state could not be stored", {{"job", id}});
    postponed_.insert(id);
    Notify(id);
  } else if (record.ok()) {
    Fail(*record, why);
  }
}

void JobManager::OnMessage(const std::string& id, const std::string& message) {
  engram::worker::v1::RunEvent event;
  if (!event.ParseFromString(message)) return;
  absl::MutexLock lock(&mutex_);
  if (event.has_checkpoint_step()) crashes_.erase(id);
  const auto run = running_.find(id);
  if (run == running_.end() || !event.has_progress()) return;
  run->second.progress = event.progress();
  if (event.progress().phase() == "training") {
    metrics_.SetTraining(id, event.progress().loss(), event.progress().penalty(), event.progress().tokens_per_second(),
                         static_cast<double>(event.progress().step()));
  }
  Notify(id);
}

void JobManager::OnExit(const std::string& id, jobs::RunExit exit) {
  absl::MutexLock lock(&mutex_);
  const auto run = running_.find(id);
  if (run != running_.end()) run->second.exit = exit;
}

absl::StatusOr<std::optional<RunOutcome>> JobManager::ReadOutcome(const std::string& id) const {
  const std::string path = paths_.run(id) + "/result.binpb";
  if (!PathExists(path)) return std::nullopt;
  ENGRAM_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  RunOutcome outcome;
  if (!outcome.ParseFromString(bytes)) return absl::InternalError("the run's result is damaged");
  return outcome;
}

void JobManager::EndRun(const std::string& id, std::unique_ptr<jobs::RunHandle> handle) {
  handle.reset();
  absl::MutexLock lock(&mutex_);
  // Until here it counted as running, so that what is asked of the job meanwhile is heeded below.
  const Running run = std::move(running_.extract(id).mapped());
  scheduler_.Release(run.device);
  metrics_.RemoveTraining(id);
  const absl::StatusOr<jobs::JobRecord> record = store_.GetJob(id);
  if (!record.ok()) {
    LogError("a job's end could not be recorded", {{"job", id}, {"message", std::string(record.status().message())}});
    return;
  }
  const absl::StatusOr<std::optional<RunOutcome>> outcome = ReadOutcome(id);
  if (record->request == JobRequest::kCancel) {
    Conclude(*record, JobState::kCancelled, {});
  } else if (outcome.ok() && *outcome) {
    Conclude(*record, (*outcome)->has_result() ? JobState::kSucceeded : JobState::kFailed, **outcome);
  } else if (!outcome.ok()) {
    Fail(*record, outcome.status());
  } else if (draining_ || record->request == JobRequest::kPause || run.exit->code == jobs::kExitResumable) {
    Requeue(*record, record->request == JobRequest::kPause ? JobState::kPaused : JobState::kQueued);
  } else {
    HandleCrash(*record, *run.exit);
  }
}

void JobManager::HandleCrash(const jobs::JobRecord& record, jobs::RunExit exit) {
  metrics_.CountWorkerCrash();
  const int64_t crashes = ++crashes_[record.id];
  LogError("a worker crashed",
           {{"job", record.id}, {"exit", absl::StrCat(exit.code)}, {"signal", absl::StrCat(exit.signal)}});
  if (crashes < options_.max_crashes) {
    Requeue(record, JobState::kQueued);
    return;
  }
  const char* likely =
      exit.signal == 9 ? "; the system may have run out of memory: try a smaller batch_size or max_length" : "";
  Fail(record, StatusWithReason(
                   absl::StatusCode::kInternal, "WORKER_CRASHED",
                   absl::StrCat("the training process crashed ", crashes, " times without getting further", likely)));
}

void JobManager::Requeue(const jobs::JobRecord& record, JobState state) {
  const absl::Status stored = store_.SetJobState(record.id, state);
  if (!stored.ok()) LogError("a job's state could not be stored", {{"job", record.id}});
  if (state == JobState::kQueued && !draining_) scheduler_.Add(record.id, record.priority);
  Notify(record.id);
}

void JobManager::Fail(const jobs::JobRecord& record, const absl::Status& status) {
  RunOutcome outcome;
  *outcome.mutable_error() = ToError(status);
  Conclude(record, JobState::kFailed, outcome);
}

absl::StatusOr<std::optional<jobs::VersionRecord>> JobManager::Publish(const jobs::JobRecord& record,
                                                                       const engram::v1::JobResult& result) {
  if (record.version == 0) return std::nullopt;
  const std::string target = paths_.version(record.model, record.version);
  const std::string output = paths_.run(record.id) + "/output";
  // The output is gone, and the version there, where an earlier attempt ended between the rename and the transaction.
  if (PathExists(output) || !PathExists(target)) {
    ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.versions(record.model)));
    ENGRAM_RETURN_IF_ERROR(checkpoint::PublishDirectory(output, target));
  }
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::VersionManifest manifest, checkpoint::ReadManifest(target));
  jobs::VersionRecord version;
  version.model = record.model;
  version.number = record.version;
  version.parent = record.base_version;
  version.job = record.id;
  version.size_bytes = TotalBytes(manifest.files, target);
  engram::v1::JobResult metrics;
  *metrics.mutable_metrics() = result.metrics();
  version.metrics = metrics.SerializeAsString();
  return version;
}

void JobManager::Conclude(const jobs::JobRecord& record, JobState reached, const RunOutcome& found) {
  JobState state = reached;
  RunOutcome outcome = found;
  std::optional<jobs::VersionRecord> version;
  if (state == JobState::kSucceeded) {
    absl::StatusOr<std::optional<jobs::VersionRecord>> published = Publish(record, outcome.result());
    if (!published.ok() && Passes(published.status())) {
      LogWarning("a version could not be published; it will be tried again",
                 {{"job", record.id}, {"message", std::string(published.status().message())}});
      unrecorded_[record.id] = {reached, found};
      return;
    }
    if (!published.ok()) {
      LogError("a version could not be published",
               {{"job", record.id}, {"message", std::string(published.status().message())}});
      *outcome.mutable_error() = ToError(published.status());
      state = JobState::kFailed;
    } else {
      version = *std::move(published);
      if (version) outcome.mutable_result()->set_version(VersionName(version->model, version->number));
    }
  }
  const absl::Status ended = store_.EndJob(record.id, state, outcome.SerializeAsString(), version);
  if (!ended.ok()) {
    // Until then the job stays as it is in the store, and its run directory too: the next start finds its result there.
    LogError("a job's end could not be recorded", {{"job", record.id}, {"message", std::string(ended.message())}});
    unrecorded_[record.id] = {reached, found};
    return;
  }
  unrecorded_.erase(record.id);
  crashes_.erase(record.id);
  metrics_.CountJob(KindName(record.specification), StateName(state),
                    absl::ToDoubleSeconds(clock_.Now() - record.created));
  LogInfo("job ended", {{"job", record.id}, {"state", StateName(state)}});
  if (const absl::Status removed = RemoveTree(paths_.run(record.id)); !removed.ok()) {
    LogWarning("a run directory could not be removed", {{"job", record.id}});
  }
  Notify(record.id);
}

void JobManager::TryAgain() {
  absl::MutexLock lock(&mutex_);
  for (const std::string& id : std::exchange(postponed_, {})) {
    const absl::StatusOr<jobs::JobRecord> record = store_.GetJob(id);
    if (!record.ok()) {
      postponed_.insert(id);
      continue;
    }
    const bool waits = record->state == JobState::kQueued || record->state == JobState::kRunning;
    // It may have been resumed meanwhile.
    if (waits && !running_.contains(id) && !scheduler_.Position(id)) Requeue(*record, JobState::kQueued);
  }
  const std::map<std::string, Unrecorded> waiting = unrecorded_;
  for (const auto& [id, end] : waiting) {
    const absl::StatusOr<jobs::JobRecord> record = store_.GetJob(id);
    if (record.ok()) Conclude(*record, end.state, end.outcome);
  }
}

// ---------------------------------------------------------------- the API's side

absl::StatusOr<std::optional<Job>> JobManager::FindEarlier(const jobs::RequestKey& key) {
  absl::MutexLock lock(&mutex_);
  return FindEarlierLocked(key);
}

absl::StatusOr<std::optional<Job>> JobManager::FindEarlierLocked(const jobs::RequestKey& key) {
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<std::string> earlier, store_.FindRequest(key));
  if (!earlier) return std::nullopt;
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord known, store_.GetJob(*earlier));
  return ToJob(known);
}

absl::StatusOr<Job> JobManager::Submit(jobs::JobRecord record, const Job& description, const RunSpec& spec,
                                       const jobs::RequestKey& key) {
  record.description = description.SerializeAsString();
  record.specification = spec.SerializeAsString();
  const JobKind* const kind = FindJobKind(spec.work_case());
  if (kind == nullptr) return absl::InternalError("no kind of job has this work");
  const bool makes_version = kind->facts().output == JobOutput::kVersion;
  absl::MutexLock lock(&mutex_);
  if (draining_) return Draining();
  // Of two calls with one key, both may have found nothing before they came here.
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<Job> earlier, FindEarlierLocked(key));
  if (earlier) return *earlier;
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord added,
                          store_.AddJob(std::move(record), makes_version, key, options_.queue_limit));
  scheduler_.Add(added.id, added.priority);
  LogInfo("job accepted", {{"job", added.id}, {"kind", kind->facts().name}});
  return ToJob(added);
}

Job JobManager::ToJob(const jobs::JobRecord& record) const {
  Job job;
  job.ParseFromString(record.description);
  job.set_name(JobName(record.id));
  job.set_state(static_cast<engram::v1::JobState>(record.state));
  job.set_priority(static_cast<int32_t>(record.priority));
  job.set_attempts(static_cast<int32_t>(record.attempts));
  job.set_label(record.label);
  SetTimestamp(record.created, job.mutable_create_time());
  if (record.started != absl::InfinitePast()) SetTimestamp(record.started, job.mutable_start_time());
  if (record.ended != absl::InfinitePast()) SetTimestamp(record.ended, job.mutable_end_time());
  RunOutcome outcome;
  if (!record.outcome.empty() && outcome.ParseFromString(record.outcome)) {
    if (record.state == JobState::kSucceeded) *job.mutable_result() = outcome.result();
    if (record.state == JobState::kFailed) *job.mutable_error() = outcome.error();
  }
  const auto run = running_.find(record.id);
  if (run != running_.end()) *job.mutable_progress() = run->second.progress;
  if (const auto position = scheduler_.Position(record.id)) job.set_queue_position(static_cast<int32_t>(*position));
  return job;
}

absl::StatusOr<Job> JobManager::Get(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(id));
  return ToJob(record);
}

absl::StatusOr<std::vector<Job>> JobManager::List(const std::string& before, int64_t limit, const std::string& model,
                                                  std::optional<JobState> state) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> records, store_.ListJobs(before, limit, model, state));
  std::vector<Job> jobs;
  for (const jobs::JobRecord& record : records) jobs.push_back(ToJob(record));
  return jobs;
}

absl::StatusOr<Job> JobManager::Cancel(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(id));
  const auto run = running_.find(id);
  if (run != running_.end()) {
    // Stored first: a server that is killed before the run has ended must not take the job up again.
    ENGRAM_RETURN_IF_ERROR(store_.RequestOfJob(id, JobRequest::kCancel));
    // Nothing of the run is kept, so it is not asked but killed; EndRun does the rest.
    if (run->second.handle) run->second.handle->Kill();
  } else if (!jobs::HasEnded(record.state)) {
    scheduler_.Remove(id);
    Conclude(record, JobState::kCancelled, {});
  }
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord now, store_.GetJob(id));
  return ToJob(now);
}

absl::StatusOr<Job> JobManager::Pause(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(id));
  if (jobs::HasEnded(record.state)) return AlreadyEnded(record);
  const auto run = running_.find(id);
  if (run != running_.end()) {
    ENGRAM_RETURN_IF_ERROR(store_.RequestOfJob(id, JobRequest::kPause));
    if (run->second.handle) run->second.handle->Stop();
  } else if (record.state == JobState::kQueued) {
    scheduler_.Remove(id);
    ENGRAM_RETURN_IF_ERROR(store_.SetJobState(id, JobState::kPaused));
    Notify(id);
  }
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord now, store_.GetJob(id));
  return ToJob(now);
}

absl::StatusOr<Job> JobManager::Resume(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(id));
  if (jobs::HasEnded(record.state)) return AlreadyEnded(record);
  if (record.state != JobState::kPaused) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "JOB_NOT_PAUSED",
                            absl::StrCat("the job is ", StateName(record.state), ", not paused"));
  }
  ENGRAM_RETURN_IF_ERROR(store_.SetJobState(id, JobState::kQueued));
  scheduler_.Add(id, record.priority);
  Notify(id);
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord now, store_.GetJob(id));
  return ToJob(now);
}

absl::StatusOr<int64_t> JobManager::Watch(const std::string& id, Watcher watcher) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(id));
  if (stopped_) return Draining();
  watcher(ToJob(record));
  const int64_t number = next_subscription_++;
  subscriptions_[number] = {id, std::move(watcher)};
  return number;
}

void JobManager::Unwatch(int64_t number) {
  absl::MutexLock lock(&mutex_);
  subscriptions_.erase(number);
}

void JobManager::Notify(const std::string& id) {
  std::optional<Job> job;
  for (const auto& [number, subscription] : subscriptions_) {
    if (subscription.job != id) continue;
    if (!job) {
      const absl::StatusOr<jobs::JobRecord> record = store_.GetJob(id);
      if (!record.ok()) return;
      job = ToJob(*record);
    }
    subscription.watcher(*job);
  }
}

absl::StatusOr<std::map<std::string, int64_t>> JobManager::CountStates() {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> unfinished, store_.UnfinishedJobs());
  std::map<std::string, int64_t> counts = {{"queued", 0}, {"running", 0}, {"paused", 0}};
  for (const jobs::JobRecord& record : unfinished) ++counts[StateName(record.state)];
  return counts;
}

}  // namespace engram::server
