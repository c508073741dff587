#include "server/jobs/job_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "server/jobs/job_kind.h"
#include "server/jobs/job_view.h"
#include "server/rpc/api_error.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::Job;
using engram::worker::v1::RunOutcome;
using engram::worker::v1::RunSpec;
using jobs::JobState;

absl::Status Draining() {
  return StatusWithReason(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down; try again soon");
}

absl::Status AlreadyEnded(const jobs::JobRecord& record) {
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, "JOB_ENDED",
                          absl::StrCat("the job has ended (", StateName(record.state), ")"));
}

JobTableOptions TableOptions(const JobManagerOptions& from) {
  JobTableOptions options;
  for (const std::string& device : from.devices) options.devices.push_back({device});
  options.max_crashes = from.max_crashes;
  options.try_again = from.try_again;
  options.silence = from.silence;
  return options;
}

}  // namespace

JobManager::JobManager(jobs::Store& store, const DataPaths& paths, jobs::Launcher& launcher, DatasetShelf& shelf,
                       Metrics& metrics, const Clock& steady, const Clock& wall, JobManagerOptions options)
    : store_(store),
      paths_(paths),
      metrics_(metrics),
      clock_(steady),
      wall_(wall),
      options_(std::move(options)),
      publisher_(paths, shelf),
      runs_(paths, launcher, options_.worker_threads, Listener()),
      table_(TableOptions(options_), steady) {}

JobManager::~JobManager() { ShutDown(absl::ZeroDuration()); }

RunListener JobManager::Listener() {
  return {[this](const std::string& id, engram::v1::JobProgress progress) {
            if (progress.phase() == "training") {
              metrics_.SetTraining(id, progress.loss(), progress.penalty(), progress.tokens_per_second(),
                                   static_cast<double>(progress.step()));
            }
            absl::MutexLock lock(&mutex_);
            table_.Progressed(id, std::move(progress));
            Notify(id);
          },
          [this](const std::string& id) {
            absl::MutexLock lock(&mutex_);
            table_.Checkpointed(id);
          },
          [this](const std::string& id, absl::Status what) {
            absl::MutexLock lock(&mutex_);
            table_.Lacks(id, std::move(what));
          },
          [this](const std::string& id, jobs::RunExit exit) {
            absl::MutexLock lock(&mutex_);
            table_.Exited(id, exit);
          }};
}

// ---------------------------------------------------------------- start and end

absl::Status JobManager::Start() {
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.runs()));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> unfinished, store_.UnfinishedJobs());
  for (const jobs::JobRecord& record : unfinished) TakeUp(record);
  while (DoNext(/*may_start=*/false)) {
  }
  Sweep();
  if (!unfinished.empty()) LogInfo("jobs taken up", {{"jobs", absl::StrCat(unfinished.size())}});
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void JobManager::TakeUp(const jobs::JobRecord& record) {
  const absl::StatusOr<std::optional<RunOutcome>> outcome = runs_.ReadOutcome(record.id);
  const bool finished = !outcome.ok() || outcome->has_value();
  if (record.state == JobState::kRunning && !finished) {
    const absl::StatusOr<std::vector<std::string>> devices = runs_.DevicesOf(record.id);
    bool claimed = false;
    if (devices.ok()) {
      absl::MutexLock lock(&mutex_);
      claimed = table_.TakeUpRunning(record, *devices);
    }
    if (claimed) {
      const bool attached = runs_.Attach(record.id).ok();
      // It may have ended between the two looks at it.
      const absl::StatusOr<std::optional<RunOutcome>> left = attached ? outcome : runs_.ReadOutcome(record.id);
      absl::MutexLock lock(&mutex_);
      if (attached) {
        Send(record.id, table_.Started(record.id));
      } else {
        table_.NotAttached(record.id, left);
      }
      return;
    }
  }
  absl::MutexLock lock(&mutex_);
  table_.TakeUp(record, outcome);
}

void JobManager::ShutDown(absl::Duration patience) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    draining_ = true;
    const std::vector<std::string> running = table_.Drain();
    if (!runs_.RunsOutliveServer()) {
      for (const std::string& id : running) runs_.Stop(id);
      mutex_.AwaitWithTimeout(absl::Condition(this, &JobManager::Idle), patience);
      for (const std::string& id : table_.Kill()) {
        LogWarning("a run is killed: it wrote no checkpoint in time", {{"job", id}});
        runs_.Kill(id);
      }
      if (thread_.joinable()) mutex_.Await(absl::Condition(this, &JobManager::Idle));
    }
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
  runs_.DetachAll();
  // Only now: the thread may still have had a run's end to tell.
  absl::MutexLock lock(&mutex_);
  for (const auto& [number, subscription] : subscriptions_) subscription.watcher(Draining());
}

