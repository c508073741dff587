#pragma once

// The unfinished jobs of a server and what is to be done about them. Pure logic: no store, no files, no threads; time
// comes from a clock that is given. Whoever owns a table tells it what happened, stores what it wants stored, does the
// work that it gives out, and serialises access.
//
//   queued ──► starting ──► running ──► exited ──► taken down ─┬─► concluding ──► recorded ──► gone
//     ▲  ▲                                                     │       ▲ └─ again later ┘
//     │  └───────────────── requeued ◄─────────────────────────┘       │
//     └── paused                     a job that waits and is cancelled ┘
//
// What somebody asks of a job takes two steps, so that nothing holds that is not stored: Plan* says what is to be
// stored, and Apply, called once it is, makes it so and says what its run is to be told. Between the two no other
// change of a job may come; progress and exits of runs may.
//
// Example, one job's way:
//   table.Accept(record);
//   auto work = table.NextWork();             // kStart; the owner starts it, stores that, ...
//   table.Started(id);
//   table.Exited(id, {0, 0});
//   work = table.NextWork();                  // kTakeDown; the owner reads the outcome
//   table.TakenDown(id, outcome);             // kConclude follows: publish and store
//   work = table.NextWork();
//   table.Recorded(id, record_as_stored);     // kRemove follows: files and watchers
//   work = table.NextWork();
//   table.Removed(id);

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/jobs/launcher.h"
#include "core/jobs/scheduler.h"
#include "core/jobs/store.h"
#include "engram/v1/job.pb.h"
#include "engram/worker/v1/worker.pb.h"

namespace engram::server {

// What can never succeed, however often it is tried: a specification or a result that is damaged, a version that lies
// where the job's own belongs. Everything else, known or not, may pass, and a job that was accepted waits for that.
inline bool CanNeverSucceed(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsAlreadyExists(status) || absl::IsInvalidArgument(status) ||
         absl::IsNotFound(status) || absl::IsUnimplemented(status);
}

struct JobTableOptions {
  std::vector<jobs::Device> devices;
  // A job fails after this many crashes of its worker without a checkpoint between them.
  int64_t max_crashes = 3;
  // How long to wait before trying again what was refused for now; twice as long after each further refusal, up to
  // the longest.
  absl::Duration try_again = absl::Seconds(5), longest_wait = absl::Minutes(5);
  // A run that says nothing for so long hangs: it is asked to stop, and killed after `stop_patience`.
  absl::Duration silence = absl::InfiniteDuration(), stop_patience = absl::Minutes(1);
};

// How a job ends.
struct JobEnding {
  jobs::JobState state = jobs::JobState::kFailed;
  engram::worker::v1::RunOutcome outcome;  // result or error; neither if it was cancelled
};

// What is to be stored before a change holds.
struct JobChange {
  enum class Store {
    kNothing,  // it is so already, or too late
    kState,    // SetJobState
    kPending,  // SetPending: its run is under way
    kEnding,   // nothing yet: the owner concludes the job after Apply, as for Work::kConclude
  };
  std::string job;
  Store store = Store::kNothing;
  jobs::JobState state = jobs::JobState::kQueued;
  jobs::PendingAction pending = jobs::PendingAction::kNone;
};

enum class RunSignal { kNone, kStop, kKill };

// Why a job does not go on for now.
struct Delay {
  absl::Status why;
  absl::Time until;
  int64_t tries = 0;  // since it last got further
};

class JobTable {
 public:
  struct Work {
    enum class Do {
      kStart,      // start its run on `devices`; then Started or NotStarted
      kTakeDown,   // its run has exited: read what it left; then TakenDown
      kConclude,   // publish and store its ending; then Recorded or NotRecorded
      kRequeue,    // store that it is queued, or paused; then Requeued
      kRemove,     // its end is stored: remove its files, tell watchers; then Removed
      kInterrupt,  // its run hangs: send it `signal`; then Interrupted
    };
    Do what;
    std::string job;
    std::vector<std::string> devices;  // kStart
    JobEnding ending;                  // kConclude
    jobs::JobState state{};            // kRequeue
    RunSignal signal{};                // kInterrupt
  };
  // What an outcome meant, for the log and the metrics.
  struct Verdict {
    bool crashed = false;
    jobs::RunExit exit;
  };

  JobTable(JobTableOptions options, const Clock& clock)
      : options_(std::move(options)), clock_(clock), scheduler_(options_.devices) {}

  // ---- jobs come
  // One that was just stored.
  void Accept(const jobs::JobRecord& record);
  // One that the store still holds after a start. `outcome`: what its run left. Paused jobs stay so; of the others a
  // cancelled one is concluded, one with an outcome too, and the rest is queued again, or paused if that was asked.
  void TakeUp(const jobs::JobRecord& record,
              const absl::StatusOr<std::optional<engram::worker::v1::RunOutcome>>& outcome);
  // One whose run is still under way, on these devices; false, and nothing done, if they are not free.
  bool TakeUpRunning(const jobs::JobRecord& record, const std::vector<std::string>& devices);
  // It was not, after all; `outcome`: what it left.
  void NotAttached(const std::string& id, const absl::StatusOr<std::optional<engram::worker::v1::RunOutcome>>& outcome);

