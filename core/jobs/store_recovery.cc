// What a start has to know of the state that it finds, and how jobs come back.

#include "absl/strings/str_cat.h"
#include "core/jobs/schema.h"
#include "core/jobs/store.h"

namespace engram::jobs {
namespace {

Value Owned(std::string_view text) { return std::string(text); }

}  // namespace

// ---------------------------------------------------------------- which database it is

absl::StatusOr<DatabaseIdentity> Store::Identity() {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows, database_->Query("SELECT id, starts FROM identity"));
  if (rows.size() != 1) return absl::DataLossError("the server's database has lost its identity; restore a backup");
  return DatabaseIdentity{AsText(rows[0][0]), AsInteger(rows[0][1])};
}

absl::StatusOr<DatabaseIdentity> Store::CountStart(int64_t at_least) {
  {
    absl::MutexLock lock(&mutex_);
    ENGRAM_RETURN_IF_ERROR(database_->Execute("UPDATE identity SET starts=max(starts, ?1)+1", {at_least}).status());
  }
  return Identity();
}

absl::Status Store::CheckIntegrity() {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows, database_->Query("PRAGMA quick_check(1)"));
  if (rows.size() == 1 && AsText(rows[0][0]) == "ok") return absl::OkStatus();
  return StatusWithReason(absl::StatusCode::kDataLoss, "DATABASE_DAMAGED",
                          "the server's database is damaged; restore it from a backup");
}

// ---------------------------------------------------------------- what may be removed

absl::Status Store::RememberRemoval(std::string_view kind, std::string_view name, int64_t number) {
  return database_->Execute("INSERT OR IGNORE INTO removals VALUES(?1, ?2, ?3)", {Owned(kind), Owned(name), number})
      .status();
}

absl::Status Store::ForgetRemoval(std::string_view kind, std::string_view name, int64_t number) {
  return database_
      ->Execute("DELETE FROM removals WHERE kind=?1 AND name=?2 AND number=?3", {Owned(kind), Owned(name), number})
      .status();
}

absl::StatusOr<NumberUse> Store::UseOfNumber(std::string_view model, int64_t number) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query(absl::StrCat("SELECT EXISTS(SELECT 1 FROM versions WHERE model=?1 AND number=?2), "
                                    "EXISTS(SELECT 1 FROM jobs WHERE ",
                                    kUnfinished,
                                    " AND model=?1 AND version=?2), "
                                    "EXISTS(SELECT 1 FROM removals WHERE kind=?3 AND name=?1 AND number=?2)"),
                       {Owned(model), number, Owned(kVersionKind)}));
  if (AsInteger(rows[0][0]) != 0) return NumberUse::kVersion;
  if (AsInteger(rows[0][1]) != 0) return NumberUse::kPending;
  return AsInteger(rows[0][2]) != 0 ? NumberUse::kAbandoned : NumberUse::kUnknown;
}

absl::Status Store::SkipNumbers(std::string_view model, int64_t up_to) {
  absl::MutexLock lock(&mutex_);
  return database_
      ->Execute(
          "INSERT INTO models VALUES(?1, ?2, ?3+1) ON CONFLICT(name) DO UPDATE SET "
          "next_version=max(next_version, ?3+1)",
          {Owned(model), NowMicros(), up_to})
      .status();
}

absl::Status Store::ExpectDataset(std::string_view name) {
  absl::MutexLock lock(&mutex_);
  return RememberRemoval(kDatasetKind, name, 0);
}

absl::StatusOr<bool> Store::DatasetAbandoned(std::string_view name) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          database_->Query("SELECT EXISTS(SELECT 1 FROM removals WHERE kind=?1 AND name=?2) AND NOT "
                                           "EXISTS(SELECT 1 FROM datasets WHERE name=?2)",
                                           {Owned(kDatasetKind), Owned(name)}));
  return AsInteger(rows[0][0]) != 0;
}

absl::Status Store::ForgetRemovals() {
  absl::MutexLock lock(&mutex_);
  return database_->Execute("DELETE FROM removals").status();
}

// ---------------------------------------------------------------- jobs that come back

absl::Status Store::TakeBackRun(std::string_view id) {
  absl::MutexLock lock(&mutex_);
  return database_
      ->Execute(
          "UPDATE jobs SET state=?2, request=0, attempts=max(attempts-1, 0), "
          "started=CASE WHEN attempts>1 THEN started END WHERE id=?1 AND state=?3",
          {Owned(id), static_cast<int64_t>(JobState::kQueued), static_cast<int64_t>(JobState::kRunning)})
      .status();
}

absl::StatusOr<JobRecord> Store::ReviveJob(std::string_view id, int64_t queue_limit) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_ASSIGN_OR_RETURN(const JobRecord job, JobLocked(id));
  if (job.state != JobState::kFailed || job.specification.empty()) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "JOB_ENDED",
                            "the job has ended, and what it would go on from is not kept any more; start it anew");
  }
  ENGRAM_RETURN_IF_ERROR(CheckRoom(queue_limit));
  ENGRAM_RETURN_IF_ERROR(CheckNeeds(job));
  if (job.version > 0) ENGRAM_RETURN_IF_ERROR(ForgetRemoval(kVersionKind, job.model, job.version));
  ENGRAM_RETURN_IF_ERROR(database_
                             ->Execute("UPDATE jobs SET state=?2, ended=NULL, outcome=NULL, request=0 WHERE id=?1",
                                       {Owned(id), static_cast<int64_t>(JobState::kQueued)})
                             .status());
  ENGRAM_ASSIGN_OR_RETURN(JobRecord revived, JobLocked(id));
  ENGRAM_RETURN_IF_ERROR(transaction->Commit());
  return revived;
}

absl::Status Store::ForgetJob(std::string_view id) {
  absl::MutexLock lock(&mutex_);
  return database_
      ->Execute(absl::StrCat("UPDATE jobs SET specification=NULL WHERE id=?1 AND NOT (", kUnfinished, ")"), {Owned(id)})
      .status();
}

absl::StatusOr<int64_t> Store::RenumberJob(std::string_view id) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_ASSIGN_OR_RETURN(const JobRecord job, JobLocked(id));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t number, ReserveLocked(job.model));
  ENGRAM_RETURN_IF_ERROR(database_->Execute("UPDATE jobs SET version=?2 WHERE id=?1", {Owned(id), number}).status());
  ENGRAM_RETURN_IF_ERROR(transaction->Commit());
  return number;
}

}  // namespace engram::jobs