void JobManager::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      sleeps_until_ = table_.NextTry();
      const absl::Duration wait = std::max(absl::ZeroDuration(), sleeps_until_ - clock_.Now());
      mutex_.AwaitWithTimeout(absl::Condition(this, &JobManager::ThreadWakes), wait);
      if (stopped_) return;
    }
    working_since_ = absl::ToUnixNanos(clock_.Now());
    DoNext(/*may_start=*/true);
    working_since_ = 0;
  }
}

absl::Duration JobManager::working() const {
  const int64_t since = working_since_;
  return since == 0 ? absl::ZeroDuration() : clock_.Now() - absl::FromUnixNanos(since);
}

bool JobManager::DoNext(bool may_start) {
  std::optional<JobTable::Work> work;
  {
    absl::MutexLock change(&changing_);
    {
      absl::MutexLock lock(&mutex_);
      work = table_.NextWork(may_start);
    }
    if (!work) return false;
    // At once: what is asked of a job between the decision and its storage would be lost.
    if (work->what == JobTable::Work::Do::kRequeue) Requeue(work->job, work->state);
  }
  switch (work->what) {
    case JobTable::Work::Do::kStart:
      StartRun(*work);
      break;
    case JobTable::Work::Do::kTakeDown:
      TakeDown(work->job);
      break;
    case JobTable::Work::Do::kConclude:
      Conclude(*work);
      break;
    case JobTable::Work::Do::kRemove:
      Remove(work->job);
      break;
    case JobTable::Work::Do::kInterrupt:
      Interrupt(*work);
      break;
    case JobTable::Work::Do::kRequeue:
      break;
  }
  return true;
}

// ---------------------------------------------------------------- one run

absl::Status JobManager::BeginRun(const JobTable::Work& work) {
  const std::optional<jobs::JobRecord> record = Find(work.job);
  if (!record) return absl::NotFoundError("the job is gone");
  ENGRAM_RETURN_IF_ERROR(runs_.Prepare(*record, work.devices));
  {
    absl::MutexLock change(&changing_);
    ENGRAM_RETURN_IF_ERROR(store_.BeginRun(work.job));
    ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord begun, store_.GetJob(work.job));
    absl::MutexLock lock(&mutex_);
    table_.Refresh(begun);
  }
  return runs_.Start(work.job, work.devices);
}

void JobManager::StartRun(const JobTable::Work& work) {
  const absl::Status begun = BeginRun(work);
  absl::MutexLock change(&changing_);
  if (begun.ok()) {
    LogInfo("run started", {{"job", work.job}, {"device", work.devices.front()}});
    absl::MutexLock lock(&mutex_);
    Send(work.job, table_.Started(work.job));
    Notify(work.job);
    return;
  }
  bool waits = false;
  {
    absl::MutexLock lock(&mutex_);
    waits = table_.NotStarted(work.job, begun);
  }
  if (!waits) return;
  LogWarning("a run could not be started; it will be tried again",
             {{"job", work.job}, {"message", std::string(begun.message())}});
  // Where the database is what fails, the next try finds the job as it was.
  if (!store_.TakeBackRun(work.job).ok()) LogWarning("a job's state could not be stored", {{"job", work.job}});
  RefreshAndNotify(work.job);
}

void JobManager::TakeDown(const std::string& id) {
  runs_.Release(id);
  const absl::StatusOr<std::optional<RunOutcome>> outcome = runs_.ReadOutcome(id);
  metrics_.RemoveTraining(id);
  // Until here it counted as running, so that what is asked of the job meanwhile is heeded.
  absl::MutexLock change(&changing_);
  absl::MutexLock lock(&mutex_);
  const JobTable::Verdict verdict = table_.TakenDown(id, outcome);
  if (const std::optional<Delay> delay = table_.Delayed(id)) {
    LogWarning("a run ended because something is lacking; it goes on later",
               {{"job", id}, {"message", std::string(delay->why.message())}});
  }
  if (!verdict.crashed) return;
  metrics_.CountWorkerCrash();
  LogError("a worker crashed",
           {{"job", id}, {"exit", absl::StrCat(verdict.exit.code)}, {"signal", absl::StrCat(verdict.exit.signal)}});
}

