#include "server/jobs/job_table.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/lack.h"
#include "server/jobs/job_view.h"
#include "server/rpc/api_error.h"

namespace engram::server {

using engram::worker::v1::RunOutcome;
using jobs::JobState;
using jobs::PendingAction;

// ---------------------------------------------------------------- jobs come

void JobTable::Accept(const jobs::JobRecord& record) {
  Entry& entry = entries_[record.id];
  entry.record = record;
  Enqueue(entry);
}

void JobTable::TakeUp(const jobs::JobRecord& record, const absl::StatusOr<std::optional<RunOutcome>>& outcome) {
  Entry& entry = entries_[record.id];
  entry.record = record;
  if (record.state == JobState::kPaused) return;
  if (record.pending == PendingAction::kCancel) {
    Conclude(entry, JobState::kCancelled, {});
  } else if (!outcome.ok() && CanNeverSucceed(outcome.status())) {
    Fail(entry, outcome.status());
  } else if (!outcome.ok()) {
    // A run that starts again finds the result that could not be read.
    Postpone(entry, outcome.status());
    Requeue(entry, record.pending == PendingAction::kPause ? JobState::kPaused : JobState::kQueued);
  } else if (*outcome) {
    // Its worker had finished when the server ended.
    Conclude(entry, (*outcome)->has_result() ? JobState::kSucceeded : JobState::kFailed, **outcome);
  } else {
    Requeue(entry, record.pending == PendingAction::kPause ? JobState::kPaused : JobState::kQueued);
  }
}

bool JobTable::TakeUpRunning(const jobs::JobRecord& record, const std::vector<std::string>& devices) {
  if (!scheduler_.Claim(devices)) return false;
  Entry& entry = entries_[record.id];
  entry.record = record;
  entry.step = Step::kRunning;
  entry.devices = devices;
  return true;
}

void JobTable::NotAttached(const std::string& id, const absl::StatusOr<std::optional<RunOutcome>>& outcome) {
  Entry& entry = At(id);
  EndOfRun(entry);
  TakeUp(jobs::JobRecord(entry.record), outcome);
}

// ---------------------------------------------------------------- what people ask

JobChange JobTable::PlanPause(const std::string& id) const {
  const Entry& entry = entries_.at(id);
  JobChange change{id};
  if (HasRun(entry)) {
    change.store = JobChange::Store::kPending;
    change.pending = PendingAction::kPause;
  } else if ((entry.step == Step::kWaiting || entry.step == Step::kRequeuing) &&
             entry.record.state != JobState::kPaused) {
    change.store = JobChange::Store::kState;
    change.state = JobState::kPaused;
  }
  return change;
}

JobChange JobTable::PlanCancel(const std::string& id) const {
  const Entry& entry = entries_.at(id);
  JobChange change{id};
  if (entry.step == Step::kRecorded) return change;
  // While it is published, it is remembered in case that does not come to pass.
  if (HasRun(entry) || entry.in_hand) {
    change.store = JobChange::Store::kPending;
    change.pending = PendingAction::kCancel;
  } else {
    change.store = JobChange::Store::kEnding;
  }
  return change;
}

absl::StatusOr<JobChange> JobTable::PlanResume(const std::string& id) const {
  const Entry& entry = entries_.at(id);
  if (entry.record.state != JobState::kPaused || entry.step != Step::kWaiting) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "JOB_NOT_PAUSED",
                            absl::StrCat("the job is ", StateName(entry.record.state), ", not paused"));
  }
  return JobChange{id, JobChange::Store::kState, JobState::kQueued};
}

RunSignal JobTable::Apply(const JobChange& change) {
  Entry& entry = At(change.job);
  switch (change.store) {
    case JobChange::Store::kNothing:
      return RunSignal::kNone;
    case JobChange::Store::kState:
      scheduler_.Remove(change.job);
      entry.step = Step::kWaiting;
      entry.due = absl::InfinitePast();
      GotFurther(entry);
      entry.record.state = change.state;
      entry.record.pending = PendingAction::kNone;
      if (change.state == JobState::kQueued) Enqueue(entry);
      return RunSignal::kNone;
    case JobChange::Store::kPending:
      entry.record.pending = std::max(entry.record.pending, change.pending);
      if (!HasRun(entry)) return RunSignal::kNone;
      // Nothing of a cancelled run is kept, so it is not asked.
      return change.pending == PendingAction::kCancel ? RunSignal::kKill : RunSignal::kStop;
    case JobChange::Store::kEnding:
      scheduler_.Remove(change.job);
      Conclude(entry, JobState::kCancelled, {});
      entry.in_hand = true;
      return RunSignal::kNone;
  }
  return RunSignal::kNone;
}

