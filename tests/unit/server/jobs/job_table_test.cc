#include "server/jobs/job_table.h"

#include <csignal>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using engram::worker::v1::RunOutcome;
using jobs::JobState;
using jobs::PendingAction;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Do = JobTable::Work::Do;
using Store = JobChange::Store;

constexpr absl::Duration kTryAgain = absl::Seconds(5), kLongest = absl::Seconds(18), kSilence = absl::Minutes(30),
                         kStopPatience = absl::Minutes(1);

class JobTableTest : public ::testing::Test {
 protected:
  JobTableTest() : table_({{{"cpu"}}, /*max_crashes=*/3, kTryAgain, kLongest, kSilence, kStopPatience}, clock_) {}

  static jobs::JobRecord Job(const std::string& id, JobState state = JobState::kQueued,
                             PendingAction pending = PendingAction::kNone) {
    jobs::JobRecord record;
    record.id = id;
    record.state = state;
    record.pending = pending;
    return record;
  }
  static RunOutcome Success() {
    RunOutcome outcome;
    outcome.mutable_result()->set_steps(7);
    return outcome;
  }
  static std::optional<RunOutcome> Nothing() { return std::nullopt; }

  // The work that must come next.
  JobTable::Work Next(Do what, const std::string& id) {
    EXPECT_TRUE(table_.HasWork());
    auto work = table_.NextWork();
    if (!work) {
      ADD_FAILURE() << "there is no work";
      return {what, id, {}, {}, {}, {}};
    }
    EXPECT_EQ(work->what, what);
    EXPECT_EQ(work->job, id);
    return *std::move(work);
  }
  void ExpectNoWork() {
    EXPECT_FALSE(table_.HasWork());
    EXPECT_FALSE(table_.NextWork());
  }
  // Accepted, started and stored as running.
  void Run(const std::string& id) {
    table_.Accept(Job(id));
    Start(id);
  }
  void Start(const std::string& id) {
    EXPECT_THAT(Next(Do::kStart, id).devices, ElementsAre("cpu"));
    table_.Refresh(Job(id, JobState::kRunning));
    EXPECT_EQ(table_.Started(id), RunSignal::kNone);
  }
  // Its run exits and leaves `outcome`.
  JobTable::Verdict Exit(const std::string& id, jobs::RunExit exit, const std::optional<RunOutcome>& outcome) {
    table_.Exited(id, exit);
    Next(Do::kTakeDown, id);
    return table_.TakenDown(id, outcome);
  }
  void Record(const std::string& id, JobState state) {
    EXPECT_EQ(Next(Do::kConclude, id).ending.state, state);
    table_.Recorded(Job(id, state));
    Next(Do::kRemove, id);
    EXPECT_NE(table_.Find(id), nullptr) << "watchers are told of its end from here";
    table_.Removed(id);
    EXPECT_EQ(table_.Find(id), nullptr);
  }
  void Requeue(const std::string& id, JobState state) {
    EXPECT_EQ(Next(Do::kRequeue, id).state, state);
    table_.Requeued(id, state);
  }

  FakeClock clock_;
  JobTable table_;
};

TEST_F(JobTableTest, AJobRunsIsConcludedAndIsGone) {
  Run("1");
  table_.Accept(Job("2"));
  EXPECT_EQ(table_.Position("2"), 0);
  ExpectNoWork();  // the device is taken
  engram::v1::JobProgress progress;
  progress.set_step(4);
  table_.Progressed("1", progress);
  EXPECT_EQ(table_.Progress("1")->step(), 4);
  EXPECT_EQ(table_.Progress("2"), std::nullopt);
  EXPECT_FALSE(Exit("1", {0, 0}, Success()).crashed);
  EXPECT_EQ(table_.Progress("1"), std::nullopt);
  const auto work = Next(Do::kConclude, "1");
  EXPECT_EQ(work.ending.state, JobState::kSucceeded);
  EXPECT_EQ(work.ending.outcome.result().steps(), 7);
  Start("2");  // while the first is published: the device is free
  table_.Recorded(Job("1", JobState::kSucceeded));
  Next(Do::kRemove, "1");
  table_.Removed("1");
  EXPECT_THAT(table_.Ids(), ElementsAre("2"));
}