void JobManager::Requeue(const std::string& id, JobState state) {
  if (!store_.SetJobState(id, state).ok()) LogError("a job's state could not be stored", {{"job", id}});
  {
    absl::MutexLock lock(&mutex_);
    table_.Requeued(id, state);
  }
  RefreshAndNotify(id);
}

void JobManager::Conclude(const JobTable::Work& work) {
  RunOutcome outcome = work.ending.outcome;
  std::optional<jobs::VersionRecord> version;
  if (work.ending.state == JobState::kSucceeded) {
    const std::optional<jobs::JobRecord> record = Find(work.job);
    absl::StatusOr<Published> published = absl::NotFoundError("the job is gone");
    if (record) published = publisher_.Publish(*record, outcome.result());
    if (!published.ok()) {
      LogWarning(CanNeverSucceed(published.status()) ? "what a job made could not be published"
                                                     : "what a job made could not be published; it will be tried again",
                 {{"job", work.job}, {"message", std::string(published.status().message())}});
      absl::MutexLock lock(&mutex_);
      table_.NotPublished(work.job, published.status());
      return;
    }
    version = std::move(published->version);
    if (!published->dataset.empty()) outcome.mutable_result()->set_dataset(DatasetName(published->dataset));
    if (version) outcome.mutable_result()->set_version(VersionName(version->model, version->number));
  }
  absl::MutexLock change(&changing_);
  Record(work.job, work.ending.state, outcome, version);
}

void JobManager::Record(const std::string& id, JobState state, const RunOutcome& outcome,
                        const std::optional<jobs::VersionRecord>& version) {
  const std::optional<jobs::JobRecord> before = Find(id);
  const absl::Status ended = store_.EndJob(id, state, outcome.SerializeAsString(), version);
  if (!ended.ok()) {
    // Until then the job stays as it is in the store, and its run directory too: the next start finds its result there.
    LogError("a job's end could not be recorded", {{"job", id}, {"message", std::string(ended.message())}});
    absl::MutexLock lock(&mutex_);
    table_.NotRecorded(id, ended);
    return;
  }
  jobs::JobRecord record = before.value_or(jobs::JobRecord());
  metrics_.CountJob(KindName(record), StateName(state), absl::ToDoubleSeconds(wall_.Now() - record.created));
  LogInfo("job ended", {{"job", id}, {"state", StateName(state)}});
  if (absl::StatusOr<jobs::JobRecord> stored = store_.GetJob(id); stored.ok()) {
    record = *std::move(stored);
  } else {
    record.state = state;
    record.outcome = outcome.SerializeAsString();
  }
  if (version && options_.published) options_.published(version->model, version->number);
  absl::MutexLock lock(&mutex_);
  table_.Recorded(record);
}

void JobManager::Remove(const std::string& id) {
  const std::optional<jobs::JobRecord> record = Find(id);
  const bool kept = record && ResumableUntil(*record).has_value();
  if (!(kept ? publisher_.TrimRun(id) : publisher_.RemoveRun(id)).ok())
    LogWarning("a run directory could not be removed", {{"job", id}});
  {
    absl::MutexLock lock(&mutex_);
    Notify(id);
    table_.Removed(id);
  }
  Sweep();
}

void JobManager::Interrupt(const JobTable::Work& work) {
  LogWarning(work.signal == RunSignal::kStop ? "a run hangs and is asked to stop" : "a run hangs and is killed",
             {{"job", work.job}});
  absl::MutexLock lock(&mutex_);
  Send(work.job, work.signal);
  table_.Interrupted(work.job);
}

void JobManager::Sweep() {
  const absl::StatusOr<std::vector<std::string>> runs = ListDirectory(paths_.runs());
  if (!runs.ok()) return;  // the next sweep may be able to
  for (const std::string& run : *runs) {
    {
      absl::MutexLock change(&changing_);
      if (Find(run)) continue;
      const absl::StatusOr<jobs::JobRecord> record = store_.GetJob(run);
      // What the database does not know may be of a newer copy of it.
      if (!record.ok() || !jobs::HasEnded(record->state) || ResumableUntil(*record)) continue;
      // So that nobody resumes it while its files go.
      if (!store_.ForgetJob(run).ok()) continue;
    }
    if (!publisher_.RemoveRun(run).ok()) LogWarning("a run directory could not be removed", {{"job", run}});
  }
}