// ---------------------------------------------------------------- work

std::optional<JobTable::Work::Do> JobTable::Due(const Entry& entry, absl::Time now) const {
  if (entry.in_hand) return std::nullopt;
  switch (entry.step) {
    case Step::kRunning:
      if (entry.exit) return Work::Do::kTakeDown;
      if (now >= HangsAt(entry)) return Work::Do::kInterrupt;
      return std::nullopt;
    case Step::kConcluding:
      if (now >= entry.due) return Work::Do::kConclude;
      return std::nullopt;
    case Step::kRequeuing:
      return Work::Do::kRequeue;
    case Step::kRecorded:
      return Work::Do::kRemove;
    case Step::kWaiting:
      // Refused before; what is due stands in no queue.
      if (entry.due != absl::InfinitePast() && now >= entry.due && !draining_) return Work::Do::kRequeue;
      return std::nullopt;
    case Step::kStarting:
    case Step::kTakingDown:
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<JobTable::Work> JobTable::NextWork(bool may_start) {
  const absl::Time now = clock_.Now();
  for (auto& [id, entry] : entries_) {
    const std::optional<Work::Do> what = Due(entry, now);
    if (!what) continue;
    entry.in_hand = true;
    Work work{*what, id, {}, {}, JobState::kQueued, RunSignal::kNone};
    if (*what == Work::Do::kInterrupt) {
      entry.interrupted = entry.interrupted == RunSignal::kNone ? RunSignal::kStop : RunSignal::kKill;
      work.signal = entry.interrupted;
    }
    if (*what == Work::Do::kTakeDown) entry.step = Step::kTakingDown;
    if (*what == Work::Do::kConclude) work.ending = entry.ending;
    if (*what == Work::Do::kRequeue && entry.step == Step::kRequeuing) work.state = entry.requeued;
    return work;
  }
  if (draining_ || !may_start) return std::nullopt;
  std::optional<jobs::Assignment> next = scheduler_.Next();
  if (!next) return std::nullopt;
  Entry& entry = At(next->job);
  entry.step = Step::kStarting;
  entry.in_hand = true;
  entry.devices = next->devices;
  return Work{Work::Do::kStart, next->job, std::move(next->devices), {}, JobState::kRunning, RunSignal::kNone};
}

bool JobTable::HasWork() const {
  const absl::Time now = clock_.Now();
  const bool due = std::any_of(entries_.begin(), entries_.end(),
                               [&](const auto& item) { return Due(item.second, now).has_value(); });
  return due || (!draining_ && scheduler_.HasNext());
}

absl::Time JobTable::NextTry() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [id, entry] : entries_) {
    if (entry.step == Step::kRunning && !entry.in_hand) next = std::min(next, HangsAt(entry));
    const bool refused = entry.step == Step::kWaiting || entry.step == Step::kConcluding;
    if (entry.step == Step::kWaiting && draining_) continue;
    if (refused && !entry.in_hand && entry.due != absl::InfinitePast()) next = std::min(next, entry.due);
  }
  return next;
}

absl::Time JobTable::HangsAt(const Entry& entry) const {
  switch (entry.interrupted) {
    case RunSignal::kNone:
      return entry.heard + options_.silence;
    case RunSignal::kStop:
      return entry.heard + options_.silence + options_.stop_patience;
    case RunSignal::kKill:
      break;
  }
  return absl::InfiniteFuture();  // nothing more can be done to it
}

RunSignal JobTable::Started(const std::string& id) {
  Entry& entry = At(id);
  entry.step = Step::kRunning;
  if (entry.heard == absl::InfiniteFuture()) entry.heard = clock_.Now();
  entry.in_hand = false;
  if (entry.record.pending == PendingAction::kCancel || killing_) return RunSignal::kKill;
  return entry.record.pending == PendingAction::kPause || draining_ ? RunSignal::kStop : RunSignal::kNone;
}

bool JobTable::NotStarted(const std::string& id, const absl::Status& why) {
  Entry& entry = At(id);
  EndOfRun(entry);
  if (entry.record.pending == PendingAction::kCancel) {
    Conclude(entry, JobState::kCancelled, {});
  } else if (entry.record.pending == PendingAction::kPause) {
    Requeue(entry, JobState::kPaused);
  } else if (CanNeverSucceed(why)) {
    Fail(entry, why);
  } else {
    // Until then it is queued for everybody who asks.
    Postpone(entry, why);
    entry.step = Step::kWaiting;
    entry.record.state = JobState::kQueued;
    return true;
  }
  return false;
}