TEST_F(JobTableTest, AnOutcomeThatIsAnErrorOrDamagedFailsItsJob) {
  Run("1");
  RunOutcome failed;
  failed.mutable_error()->set_reason("TRAINING_DIVERGED");
  Exit("1", {0, 0}, failed);
  Record("1", JobState::kFailed);
  Run("2");
  table_.Exited("2", {0, 0});
  Next(Do::kTakeDown, "2");
  table_.TakenDown("2", absl::DataLossError("damaged"));
  EXPECT_THAT(Next(Do::kConclude, "2").ending.outcome.error().message(), "damaged");
}

TEST_F(JobTableTest, TheThirdCrashWithoutACheckpointFailsAJob) {
  table_.Accept(Job("1"));
  const auto crash = [&](jobs::RunExit exit) {
    Start("1");
    const auto verdict = Exit("1", exit, Nothing());
    EXPECT_TRUE(verdict.crashed);
    EXPECT_EQ(verdict.exit.signal, exit.signal);
  };
  crash({-1, 9});
  Requeue("1", JobState::kQueued);
  crash({-1, 11});
  Requeue("1", JobState::kQueued);
  Start("1");
  table_.Checkpointed("1");  // it got further: the count begins anew
  EXPECT_TRUE(Exit("1", {-1, 9}, Nothing()).crashed);
  Requeue("1", JobState::kQueued);
  crash({1, 0});
  Requeue("1", JobState::kQueued);
  crash({-1, 9});
  const auto error = Next(Do::kConclude, "1").ending.outcome.error();
  EXPECT_EQ(error.reason(), "WORKER_CRASHED");
  EXPECT_THAT(error.message(), HasSubstr("3 times"));
  EXPECT_THAT(error.message(), HasSubstr("memory"));
}

TEST_F(JobTableTest, PausesQueuedAndRunningJobsAndResumesThem) {
  Run("1");
  table_.Accept(Job("2"));
  auto change = table_.PlanPause("2");
  EXPECT_EQ(change.store, Store::kState);
  EXPECT_EQ(change.state, JobState::kPaused);
  EXPECT_EQ(table_.Position("2"), 0) << "nothing holds that is not stored";
  EXPECT_EQ(table_.Apply(change), RunSignal::kNone);
  EXPECT_EQ(table_.Position("2"), std::nullopt);
  EXPECT_EQ(table_.PlanPause("2").store, Store::kNothing);

  change = table_.PlanPause("1");
  EXPECT_EQ(change.store, Store::kPending);
  EXPECT_EQ(change.pending, PendingAction::kPause);
  EXPECT_EQ(table_.Apply(change), RunSignal::kStop);
  EXPECT_FALSE(Exit("1", {jobs::kExitResumable, 0}, Nothing()).crashed);
  Requeue("1", JobState::kPaused);
  ExpectNoWork();

  const auto resumed = table_.PlanResume("1");
  ASSERT_TRUE(resumed.ok());
  EXPECT_EQ(resumed->store, Store::kState);
  EXPECT_EQ(resumed->state, JobState::kQueued);
  table_.Apply(*resumed);
  EXPECT_EQ(StatusReason(table_.PlanResume("1").status()), "JOB_NOT_PAUSED");
  Start("1");
  EXPECT_EQ(StatusReason(table_.PlanResume("1").status()), "JOB_NOT_PAUSED");
}

TEST_F(JobTableTest, AWorkerThatCrashesInsteadOfPausingIsPausedAllTheSame) {
  Run("1");
  table_.Apply(table_.PlanPause("1"));
  EXPECT_FALSE(Exit("1", {-1, 11}, Nothing()).crashed);
  Requeue("1", JobState::kPaused);
  ExpectNoWork();
}

TEST_F(JobTableTest, ARunThatFinishedInsteadOfPausingHasFinished) {
  Run("1");
  table_.Apply(table_.PlanPause("1"));
  Exit("1", {0, 0}, Success());
  Record("1", JobState::kSucceeded);
}