std::optional<absl::Time> JobManager::ResumableUntil(const jobs::JobRecord& record) const {
  if (record.state != JobState::kFailed || record.specification.empty()) return std::nullopt;
  const absl::Time until = record.ended + options_.keep_failed;
  return wall_.Now() < until ? std::optional(until) : std::nullopt;
}

void JobManager::Send(const std::string& id, RunSignal signal) {
  if (signal == RunSignal::kStop) runs_.Stop(id);
  if (signal == RunSignal::kKill) runs_.Kill(id);
}

// ---------------------------------------------------------------- the API's side

absl::StatusOr<std::optional<Job>> JobManager::FindEarlier(const jobs::RequestKey& key) {
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<std::string> earlier, store_.FindRequest(key));
  if (!earlier) return std::nullopt;
  return Get(*earlier);
}

absl::StatusOr<Job> JobManager::Submit(jobs::JobRecord record, const Job& description, const RunSpec& spec,
                                       const jobs::RequestKey& key) {
  const JobKind* const kind = FindJobKind(spec.work_case());
  if (kind == nullptr) return absl::InternalError("no kind of job has this work");
  record.description = description.SerializeAsString();
  record.specification = spec.SerializeAsString();
  absl::MutexLock change(&changing_);
  {
    absl::MutexLock lock(&mutex_);
    if (draining_) return Draining();
  }
  // Of two calls with one key, both may have found nothing before they came here.
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<Job> earlier, FindEarlier(key));
  if (earlier) return *earlier;
  const bool makes_version = kind->facts().output == JobOutput::kVersion;
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord added,
                          store_.AddJob(std::move(record), makes_version, key, options_.queue_limit));
  LogInfo("job accepted", {{"job", added.id}, {"kind", kind->facts().name}});
  absl::MutexLock lock(&mutex_);
  table_.Accept(added);
  return Describe(added);
}

Job JobManager::Describe(const jobs::JobRecord& record) const {
  Job job = DescribeJob(record);
  if (auto progress = table_.Progress(record.id)) *job.mutable_progress() = *std::move(progress);
  if (const auto position = table_.Position(record.id)) job.set_queue_position(static_cast<int32_t>(*position));
  if (const std::optional<Delay> delay = table_.Delayed(record.id)) {
    engram::v1::Postponement& postponed = *job.mutable_postponed();
    *postponed.mutable_reason() = ToError(delay->why);
    SetTimestamp(wall_.Now() + (delay->until - clock_.Now()), postponed.mutable_retry_time());
    postponed.set_tries(static_cast<int32_t>(delay->tries));
  }
  if (const auto until = ResumableUntil(record)) SetTimestamp(*until, job.mutable_resumable_until());
  return job;
}

std::optional<jobs::JobRecord> JobManager::Find(const std::string& id) const {
  absl::MutexLock lock(&mutex_);
  const jobs::JobRecord* const record = table_.Find(id);
  return record == nullptr ? std::nullopt : std::optional(*record);
}

absl::StatusOr<Job> JobManager::Get(const std::string& id) {
  {
    absl::MutexLock lock(&mutex_);
    if (const jobs::JobRecord* const record = table_.Find(id)) return Describe(*record);
  }
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(id));
  absl::MutexLock lock(&mutex_);
  return Describe(record);
}

absl::StatusOr<std::vector<Job>> JobManager::List(const std::string& before, int64_t limit, const std::string& model,
                                                  std::optional<JobState> state) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> records, store_.ListJobs(before, limit, model, state));
  std::vector<Job> jobs;
  absl::MutexLock lock(&mutex_);
  for (const jobs::JobRecord& record : records) jobs.push_back(Describe(record));
  return jobs;
}

void JobManager::RefreshAndNotify(const std::string& id) {
  const absl::StatusOr<jobs::JobRecord> record = store_.GetJob(id);
  absl::MutexLock lock(&mutex_);
  if (record.ok()) table_.Refresh(*record);
  Notify(id);
}

absl::StatusOr<Job> JobManager::Change(const JobChange& change) {
  if (change.store == JobChange::Store::kState) ENGRAM_RETURN_IF_ERROR(store_.SetJobState(change.job, change.state));
  // Stored first: a server that is killed before the run has ended must not take the job up again.
  if (change.store == JobChange::Store::kPending) ENGRAM_RETURN_IF_ERROR(store_.SetPending(change.job, change.pending));
  {
    absl::MutexLock lock(&mutex_);
    Send(change.job, table_.Apply(change));
    if (change.store == JobChange::Store::kState) Notify(change.job);
  }
  if (change.store == JobChange::Store::kEnding) Record(change.job, JobState::kCancelled, {}, std::nullopt);
  return Get(change.job);
}