void JobTable::Postpone(Entry& entry, const absl::Status& why) {
  constexpr int64_t kMostDoublings = 20;
  const int64_t doublings = std::min(entry.refusals++, kMostDoublings);
  entry.refusal = why;
  entry.due = clock_.Now() + std::min(options_.try_again * (int64_t{1} << doublings), options_.longest_wait);
}

void JobTable::Progressed(const std::string& id, engram::v1::JobProgress progress) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || !HasRun(found->second)) return;
  found->second.progress = std::move(progress);
  found->second.heard = clock_.Now();
}

void JobTable::Checkpointed(const std::string& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  GotFurther(found->second);
  if (HasRun(found->second)) found->second.heard = clock_.Now();
}

void JobTable::Lacks(const std::string& id, absl::Status what) {
  const auto found = entries_.find(id);
  if (found != entries_.end() && HasRun(found->second)) found->second.lack = std::move(what);
}

void JobTable::Interrupted(const std::string& id) { At(id).in_hand = false; }

void JobTable::Exited(const std::string& id, jobs::RunExit exit) {
  const auto found = entries_.find(id);
  if (found != entries_.end() && HasRun(found->second)) found->second.exit = exit;
}

JobTable::Verdict JobTable::TakenDown(const std::string& id, const absl::StatusOr<std::optional<RunOutcome>>& outcome) {
  Entry& entry = At(id);
  const jobs::RunExit exit = entry.exit.value_or(jobs::RunExit());
  const std::optional<absl::Status> lack = entry.lack;
  const bool hung = entry.interrupted != RunSignal::kNone;
  EndOfRun(entry);
  const PendingAction pending = entry.record.pending;
  if (pending == PendingAction::kCancel) {
    Conclude(entry, JobState::kCancelled, {});
  } else if (!outcome.ok() && CanNeverSucceed(outcome.status())) {
    Fail(entry, outcome.status());
  } else if (outcome.ok() && *outcome) {
    Conclude(entry, (*outcome)->has_result() ? JobState::kSucceeded : JobState::kFailed, **outcome);
  } else if (pending == PendingAction::kPause) {
    Requeue(entry, JobState::kPaused);
  } else if (!outcome.ok()) {
    // A run that starts again finds the result that could not be read.
    Postpone(entry, outcome.status());
    Requeue(entry, JobState::kQueued);
  } else if (draining_) {
    Requeue(entry, JobState::kQueued);
  } else {
    return EndedEarly(entry, exit, lack, hung);
  }
  return {false, exit};
}

JobTable::Verdict JobTable::EndedEarly(Entry& entry, jobs::RunExit exit, const std::optional<absl::Status>& lack,
                                       bool hung) {
  if (exit.code == jobs::kExitResumable && !lack && !hung) {
    Requeue(entry, JobState::kQueued);
    return {false, exit};
  }
  // Files are mapped: a disk that fails ends a worker with SIGBUS.
  std::optional<absl::Status> missing = lack;
  if (exit.signal == SIGBUS)
    missing = StatusWithReason(absl::StatusCode::kUnavailable, kDiskFailing, "the disk did not give a mapped file");
  // Memory may be short because of others, or because the job takes more than there is: it is not tried for ever.
  const bool passes = missing && StatusReason(*missing) != kOutOfMemory;
  if (!passes && ++entry.crashes >= options_.max_crashes) {
    const char* likely = exit.signal == SIGKILL && !hung
                             ? "; the system may have run out of memory: try a smaller batch_size or max_length"
                             : "";
    Fail(entry, missing ? *missing
                : hung  ? StatusWithReason(absl::StatusCode::kInternal, "WORKER_HUNG",
                                           absl::StrCat("the training process hung ", entry.crashes,
                                                        " times without getting further; resume the job to try again"))
                        : StatusWithReason(absl::StatusCode::kInternal, "WORKER_CRASHED",
                                           absl::StrCat("the training process crashed ", entry.crashes,
                                                        " times without getting further", likely)));
    return {!missing, exit};
  }
  if (missing) Postpone(entry, *missing);
  Requeue(entry, JobState::kQueued);
  return {!missing, exit};
}