TEST_F(JobTableTest, CancelsQueuedRunningAndFinishingJobs) {
  Run("1");
  table_.Accept(Job("2"));
  auto change = table_.PlanCancel("2");
  EXPECT_EQ(change.store, Store::kEnding);
  table_.Apply(change);
  ExpectNoWork();  // whoever asked records it
  table_.Recorded(Job("2", JobState::kCancelled));
  EXPECT_EQ(table_.PlanCancel("2").store, Store::kNothing);  // it has ended
  Next(Do::kRemove, "2");
  table_.Removed("2");

  change = table_.PlanCancel("1");
  EXPECT_EQ(change.store, Store::kPending);
  EXPECT_EQ(change.pending, PendingAction::kCancel);
  EXPECT_EQ(table_.Apply(change), RunSignal::kKill);
  table_.Apply(table_.PlanPause("1"));  // overruled
  Exit("1", {0, 0}, Success());         // it was quicker, and is cancelled all the same
  Record("1", JobState::kCancelled);
}

TEST_F(JobTableTest, ACancelDuringPublicationCountsIfThatDoesNotComeToPass) {
  Run("1");
  Exit("1", {0, 0}, Success());
  Next(Do::kConclude, "1");
  const auto change = table_.PlanCancel("1");
  EXPECT_EQ(change.store, Store::kPending);
  EXPECT_EQ(table_.Apply(change), RunSignal::kNone);
  table_.NotPublished("1", absl::ResourceExhaustedError("full"));
  clock_.Advance(kTryAgain);
  Record("1", JobState::kCancelled);
}

TEST_F(JobTableTest, WhatWasAskedWhileARunStartedIsToldToIt) {
  table_.Accept(Job("1"));
  Next(Do::kStart, "1");
  EXPECT_EQ(table_.Apply(table_.PlanPause("1")), RunSignal::kStop);
  EXPECT_EQ(table_.Started("1"), RunSignal::kStop);
  Exit("1", {jobs::kExitResumable, 0}, Nothing());
  Requeue("1", JobState::kPaused);

  table_.Accept(Job("2"));
  Next(Do::kStart, "2");
  table_.Apply(table_.PlanCancel("2"));
  EXPECT_FALSE(table_.NotStarted("2", absl::ResourceExhaustedError("processes")));
  Record("2", JobState::kCancelled);
  table_.Accept(Job("3"));
  Next(Do::kStart, "3");
  table_.Apply(table_.PlanPause("3"));
  EXPECT_FALSE(table_.NotStarted("3", absl::ResourceExhaustedError("processes")));
  Requeue("3", JobState::kPaused);
}

TEST_F(JobTableTest, ARunThatIsRefusedForNowIsTriedAgainAndOthersGoAheadOfIt) {
  table_.Accept(Job("1"));
  Next(Do::kStart, "1");
  EXPECT_TRUE(table_.NotStarted("1", absl::ResourceExhaustedError("processes")));
  EXPECT_EQ(table_.Find("1")->state, JobState::kQueued);
  EXPECT_EQ(table_.NextTry(), clock_.Now() + kTryAgain);
  ExpectNoWork();
  EXPECT_FALSE(table_.Busy());
  clock_.Advance(kTryAgain - absl::Milliseconds(1));
  ExpectNoWork();
  clock_.Advance(absl::Milliseconds(1));
  Requeue("1", JobState::kQueued);
  EXPECT_EQ(table_.NextTry(), absl::InfiniteFuture());
  Start("1");
}

TEST_F(JobTableTest, ARunThatWaitsForItsNextTryIsPausedAndCancelled) {
  for (const char* id : {"1", "2"}) {
    table_.Accept(Job(id));
    Next(Do::kStart, id);
    EXPECT_TRUE(table_.NotStarted(id, absl::UnavailableError("busy")));
  }
  table_.Apply(table_.PlanPause("1"));
  EXPECT_EQ(table_.PlanCancel("2").store, Store::kEnding);
  table_.Apply(table_.PlanCancel("2"));
  table_.Recorded(Job("2", JobState::kCancelled));
  Next(Do::kRemove, "2");
  table_.Removed("2");
  clock_.Advance(2 * kTryAgain);
  ExpectNoWork();
  table_.Apply(*table_.PlanResume("1"));
  Start("1");
}