  // ---- what people ask. The job must be in the table.
  JobChange PlanPause(const std::string& id) const;
  JobChange PlanCancel(const std::string& id) const;
  // FAILED_PRECONDITION (JOB_NOT_PAUSED).
  absl::StatusOr<JobChange> PlanResume(const std::string& id) const;
  RunSignal Apply(const JobChange& change);

  // ---- work. Given out once; until its end is told the job is in hand. `may_start`: runs may begin.
  std::optional<Work> NextWork(bool may_start = true);
  bool HasWork() const;
  // When something is to be done if nothing else happens: what was refused is tried again, a silent run hangs;
  // InfiniteFuture: nothing is.
  absl::Time NextTry() const;

  // Its run is under way: what it is to be told at once, because it was asked for meanwhile.
  RunSignal Started(const std::string& id);
  // True if the job waits and is tried again: it is to be stored as queued. Else it ends, because it can never start, or
  // is cancelled or paused, and what is pending must stay stored until then.
  bool NotStarted(const std::string& id, const absl::Status& why);
  void Progressed(const std::string& id, engram::v1::JobProgress progress);
  void Checkpointed(const std::string& id);
  // Its run ends because of this, and can go on later.
  void Lacks(const std::string& id, absl::Status what);
  void Interrupted(const std::string& id);
  void Exited(const std::string& id, jobs::RunExit exit);
  Verdict TakenDown(const std::string& id,
                    const absl::StatusOr<std::optional<engram::worker::v1::RunOutcome>>& outcome);
  void Requeued(const std::string& id, jobs::JobState state);
  // The end is stored; `record`: as it is now.
  void Recorded(const jobs::JobRecord& record);
  // It is tried again, unless it can never succeed: then the job fails with it.
  void NotPublished(const std::string& id, const absl::Status& why);
  void NotRecorded(const std::string& id, const absl::Status& why);
  void Removed(const std::string& id);

  // ---- the server's end
  // No new runs; returns the jobs whose runs are to be asked for a checkpoint.
  std::vector<std::string> Drain();
  // Runs that are left have no time any more; returns their jobs.
  std::vector<std::string> Kill();
  // Whether a run, or work that does not wait for a next try, is left.
  bool Busy() const;

  // ---- looking
  // nullptr if it is not here: it has ended, or never was. As stored at its last change.
  const jobs::JobRecord* Find(const std::string& id) const;
  // After a change of the store: what it holds now.
  void Refresh(const jobs::JobRecord& record);
  // Of a run under way.
  std::optional<engram::v1::JobProgress> Progress(const std::string& id) const;
  // nullopt if it does not wait for something that is lacking.
  std::optional<Delay> Delayed(const std::string& id) const;
  std::map<std::string, Delay> AllDelayed() const;
  std::optional<int64_t> Position(const std::string& id) const { return scheduler_.Position(id); }
  std::set<std::string> Ids() const;

 private:
  enum class Step { kWaiting, kStarting, kRunning, kTakingDown, kConcluding, kRequeuing, kRecorded };
  struct Entry {
    jobs::JobRecord record;
    Step step = Step::kWaiting;
    bool in_hand = false;  // work on it was given out
    // kWaiting, kRequeuing: in no queue until then, because its run was refused; kConcluding: when to try (again).
    absl::Time due = absl::InfinitePast();
    absl::Status refusal;                       // the last one; OK: none since it got further
    int64_t refusals = 0;                       // as many in a row
    std::optional<absl::Status> lack;           // what its run said it lacks
    absl::Time heard = absl::InfiniteFuture();  // kRunning: when the run last said something
    RunSignal interrupted = RunSignal::kNone;   // kRunning: what was sent to a run that hangs
    std::vector<std::string> devices;
    std::optional<engram::v1::JobProgress> progress;
    std::optional<jobs::RunExit> exit;
    int64_t crashes = 0;        // since the last checkpoint
    JobEnding ending;           // kConcluding
    jobs::JobState requeued{};  // kRequeuing
  };
  static bool HasRun(const Entry& entry) {
    return entry.step == Step::kStarting || entry.step == Step::kRunning || entry.step == Step::kTakingDown;
  }
  // What could be given out for it now.
  std::optional<Work::Do> Due(const Entry& entry, absl::Time now) const;
  Entry& At(const std::string& id) { return entries_.at(id); }
  void Conclude(Entry& entry, jobs::JobState state, engram::worker::v1::RunOutcome outcome);
  void Fail(Entry& entry, const absl::Status& why);
  void Requeue(Entry& entry, jobs::JobState state);
  // Sets when to try again, later each time.
  void Postpone(Entry& entry, const absl::Status& why);
  // What a run left that ended by itself, for one reason or another.
  Verdict EndedEarly(Entry& entry, jobs::RunExit exit, const std::optional<absl::Status>& lack, bool hung);
  absl::Time HangsAt(const Entry& entry) const;
  static void GotFurther(Entry& entry) {
    entry.crashes = entry.refusals = 0;
    entry.refusal = absl::OkStatus();
  }
  void Enqueue(const Entry& entry) { scheduler_.Add(entry.record.id, entry.record.priority); }
  void EndOfRun(Entry& entry);

  const JobTableOptions options_;
  const Clock& clock_;
  jobs::Scheduler scheduler_;
  std::map<std::string, Entry> entries_;
  bool draining_ = false, killing_ = false;
};

}  // namespace engram::server