absl::StatusOr<Job> JobManager::Cancel(const std::string& id) {
  absl::MutexLock change(&changing_);
  if (!Find(id)) return Get(id);  // it has ended, and stays as it is
  JobChange planned;
  {
    absl::MutexLock lock(&mutex_);
    planned = table_.PlanCancel(id);
  }
  return Change(planned);
}

absl::StatusOr<Job> JobManager::Pause(const std::string& id) {
  absl::MutexLock change(&changing_);
  ENGRAM_RETURN_IF_ERROR(CheckUnfinished(id));
  JobChange planned;
  {
    absl::MutexLock lock(&mutex_);
    planned = table_.PlanPause(id);
  }
  return Change(planned);
}

absl::StatusOr<Job> JobManager::Resume(const std::string& id) {
  absl::MutexLock change(&changing_);
  const std::optional<jobs::JobRecord> here = Find(id);
  if (!here) return ResumeFailed(id);
  if (ResumableUntil(*here)) return absl::UnavailableError("the job has failed in this moment; try again");
  ENGRAM_RETURN_IF_ERROR(CheckUnfinished(id));
  absl::StatusOr<JobChange> planned;
  {
    absl::MutexLock lock(&mutex_);
    planned = table_.PlanResume(id);
  }
  if (!planned.ok()) return planned.status();
  return Change(*planned);
}

absl::StatusOr<Job> JobManager::ResumeFailed(const std::string& id) {
  {
    absl::MutexLock lock(&mutex_);
    if (draining_) return Draining();
  }
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(id));
  if (!ResumableUntil(record)) return AlreadyEnded(record);
  // Gone already, unless the server ended right after the job did: a run would take the old error for its own.
  ENGRAM_RETURN_IF_ERROR(publisher_.TrimRun(id));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord revived, store_.ReviveJob(id, options_.queue_limit));
  LogInfo("failed job resumed", {{"job", id}});
  absl::MutexLock lock(&mutex_);
  table_.Accept(revived);
  return Describe(revived);
}

absl::Status JobManager::CheckUnfinished(const std::string& id) {
  const std::optional<jobs::JobRecord> here = Find(id);
  if (here && !jobs::HasEnded(here->state)) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const jobs::JobRecord record, store_.GetJob(id));
  return AlreadyEnded(record);
}

absl::StatusOr<int64_t> JobManager::Watch(const std::string& id, Watcher watcher) {
  while (true) {
    std::optional<jobs::JobRecord> stored;
    if (!Find(id)) {
      ENGRAM_ASSIGN_OR_RETURN(stored, store_.GetJob(id));
    }
    absl::MutexLock lock(&mutex_);
    if (stopped_) return Draining();
    const jobs::JobRecord* const here = table_.Find(id);
    if (here == nullptr && !stored) continue;  // it ended in this moment: it is in the store alone now
    watcher(Describe(here == nullptr ? *stored : *here));
    const int64_t number = next_subscription_++;
    subscriptions_[number] = {id, std::move(watcher)};
    return number;
  }
}

void JobManager::Unwatch(int64_t number) {
  absl::MutexLock lock(&mutex_);
  subscriptions_.erase(number);
}

void JobManager::Notify(const std::string& id) {
  const jobs::JobRecord* const record = table_.Find(id);
  if (record == nullptr) return;
  std::optional<Job> job;
  for (const auto& [number, subscription] : subscriptions_) {
    if (subscription.job != id) continue;
    if (!job) job = Describe(*record);
    subscription.watcher(*job);
  }
}

std::map<std::string, Delay> JobManager::Delayed() const {
  absl::MutexLock lock(&mutex_);
  return table_.AllDelayed();
}

absl::StatusOr<std::map<std::string, int64_t>> JobManager::CountStates() {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> unfinished, store_.UnfinishedJobs());
  std::map<std::string, int64_t> counts = {{"queued", 0}, {"running", 0}, {"paused", 0}};
  for (const jobs::JobRecord& record : unfinished) ++counts[StateName(record.state)];
  return counts;
}

}  // namespace engram::server