TEST_F(JobTableTest, ARunThatCannotBeStartedAtAllFailsItsJob) {
  table_.Accept(Job("1"));
  Next(Do::kStart, "1");
  EXPECT_FALSE(table_.NotStarted("1", absl::DataLossError("the specification is damaged")));
  Record("1", JobState::kFailed);
  Run("2");  // the device is free again
}

TEST_F(JobTableTest, AnEndThatIsNotTakenIsTriedAgainAndHoldsNoDevice) {
  Run("1");
  Exit("1", {0, 0}, Success());
  for (const int64_t wait : {5, 10, 18}) {
    const auto work = Next(Do::kConclude, "1");
    EXPECT_EQ(work.ending.outcome.result().steps(), 7);
    if (wait == 10) {
      table_.NotPublished("1", absl::ResourceExhaustedError("full"));
    } else {
      table_.NotRecorded("1", absl::InternalError("who knows"));
    }
    ExpectNoWork();
    EXPECT_FALSE(table_.Busy());
    EXPECT_EQ(table_.NextTry(), clock_.Now() + absl::Seconds(wait));
    clock_.Advance(absl::Seconds(wait));
  }
  Next(Do::kConclude, "1");
  table_.NotPublished("1", absl::AlreadyExistsError("something else lies there"));
  Record("1", JobState::kFailed);
  Run("2");
}

TEST_F(JobTableTest, AnEndThatCanNeverBeRecordedFailsTheJob) {
  Run("1");
  Exit("1", {0, 0}, Success());
  Next(Do::kConclude, "1");
  table_.NotRecorded("1", absl::AlreadyExistsError("another version has the number"));
  EXPECT_EQ(Next(Do::kConclude, "1").ending.state, JobState::kFailed);
  table_.NotRecorded("1", absl::AlreadyExistsError("and that is not taken either"));
  ExpectNoWork();  // it waits, and does not turn round and round
  clock_.Advance(kTryAgain);
  Record("1", JobState::kFailed);
}

TEST_F(JobTableTest, WhatLacksIsWaitedForLongerAndLongerUntilTheJobGetsFurther) {
  const absl::Status full = StatusWithReason(absl::StatusCode::kResourceExhausted, "DISK_FULL", "no space");
  table_.Accept(Job("1"));
  // By two ways: no run can be started, a run ends.
  const auto lack = [&](bool started, absl::Duration wait, int64_t tries) {
    if (started) {
      Start("1");
      table_.Lacks("1", full);
      EXPECT_FALSE(Exit("1", {jobs::kExitResumable, 0}, Nothing()).crashed);
      Requeue("1", JobState::kQueued);
    } else {
      Next(Do::kStart, "1");
      EXPECT_TRUE(table_.NotStarted("1", full));
    }
    ExpectNoWork();
    const std::optional<Delay> delay = table_.Delayed("1");
    ASSERT_TRUE(delay);
    EXPECT_EQ(StatusReason(delay->why), "DISK_FULL");
    EXPECT_EQ(delay->until, clock_.Now() + wait);
    EXPECT_EQ(delay->tries, tries);
    EXPECT_EQ(table_.AllDelayed().size(), 1);
    EXPECT_EQ(table_.NextTry(), delay->until);
    clock_.Advance(wait);
    Requeue("1", JobState::kQueued);
    EXPECT_FALSE(table_.Delayed("1")) << "it is in the queue again";
  };
  lack(true, absl::Seconds(5), 1);
  lack(false, absl::Seconds(10), 2);
  for (int64_t i = 3; i < 100; ++i) lack(i % 2 == 0, kLongest, i);
  Start("1");
  table_.Checkpointed("1");
  table_.Lacks("1", full);
  Exit("1", {jobs::kExitResumable, 0}, Nothing());
  Requeue("1", JobState::kQueued);
  EXPECT_EQ(table_.Delayed("1")->until, clock_.Now() + kTryAgain);
  // Whoever pauses and resumes it has it tried at once.
  table_.Apply(table_.PlanPause("1"));
  table_.Apply(*table_.PlanResume("1"));
  Start("1");
}

