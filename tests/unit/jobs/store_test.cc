#include "core/jobs/store.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::jobs {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-store-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    Reopen();
    ASSERT_TRUE(store_->AddDataset({"rows", 1, 2, 0, {"a", "b"}, "d", {}, 10}).ok());
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }
  // As after a kill: nothing is said to the old one but the end of its connection.
  void Reopen() {
    store_.reset();
    auto store = Store::Open(directory_ + "/engram.db", clock_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  int64_t Publish(const std::string& model, const std::string& label) {
    VersionRecord version;
    version.model = model;
    version.number = *store_->ReserveVersion(model);
    EXPECT_TRUE(store_->AddVersion(version, label, {}).ok());
    return version.number;
  }
  JobRecord Add(int64_t priority = 0, const RequestKey& key = {}) {
    JobRecord job;
    job.model = "news";
    job.priority = priority;
    job.description = std::string("bytes\0with zero", 15);
    job.datasets = {"rows"};
    auto added = store_->AddJob(job, true, key, 100);
    EXPECT_TRUE(added.ok()) << added.status();
    return *added;
  }

  FakeClock clock_;
  std::string directory_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, JobsSurviveAndKeepTheirOrderWithinAMillisecond) {
  const JobRecord first = Add(), second = Add();
  EXPECT_LT(first.id, second.id);
  EXPECT_EQ(first.version, 1);
  EXPECT_EQ(second.version, 2);
  Reopen();
  const JobRecord third = Add();
  EXPECT_LT(second.id, third.id);
  const auto jobs = store_->ListJobs("", 10, "", std::nullopt);
  ASSERT_TRUE(jobs.ok());
  ASSERT_EQ(jobs->size(), 3);
  EXPECT_EQ((*jobs)[0].id, third.id);
  EXPECT_EQ((*jobs)[2].description, std::string("bytes\0with zero", 15));
  EXPECT_EQ((*store_->ListJobs(second.id, 10, "", std::nullopt))[0].id, first.id);
}

TEST_F(StoreTest, ARequestIdGivesTheSameResourceAndNoOther) {
  const RequestKey key{"r1", "StartTask", "digest"};
  EXPECT_EQ(*store_->FindRequest(key), std::nullopt);
  const JobRecord job = Add(0, key);
  EXPECT_EQ(*store_->FindRequest(key), job.id);
  EXPECT_EQ(StatusReason(store_->FindRequest({"r1", "StartTask", "other"}).status()), "REQUEST_ID_REUSED");
  JobRecord again;
  again.model = "news";
  EXPECT_EQ(store_->AddJob(again, true, key, 100).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store_->UnfinishedJobs()->size(), 1);  // the refused one left nothing behind
}

TEST_F(StoreTest, TheQueueHasALimit) {
  Add();
  JobRecord job;
  job.model = "news";
  EXPECT_EQ(StatusReason(store_->AddJob(job, true, {}, 1).status()), "QUEUE_FULL");
}

TEST_F(StoreTest, AJobEndsOnceAndPublishesWithItsLabel) {
  JobRecord job;
  job.model = "news";
  job.label = "canary";
  job = *store_->AddJob(job, true, {}, 10);
  EXPECT_EQ(StatusReason(store_->GetModel("news").status()), "MODEL_NOT_FOUND");  // no version yet
  VersionRecord version;
  version.model = "news";
  version.number = job.version;
  version.job = job.id;
  ASSERT_TRUE(store_->EndJob(job.id, JobState::kSucceeded, "result", version).ok());
  ASSERT_TRUE(store_->EndJob(job.id, JobState::kFailed, "late", std::nullopt).ok());
  EXPECT_EQ(store_->GetJob(job.id)->state, JobState::kSucceeded);
  EXPECT_EQ(store_->GetJob(job.id)->outcome, "result");
  EXPECT_THAT(store_->GetModel("news")->labels, ElementsAre(Pair("canary", job.version)));
  EXPECT_TRUE(store_->UnfinishedJobs()->empty());
}

TEST_F(StoreTest, ARequestSurvivesUntilItIsSettledAndACancelOverrulesAPause) {
  const JobRecord job = Add(), other = Add();
  ASSERT_TRUE(store_->BeginRun(job.id).ok());
  ASSERT_TRUE(store_->SetPending(job.id, PendingAction::kCancel).ok());
  ASSERT_TRUE(store_->SetPending(job.id, PendingAction::kPause).ok());
  Reopen();
  EXPECT_EQ(store_->GetJob(job.id)->pending, PendingAction::kCancel);
  EXPECT_EQ(store_->GetJob(job.id)->state, JobState::kRunning);
  EXPECT_EQ(store_->GetJob(other.id)->pending, PendingAction::kNone);
  ASSERT_TRUE(store_->SetJobState(job.id, JobState::kPaused).ok());
  EXPECT_EQ(store_->GetJob(job.id)->pending, PendingAction::kNone);
}

TEST_F(StoreTest, OpensWhatEarlierFormatsWroteAndNothingNewer) {
  const int64_t base = Publish("news", "");
  const auto change = [this](const std::string& script) {
    store_.reset();
    auto database = Database::Open(directory_ + "/engram.db");
    ASSERT_TRUE(database.ok());
    ASSERT_EQ((*database)->Script(script), absl::OkStatus());
  };
  // Format 2 had no jobs without a model; format 1 knew of no pending actions either.
  for (const int format : {1, 2}) {
    SCOPED_TRACE(format);
    const std::string request = format == 1 ? "" : ", request";
    const JobRecord first = Add();
    JobRecord later;
    later.model = "news";
    later.base_version = base;
    later = *store_->AddJob(later, /*makes_version=*/true, {}, 100);
    ASSERT_TRUE(store_->SetPending(later.id, PendingAction::kCancel).ok());
    change(absl::StrCat(
        "DROP TABLE identity; DROP TABLE removals; ALTER TABLE datasets DROP COLUMN validation_rows;"
        "ALTER TABLE jobs RENAME TO now; DROP INDEX jobs_by_base; DROP INDEX jobs_by_state;"
        "CREATE TABLE jobs(id TEXT PRIMARY KEY, state INTEGER NOT NULL, model TEXT NOT NULL,"
        "  base_version INTEGER NOT NULL, version INTEGER NOT NULL, label TEXT NOT NULL,"
        "  datasets TEXT NOT NULL, priority INTEGER NOT NULL, created INTEGER NOT NULL, started INTEGER,"
        "  ended INTEGER, attempts INTEGER NOT NULL, description BLOB NOT NULL, specification BLOB,"
        "  outcome BLOB",
        format == 1 ? "" : ", request INTEGER NOT NULL DEFAULT 0",
        "); INSERT INTO jobs SELECT id, state, model, coalesce(base_version, 0), version, label, datasets,"
        "  priority, created, started, ended, attempts, description, specification, outcome",
        request, " FROM now WHERE model IS NOT NULL; DROP TABLE now; CREATE INDEX jobs_by_state ON jobs(state);",
        "PRAGMA user_version=", format));
    Reopen();
    const auto kept = store_->GetJob(first.id);
    ASSERT_TRUE(kept.ok());
    EXPECT_EQ(kept->model, "news");
    EXPECT_EQ(kept->base_version, 0);
    EXPECT_EQ(kept->version, first.version);
    EXPECT_EQ(kept->description, first.description);
    EXPECT_EQ(kept->created, first.created);
    EXPECT_THAT(kept->datasets, ElementsAre("rows"));
    EXPECT_EQ(store_->GetDataset("rows")->training_rows, 2);
    EXPECT_EQ(store_->GetDataset("rows")->validation_rows, 0);  // parts for validation came with format 5
    EXPECT_EQ(store_->GetJob(later.id)->base_version, base);
    EXPECT_EQ(store_->GetJob(later.id)->pending, format == 1 ? PendingAction::kNone : PendingAction::kCancel);
    EXPECT_EQ(StatusReason(store_->DeleteVersion("news", base)), "VERSION_IN_USE");
    ASSERT_TRUE(store_->SetPending(first.id, PendingAction::kPause).ok());
    EXPECT_EQ(store_->GetJob(first.id)->pending, PendingAction::kPause);
    // What belongs to no model came with format 3.
    EXPECT_TRUE(store_->AddJob(JobRecord(), false, {}, 100).ok());
    change("");
    auto database = Database::Open(directory_ + "/engram.db");
    EXPECT_EQ((*database)->Query("SELECT 1 FROM sqlite_master WHERE name IN ('jobs_by_state', 'jobs_by_base')")->size(),
              2);
    Reopen();
    const auto unfinished = store_->UnfinishedJobs();
    ASSERT_TRUE(unfinished.ok());
    for (const JobRecord& job : *unfinished)
      ASSERT_TRUE(store_->EndJob(job.id, JobState::kFailed, "", std::nullopt).ok());
  }
  change("PRAGMA user_version=1000");
  EXPECT_EQ(Store::Open(directory_ + "/engram.db", clock_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StoreTest, ValidationRowsAreKept) {
  DatasetRecord dataset{"parts", 1, 20, 4, {"a", "b"}, "digest", {}, 99};
  dataset.validation_rows = 7;
  ASSERT_TRUE(store_->AddDataset(dataset).ok());
  Reopen();
  EXPECT_EQ(store_->GetDataset("parts")->validation_rows, 7);
  EXPECT_EQ(store_->GetDataset("parts")->size_bytes, 99);
  EXPECT_TRUE(store_->DeleteDataset("parts", /*validate_only=*/true).ok());
  EXPECT_TRUE(store_->GetDataset("parts").ok());
  EXPECT_TRUE(store_->DeleteDataset("parts").ok());
  EXPECT_TRUE(absl::IsNotFound(store_->DeleteDataset("parts", /*validate_only=*/true)));
}

TEST_F(StoreTest, LabelsAndModelsAreDeletedAndTheirNumbersNeverGivenOutAgain) {
  const int64_t first = Publish("news", "stable"), second = Publish("news", "canary");
  ASSERT_TRUE(store_->DeleteLabel("news", "canary").ok());
  EXPECT_EQ(StatusReason(store_->DeleteLabel("news", "canary")), "LABEL_NOT_FOUND");
  EXPECT_EQ(StatusReason(store_->DeleteLabel("nobody", "canary")), "MODEL_NOT_FOUND");
  EXPECT_FALSE(store_->GetModel("news")->labels.contains("canary"));
  EXPECT_TRUE(store_->GetVersion("news", second).ok());
  const JobRecord job = Add();
  EXPECT_EQ(StatusReason(store_->DeleteModel("news").status()), "MODEL_IN_USE");
  EXPECT_TRUE(store_->GetVersion("news", first).ok());
  ASSERT_TRUE(store_->EndJob(job.id, JobState::kFailed, "", std::nullopt).ok());
  const auto deleted = store_->DeleteModel("news");
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_THAT(*deleted, ::testing::UnorderedElementsAre(first, second));
  EXPECT_EQ(StatusReason(store_->GetModel("news").status()), "MODEL_NOT_FOUND");
  EXPECT_EQ(StatusReason(store_->DeleteModel("news").status()), "MODEL_NOT_FOUND");
  EXPECT_GT(Publish("news", "stable"), job.version);
  EXPECT_EQ(StatusReason(store_->RollbackLabel("news", "stable").status()), "NOTHING_TO_ROLL_BACK");
}

TEST_F(StoreTest, AJobNeedNotBelongToAModelNorStartFromAVersion) {
  JobRecord job;
  job.datasets = {"rows"};
  EXPECT_FALSE(store_->AddJob(job, /*makes_version=*/true, {}, 10).ok());  // of which model?
  job = *store_->AddJob(job, /*makes_version=*/false, {}, 10);
  Reopen();
  const auto kept = store_->GetJob(job.id);
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(kept->model, "");
  EXPECT_EQ(kept->base_version, 0);
  EXPECT_EQ(kept->version, 0);
  EXPECT_EQ(store_->ListJobs("", 10, "", std::nullopt)->size(), 1);
  EXPECT_EQ(store_->ListJobs("", 10, "news", std::nullopt)->size(), 0);
  EXPECT_EQ(StatusReason(store_->DeleteDataset("rows")), "DATASET_IN_USE");
  ASSERT_TRUE(store_->EndJob(job.id, JobState::kSucceeded, "a report", std::nullopt).ok());
  EXPECT_EQ(store_->GetJob(job.id)->outcome, "a report");
}

TEST_F(StoreTest, VersionsResolveByNumberLabelAndDefault) {
  const int64_t one = Publish("news", ""), two = Publish("news", "stable"), three = Publish("news", "");
  EXPECT_EQ(*store_->ResolveVersion("news", "1"), one);
  EXPECT_EQ(*store_->ResolveVersion("news", "stable"), two);
  EXPECT_EQ(*store_->ResolveVersion("news", ""), two);
  EXPECT_EQ(store_->GetModel("news")->latest, three);
  EXPECT_EQ(StatusReason(store_->ResolveVersion("news", "9").status()), "VERSION_NOT_FOUND");
  EXPECT_EQ(StatusReason(store_->ResolveVersion("news", "canary").status()), "VERSION_NOT_FOUND");
  EXPECT_EQ(StatusReason(store_->ResolveVersion("olds", "").status()), "MODEL_NOT_FOUND");
}

// A transaction that waits for the disk, or for somebody else's lock, keeps no call from finding its version.
TEST_F(StoreTest, VersionsResolveWithoutTheDatabase) {
  const int64_t one = Publish("news", "stable"), two = Publish("news", "");
  Reopen();
  auto other = Database::Open(directory_ + "/engram.db");
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE((*other)->Script("ALTER TABLE versions RENAME TO gone").ok());
  ASSERT_FALSE(store_->GetModel("news").ok());
  EXPECT_EQ(*store_->ResolveVersion("news", ""), one);
  EXPECT_EQ(*store_->ResolveVersion("news", "2"), two);
  EXPECT_EQ(StatusReason(store_->ResolveVersion("olds", "").status()), "MODEL_NOT_FOUND");
  // What may have changed and cannot be read is asked for again.
  EXPECT_FALSE(store_->SetLabel("news", "stable", two).ok());
  EXPECT_FALSE(store_->ResolveVersion("news", "").ok());
  ASSERT_TRUE((*other)->Script("ALTER TABLE gone RENAME TO versions").ok());
  EXPECT_EQ(*store_->ResolveVersion("news", ""), one);
}

TEST_F(StoreTest, VersionsResolveAsTheDatabaseHasThemAfterEachChange) {
  const auto agree = [this](const std::string& what) {
    const auto model = store_->GetModel("news");
    const auto found = store_->ResolveVersion("news", "");
    ASSERT_EQ(found.ok(), model.ok()) << what;
    if (!model.ok()) return;
    const auto stable = model->labels.find("stable");
    EXPECT_EQ(*found, stable == model->labels.end() ? model->latest : stable->second) << what;
    for (int64_t number = 1; number < 8; ++number) {
      EXPECT_EQ(store_->ResolveVersion("news", absl::StrCat(number)).ok(), store_->GetVersion("news", number).ok())
          << what << number;
    }
    for (const char* label : {"stable", "canary"})
      EXPECT_EQ(store_->ResolveVersion("news", label).ok(), model->labels.contains(label)) << what << label;
  };
  agree("nothing");
  const int64_t one = Publish("news", "");
  agree("a version");
  const int64_t two = Publish("news", "stable");
  agree("a labelled version");
  ASSERT_TRUE(store_->SetLabel("news", "stable", one).ok());
  ASSERT_TRUE(store_->SetLabel("news", "canary", two).ok());
  agree("labels");
  ASSERT_TRUE(store_->RollbackLabel("news", "stable").ok());
  agree("a label rolled back");
  EXPECT_FALSE(store_->SetLabel("news", "stable", 7).ok());
  EXPECT_FALSE(store_->DeleteVersion("news", two).ok());
  agree("refused");
  const JobRecord job = Add();
  VersionRecord made;
  made.model = "news";
  made.number = job.version;
  ASSERT_TRUE(store_->EndJob(job.id, JobState::kSucceeded, "", made).ok());
  agree("a job's version");
  ASSERT_TRUE(store_->DeleteLabel("news", "stable").ok());
  agree("a label deleted");
  ASSERT_TRUE(store_->DeleteVersion("news", job.version).ok());
  agree("a version deleted");
  Reopen();
  agree("opened again");
  ASSERT_TRUE(store_->DeleteModel("news").ok());
  agree("the model deleted");
}

TEST_F(StoreTest, LabelsRollBackStepByStep) {
  const int64_t one = Publish("news", "stable"), two = Publish("news", "stable"), three = Publish("news", "stable");
  EXPECT_EQ(*store_->RollbackLabel("news", "stable"), two);
  EXPECT_EQ(*store_->RollbackLabel("news", "stable"), one);
  EXPECT_EQ(store_->RollbackLabel("news", "stable").status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(store_->SetLabel("news", "stable", three).ok());
  EXPECT_EQ(*store_->RollbackLabel("news", "stable"), one);
}

TEST_F(StoreTest, WhatIsInUseIsNotDeleted) {
  const int64_t labelled = Publish("news", "stable"), free = Publish("news", "");
  EXPECT_EQ(StatusReason(store_->DeleteVersion("news", labelled)), "VERSION_IN_USE");
  JobRecord job;
  job.model = "news";
  job.base_version = free;
  job.datasets = {"emotion"};
  // Deleted between the plan and its acceptance.
  EXPECT_EQ(StatusReason(store_->AddJob(job, true, {}, 10).status()), "DATASET_NOT_FOUND");
  ASSERT_TRUE(store_->AddDataset({"emotion", 1, 2, 0, {"a", "b"}, "d", {}, 10}).ok());
  job = *store_->AddJob(job, true, {}, 10);
  EXPECT_EQ(StatusReason(store_->DeleteVersion("news", free)), "VERSION_IN_USE");
  EXPECT_EQ(StatusReason(store_->DeleteDataset("emotion")), "DATASET_IN_USE");
  ASSERT_TRUE(store_->EndJob(job.id, JobState::kCancelled, "", std::nullopt).ok());
  EXPECT_TRUE(store_->DeleteVersion("news", free).ok());
  EXPECT_TRUE(store_->DeleteDataset("emotion").ok());
  EXPECT_EQ(StatusReason(store_->GetDataset("emotion").status()), "DATASET_NOT_FOUND");
  // A deleted number is not given out again.
  EXPECT_GT(Publish("news", ""), job.version);
}

TEST_F(StoreTest, KnowsWhatBecameOfANumber) {
  const int64_t published = Publish("news", ""), lost = *store_->ReserveVersion("news");
  const JobRecord job = Add();
  EXPECT_EQ(*store_->UseOfNumber("news", published), NumberUse::kVersion);
  EXPECT_EQ(*store_->UseOfNumber("news", lost), NumberUse::kAbandoned);
  EXPECT_EQ(*store_->UseOfNumber("news", job.version), NumberUse::kPending);
  EXPECT_EQ(*store_->UseOfNumber("news", job.version + 1), NumberUse::kUnknown);
  EXPECT_EQ(*store_->UseOfNumber("olds", 1), NumberUse::kUnknown);
  ASSERT_TRUE(store_->EndJob(job.id, JobState::kCancelled, "", std::nullopt).ok());
  EXPECT_EQ(*store_->UseOfNumber("news", job.version), NumberUse::kAbandoned);
  const JobRecord other = Add();
  ASSERT_TRUE(store_->EndJob(other.id, JobState::kFailed, "", std::nullopt).ok());
  EXPECT_EQ(*store_->UseOfNumber("news", other.version), NumberUse::kUnknown) << "whose it is, nobody knows";
  ASSERT_TRUE(store_->DeleteVersion("news", published).ok());
  EXPECT_EQ(*store_->UseOfNumber("news", published), NumberUse::kAbandoned);
  ASSERT_TRUE(store_->ForgetRemovals().ok());
  EXPECT_EQ(*store_->UseOfNumber("news", published), NumberUse::kUnknown);
  ASSERT_TRUE(store_->SkipNumbers("news", 40).ok());
  ASSERT_TRUE(store_->SkipNumbers("news", 7).ok());
  EXPECT_EQ(*store_->ReserveVersion("news"), 41);
  ASSERT_TRUE(store_->SkipNumbers("unheard", 5).ok());
  EXPECT_EQ(*store_->ReserveVersion("unheard"), 6);
}

TEST_F(StoreTest, RemembersWhichDirectoriesOfDataSetsMayGo) {
  EXPECT_FALSE(*store_->DatasetAbandoned("half"));
  ASSERT_TRUE(store_->ExpectDataset("half").ok());
  Reopen();
  EXPECT_TRUE(*store_->DatasetAbandoned("half"));
  ASSERT_TRUE(store_->AddDataset({"half", 1, 2, 0, {"a"}, "d", {}, 10}).ok());
  EXPECT_FALSE(*store_->DatasetAbandoned("half"));
  ASSERT_TRUE(store_->DeleteDataset("half", /*validate_only=*/true).ok());
  EXPECT_FALSE(*store_->DatasetAbandoned("half"));
  ASSERT_TRUE(store_->DeleteDataset("half").ok());
  EXPECT_TRUE(*store_->DatasetAbandoned("half"));
}

TEST_F(StoreTest, StartsAreCountedAndNeverBehindTheMark) {
  const DatabaseIdentity made = *store_->Identity();
  EXPECT_EQ(made.id.size(), 32);
  EXPECT_EQ(made.starts, 0);
  EXPECT_EQ(store_->CountStart(0)->starts, 1);
  Reopen();
  EXPECT_EQ(store_->CountStart(0)->starts, 2);
  EXPECT_EQ(store_->CountStart(9)->starts, 10);
  EXPECT_EQ(store_->Identity()->id, made.id);
}

TEST_F(StoreTest, AFailedJobComesBackWithAllThatItNeedsOrNotAtAll) {
  const int64_t base = Publish("news", "");
  JobRecord job;
  job.model = "news";
  job.base_version = base;
  job.datasets = {"rows"};
  job.specification = "what to do";
  job = *store_->AddJob(job, true, {}, 10);
  EXPECT_EQ(StatusReason(store_->ReviveJob(job.id, 10).status()), "JOB_ENDED");  // it is still there
  ASSERT_TRUE(store_->BeginRun(job.id).ok());
  ASSERT_TRUE(store_->EndJob(job.id, JobState::kFailed, "why", std::nullopt).ok());
  EXPECT_EQ(StatusReason(store_->ReviveJob(job.id, 0).status()), "QUEUE_FULL");
  const auto revived = store_->ReviveJob(job.id, 10);
  ASSERT_TRUE(revived.ok()) << revived.status();
  EXPECT_EQ(revived->state, JobState::kQueued);
  EXPECT_EQ(revived->specification, "what to do");
  EXPECT_EQ(revived->outcome, "");
  EXPECT_EQ(revived->version, job.version);
  EXPECT_EQ(revived->ended, absl::InfinitePast());
  EXPECT_EQ(*store_->UseOfNumber("news", job.version), NumberUse::kPending);

  ASSERT_TRUE(store_->EndJob(job.id, JobState::kFailed, "why", std::nullopt).ok());
  ASSERT_TRUE(store_->DeleteVersion("news", base).ok());
  EXPECT_EQ(store_->ReviveJob(job.id, 10).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(store_->ForgetJob(job.id).ok());
  EXPECT_EQ(StatusReason(store_->ReviveJob(job.id, 10).status()), "JOB_ENDED");
  const JobRecord other = Add();
  ASSERT_TRUE(store_->ForgetJob(other.id).ok());  // unfinished: it stays whole
  ASSERT_TRUE(store_->EndJob(other.id, JobState::kCancelled, "", std::nullopt).ok());
  EXPECT_EQ(StatusReason(store_->ReviveJob(other.id, 10).status()), "JOB_ENDED");
}

TEST_F(StoreTest, ARunThatDidNotBeginIsNotCounted) {
  const JobRecord job = Add();
  ASSERT_TRUE(store_->BeginRun(job.id).ok());
  ASSERT_TRUE(store_->TakeBackRun(job.id).ok());
  EXPECT_EQ(store_->GetJob(job.id)->state, JobState::kQueued);
  EXPECT_EQ(store_->GetJob(job.id)->attempts, 0);
  EXPECT_EQ(store_->GetJob(job.id)->started, absl::InfinitePast());
  ASSERT_TRUE(store_->BeginRun(job.id).ok());
  const absl::Time first = store_->GetJob(job.id)->started;
  ASSERT_TRUE(store_->SetJobState(job.id, JobState::kQueued).ok());
  ASSERT_TRUE(store_->TakeBackRun(job.id).ok());  // queued already: nothing to take back
  EXPECT_EQ(store_->GetJob(job.id)->attempts, 1);
  clock_.Advance(absl::Seconds(5));
  ASSERT_TRUE(store_->BeginRun(job.id).ok());
  ASSERT_TRUE(store_->TakeBackRun(job.id).ok());
  EXPECT_EQ(store_->GetJob(job.id)->attempts, 1);
  EXPECT_EQ(store_->GetJob(job.id)->started, first);
}

TEST_F(StoreTest, AJobWhoseNumberIsTakenGetsAnother) {
  const JobRecord job = Add();
  EXPECT_EQ(*store_->RenumberJob(job.id), job.version + 1);
  EXPECT_EQ(store_->GetJob(job.id)->version, job.version + 1);
  EXPECT_EQ(*store_->UseOfNumber("news", job.version + 1), NumberUse::kPending);
}

TEST_F(StoreTest, ALabelsHistoryIsBoundedAndHoldsChangesAlone) {
  const int64_t first = Publish("news", "stable"), second = Publish("news", ""), third = Publish("news", "");
  for (int i = 0; i < 150; ++i) {
    ASSERT_TRUE(store_->SetLabel("news", "stable", i % 2 == 0 ? second : third).ok());
    ASSERT_TRUE(store_->SetLabel("news", "stable", i % 2 == 0 ? second : third).ok());  // no change
  }
  // 150 changes, of which the last 100 are kept: 99 steps back, none of which is to `first`.
  int steps = 0;
  for (absl::StatusOr<int64_t> back = third; (back = store_->RollbackLabel("news", "stable")).ok(); ++steps)
    EXPECT_NE(*back, first);
  EXPECT_EQ(steps, 99);
}

TEST_F(StoreTest, DataSetsSurvive) {
  ASSERT_TRUE(store_->AddDataset({"emotion", 1, 20, 5, {"joy", "fear, \"quoted\""}, "abc", {}, 10}).ok());
  EXPECT_EQ(store_->AddDataset({"emotion", 1, 1, 1, {}, "x", {}, 1}).code(), absl::StatusCode::kAlreadyExists);
  Reopen();
  const auto found = store_->GetDataset("emotion");
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->labels, ElementsAre("joy", "fear, \"quoted\""));
  EXPECT_EQ(found->created, clock_.Now());
}

TEST_F(StoreTest, EvaluationsOfAVersionAreFoundInTheOrderInWhichTheyEnded) {
  const int64_t version = Publish("news", ""), other = Publish("news", "");
  const auto add = [&](int64_t base, bool makes_version) {
    JobRecord job;
    job.model = "news";
    job.base_version = base;
    return store_->AddJob(job, makes_version, {}, 100)->id;
  };
  const auto end = [&](const std::string& id, JobState state, const std::string& outcome) {
    clock_.Advance(absl::Seconds(1));
    EXPECT_TRUE(store_->EndJob(id, state, outcome, std::nullopt).ok());
  };
  const std::string first = add(version, false), second = add(version, false), failed = add(version, false),
                    elsewhere = add(other, false), training = add(version, true);
  add(version, false);  // still queued
  EXPECT_THAT(*store_->OutcomesOfEvaluations("news", version), ElementsAre());
  end(second, JobState::kSucceeded, "second");
  end(first, JobState::kSucceeded, "first");
  end(failed, JobState::kFailed, "failed");
  end(elsewhere, JobState::kSucceeded, "elsewhere");
  end(training, JobState::kSucceeded, "training");
  EXPECT_THAT(*store_->OutcomesOfEvaluations("news", version), ElementsAre("second", "first"));
  EXPECT_THAT(*store_->OutcomesOfEvaluations("news", other), ElementsAre("elsewhere"));
  EXPECT_THAT(*store_->OutcomesOfEvaluations("olds", version), ElementsAre());
}

}  // namespace
}  // namespace engram::jobs