void JobTable::EndOfRun(Entry& entry) {
  scheduler_.Release(std::exchange(entry.devices, {}));
  entry.progress.reset();
  entry.exit.reset();
  entry.lack.reset();
  entry.heard = absl::InfiniteFuture();
  entry.interrupted = RunSignal::kNone;
  entry.in_hand = false;
}

void JobTable::Conclude(Entry& entry, JobState state, RunOutcome outcome) {
  entry.step = Step::kConcluding;
  entry.ending = {state, std::move(outcome)};
  entry.due = absl::InfinitePast();
  entry.in_hand = false;
}

void JobTable::Fail(Entry& entry, const absl::Status& why) {
  RunOutcome outcome;
  *outcome.mutable_error() = ToError(why);
  Conclude(entry, JobState::kFailed, std::move(outcome));
}

void JobTable::Requeue(Entry& entry, JobState state) {
  entry.step = Step::kRequeuing;
  entry.requeued = state;
}

void JobTable::Requeued(const std::string& id, JobState state) {
  Entry& entry = At(id);
  entry.step = Step::kWaiting;
  entry.in_hand = false;
  entry.record.state = state;
  entry.record.pending = PendingAction::kNone;
  if (state == JobState::kQueued && entry.due > clock_.Now()) return;  // postponed: it comes again when it is due
  entry.due = absl::InfinitePast();
  if (state == JobState::kQueued) Enqueue(entry);
}

void JobTable::Recorded(const jobs::JobRecord& record) {
  Entry& entry = At(record.id);
  entry.record = record;
  entry.step = Step::kRecorded;
  entry.in_hand = false;
}

void JobTable::NotPublished(const std::string& id, const absl::Status& why) {
  Entry& entry = At(id);
  if (CanNeverSucceed(why)) {
    Fail(entry, why);
  } else {
    NotRecorded(id, why);
  }
}

void JobTable::NotRecorded(const std::string& id, const absl::Status& why) {
  Entry& entry = At(id);
  if (entry.record.pending == PendingAction::kCancel) {
    entry.ending = {JobState::kCancelled, {}};  // cancelled while it was tried
  } else if (CanNeverSucceed(why) && entry.ending.state == JobState::kSucceeded) {
    Fail(entry, why);
    return;
  }
  Postpone(entry, why);
  entry.in_hand = false;
}

void JobTable::Removed(const std::string& id) { entries_.erase(id); }

// ---------------------------------------------------------------- the server's end

std::vector<std::string> JobTable::Drain() {
  draining_ = true;
  std::vector<std::string> running;
  for (const auto& [id, entry] : entries_) {
    if (entry.step == Step::kRunning) running.push_back(id);
  }
  return running;
}

std::vector<std::string> JobTable::Kill() {
  killing_ = true;
  return Drain();
}

bool JobTable::Busy() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const auto& item) {
    const Entry& entry = item.second;
    if (HasRun(entry) || entry.in_hand) return true;
    const bool waits = entry.step == Step::kConcluding && entry.due != absl::InfinitePast();
    return entry.step != Step::kWaiting && !waits;
  });
}

// ---------------------------------------------------------------- looking

const jobs::JobRecord* JobTable::Find(const std::string& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second.record;
}

void JobTable::Refresh(const jobs::JobRecord& record) {
  const auto found = entries_.find(record.id);
  if (found != entries_.end()) found->second.record = record;
}

std::optional<engram::v1::JobProgress> JobTable::Progress(const std::string& id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end() || !HasRun(found->second)) return std::nullopt;
  return found->second.progress.value_or(engram::v1::JobProgress());
}

std::optional<Delay> JobTable::Delayed(const std::string& id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return std::nullopt;
  const Entry& entry = found->second;
  const bool waits = entry.step == Step::kWaiting || entry.step == Step::kConcluding || entry.step == Step::kRequeuing;
  if (!waits || entry.refusal.ok() || entry.due == absl::InfinitePast()) return std::nullopt;
  return Delay{entry.refusal, entry.due, entry.refusals};
}

std::map<std::string, Delay> JobTable::AllDelayed() const {
  std::map<std::string, Delay> delayed;
  for (const auto& [id, entry] : entries_) {
    if (std::optional<Delay> delay = Delayed(id)) delayed[id] = *std::move(delay);
  }
  return delayed;
}

std::set<std::string> JobTable::Ids() const {
  std::set<std::string> ids;
  for (const auto& [id, entry] : entries_) ids.insert(id);
  return ids;
}

}  // namespace engram::server