TEST_F(JobTableTest, ADiskThatFailsUnderAMappedFileIsNoCrash) {
  table_.Accept(Job("1"));
  for (int i = 0; i < 7; ++i) {  // more than max_crashes
    Start("1");
    EXPECT_FALSE(Exit("1", {-1, SIGBUS}, Nothing()).crashed);
    Requeue("1", JobState::kQueued);
    EXPECT_EQ(StatusReason(table_.Delayed("1")->why), "DISK_FAILING");
    clock_.Advance(kLongest);
    Requeue("1", JobState::kQueued);
  }
}

TEST_F(JobTableTest, MemoryThatLacksEachTimeFailsTheJobInTheEnd) {
  table_.Accept(Job("1"));
  for (int i = 0; i < 2; ++i) {
    Start("1");
    table_.Lacks("1", StatusWithReason(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "smaller batches"));
    Exit("1", {jobs::kExitResumable, 0}, Nothing());
    Requeue("1", JobState::kQueued);
    clock_.Advance(kLongest);
    Requeue("1", JobState::kQueued);
  }
  Start("1");
  table_.Lacks("1", StatusWithReason(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "smaller batches"));
  EXPECT_FALSE(Exit("1", {jobs::kExitResumable, 0}, Nothing()).crashed);
  EXPECT_EQ(Next(Do::kConclude, "1").ending.outcome.error().reason(), "OUT_OF_MEMORY");
}

TEST_F(JobTableTest, AResultThatCannotBeReadForNowIsReadByTheNextRun) {
  Run("1");
  table_.Exited("1", {0, 0});
  Next(Do::kTakeDown, "1");
  table_.TakenDown("1", absl::UnavailableError("reading a file: Input/output error"));
  Requeue("1", JobState::kQueued);
  clock_.Advance(kTryAgain);
  Requeue("1", JobState::kQueued);
  Start("1");
  Exit("1", {0, 0}, Success());
  Record("1", JobState::kSucceeded);
}

TEST_F(JobTableTest, ARunThatSaysNothingIsStoppedThenKilledThenStartedAgain) {
  const auto interrupt = [&](RunSignal signal) {
    EXPECT_EQ(Next(Do::kInterrupt, "1").signal, signal);
    table_.Interrupted("1");
    ExpectNoWork();
  };
  Run("1");
  clock_.Advance(kSilence - absl::Seconds(1));
  table_.Progressed("1", {});
  clock_.Advance(kSilence - absl::Seconds(1));
  table_.Checkpointed("1");
  EXPECT_EQ(table_.NextTry(), clock_.Now() + kSilence);
  for (int hangs = 1; hangs <= 3; ++hangs) {
    clock_.Advance(kSilence - absl::Seconds(1));
    ExpectNoWork();
    clock_.Advance(absl::Seconds(1));
    interrupt(RunSignal::kStop);
    EXPECT_EQ(table_.NextTry(), clock_.Now() + kStopPatience);
    clock_.Advance(kStopPatience);
    interrupt(RunSignal::kKill);
    EXPECT_EQ(table_.NextTry(), absl::InfiniteFuture());
    EXPECT_TRUE(Exit("1", {-1, SIGKILL}, Nothing()).crashed);
    if (hangs == 3) break;
    Requeue("1", JobState::kQueued);
    Start("1");
  }
  EXPECT_EQ(Next(Do::kConclude, "1").ending.outcome.error().reason(), "WORKER_HUNG");
}

TEST_F(JobTableTest, AfterAStartEachJobIsWhereTheStoreSays) {
  table_.TakeUp(Job("1", JobState::kPaused), Nothing());
  table_.TakeUp(Job("2", JobState::kRunning, PendingAction::kCancel), std::optional(Success()));
  table_.TakeUp(Job("3", JobState::kRunning), std::optional(Success()));
  table_.TakeUp(Job("4", JobState::kRunning, PendingAction::kPause), Nothing());
  table_.TakeUp(Job("5", JobState::kRunning), Nothing());
  table_.TakeUp(Job("6", JobState::kQueued), Nothing());
  table_.TakeUp(Job("7", JobState::kRunning), absl::DataLossError("damaged"));
  table_.TakeUp(Job("8", JobState::kRunning), absl::UnavailableError("the disk fails"));
  std::map<std::string, JobState> ends;
  while (const auto work = table_.NextWork(/*may_start=*/false)) {
    if (work->what == Do::kConclude) {
      ends[work->job] = work->ending.state;
      table_.Recorded(Job(work->job, work->ending.state));
    } else if (work->what == Do::kRequeue) {
      ends[work->job] = work->state;
      table_.Requeued(work->job, work->state);
    } else {
      ASSERT_EQ(work->what, Do::kRemove);
      table_.Removed(work->job);
    }
  }
  EXPECT_EQ(ends, (std::map<std::string, JobState>{{"2", JobState::kCancelled},
                                                   {"3", JobState::kSucceeded},
                                                   {"4", JobState::kPaused},
                                                   {"5", JobState::kQueued},
                                                   {"6", JobState::kQueued},
                                                   {"7", JobState::kFailed},
                                                   {"8", JobState::kQueued}}));
  EXPECT_THAT(table_.Ids(), ElementsAre("1", "4", "5", "6", "8"));
  EXPECT_EQ(table_.Position("8"), std::nullopt) << "it waits for the disk";
  Start("5");
}

TEST_F(JobTableTest, ARunThatIsStillThereKeepsItsDevice) {
  ASSERT_TRUE(table_.TakeUpRunning(Job("1", JobState::kRunning), {"cpu"}));
  EXPECT_FALSE(table_.TakeUpRunning(Job("2", JobState::kRunning), {"cpu"}));
  EXPECT_EQ(table_.Find("2"), nullptr);
  EXPECT_EQ(table_.Started("1"), RunSignal::kNone);
  table_.Accept(Job("3"));
  ExpectNoWork();
  Exit("1", {0, 0}, Success());
  Record("1", JobState::kSucceeded);
  Start("3");
}

TEST_F(JobTableTest, ARunThatIsNotThereAnyMoreGivesItsDeviceBack) {
  ASSERT_TRUE(table_.TakeUpRunning(Job("1", JobState::kRunning), {"cpu"}));
  table_.NotAttached("1", Nothing());
  Requeue("1", JobState::kQueued);
  Start("1");
  Exit("1", {-1, 9}, Nothing());
  Requeue("1", JobState::kQueued);
  table_.Apply(table_.PlanPause("1"));
  ASSERT_TRUE(table_.TakeUpRunning(Job("2", JobState::kRunning, PendingAction::kCancel), {"cpu"}));
  table_.NotAttached("2", Nothing());
  Record("2", JobState::kCancelled);
  // It had ended by the time that somebody looked for it.
  ASSERT_TRUE(table_.TakeUpRunning(Job("3", JobState::kRunning), {"cpu"}));
  table_.NotAttached("3", Success());
  Record("3", JobState::kSucceeded);
  Run("4");  // the device is free
}

TEST_F(JobTableTest, ADrainingTableStartsNothingAndQueuesWhatStops) {
  Run("1");
  table_.Accept(Job("2"));
  EXPECT_THAT(table_.Drain(), ElementsAre("1"));
  EXPECT_TRUE(table_.Busy());
  // A crash is no crash any more: somebody is killing.
  EXPECT_FALSE(Exit("1", {-1, 9}, Nothing()).crashed);
  Requeue("1", JobState::kQueued);
  EXPECT_FALSE(table_.Busy());
  ExpectNoWork();
}

TEST_F(JobTableTest, ARunThatStartsWhileTheServerEndsIsStoppedOrKilled) {
  table_.Accept(Job("1"));
  Next(Do::kStart, "1");
  EXPECT_THAT(table_.Drain(), ElementsAre());
  EXPECT_TRUE(table_.Busy());
  EXPECT_EQ(table_.Started("1"), RunSignal::kStop);
  EXPECT_THAT(table_.Kill(), ElementsAre("1"));
  EXPECT_EQ(table_.Started("1"), RunSignal::kKill);
}

TEST_F(JobTableTest, WhatAnEndedRunStillSaysIsNotHeeded) {
  Run("1");
  Exit("1", {jobs::kExitResumable, 0}, Nothing());
  Requeue("1", JobState::kQueued);
  table_.Progressed("1", {});
  table_.Exited("1", {0, 0});
  table_.Progressed("0", {});
  EXPECT_EQ(table_.Progress("1"), std::nullopt);
  Start("1");
  ExpectNoWork();
}

}  // namespace
}  // namespace engram::server
