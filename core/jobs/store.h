#pragma once

// What the server knows and must not lose: jobs, models with their versions and labels, data sets, idempotency keys.
// One SQLite file; every method is one transaction, durable when it returns. Thread-safe.
//
// Messages of the API are kept as bytes that only the server reads: this layer knows no protocol.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/jobs/database.h"
#include "core/jobs/known_versions.h"

namespace engram::jobs {

// In the database as numbers: append only.
enum class JobState { kQueued = 1, kRunning = 2, kPaused = 3, kSucceeded = 4, kFailed = 5, kCancelled = 6 };
constexpr bool HasEnded(JobState state) { return state >= JobState::kSucceeded; }

// What is to happen to a job once its run has ended. In the database as numbers; a higher one overrules a lower one.
enum class PendingAction { kNone = 0, kPause = 1, kCancel = 2 };

struct JobRecord {
  std::string id;  // 26 characters, sorts by creation
  JobState state = JobState::kQueued;
  PendingAction pending = PendingAction::kNone;
  std::string model;                  // empty: it belongs to none
  int64_t base_version = 0;           // of that model, to start from: not deleted while the job is unfinished; 0: none
  int64_t version = 0;                // the number reserved for the version it makes; 0: makes none
  std::string label;                  // to be set to that version; may be empty
  std::vector<std::string> datasets;  // not deleted while the job is unfinished
  int64_t priority = 0;
  absl::Time created = absl::InfinitePast(), started = absl::InfinitePast(), ended = absl::InfinitePast();
  int64_t attempts = 0;       // runs begun
  std::string description;    // bytes: the API's view as it was accepted
  std::string specification;  // bytes: what the worker gets
  std::string outcome;        // bytes: result or error
};

struct VersionRecord {
  std::string model;
  int64_t number = 0;
  int64_t parent = 0;  // 0: imported
  std::string job;     // id; empty: imported
  absl::Time created = absl::InfinitePast();
  int64_t size_bytes = 0;
  std::string metrics;  // bytes
};

// What became of a version's number.
enum class NumberUse {
  kVersion,    // a version has it
  kPending,    // an unfinished job will make it
  kAbandoned,  // given out, and nobody has it: an attempt that failed or was interrupted, or a deleted version
  kUnknown,    // this store knows nothing of it: it may be an older copy
};

// Which database this is, and how often a server has started with it: an older copy has fewer starts than the mark that
// the server keeps beside it.
struct DatabaseIdentity {
  std::string id;
  int64_t starts = 0;
};

struct ModelRecord {
  std::string name;
  absl::Time created = absl::InfinitePast();
  std::map<std::string, int64_t> labels;
  int64_t latest = 0;    // highest published number; 0: none yet
  int64_t versions = 0;  // how many are there
};

struct DatasetRecord {
  std::string name;
  int64_t kind = 0;
  int64_t training_rows = 0, test_rows = 0;
  std::vector<std::string> labels;
  std::string digest;
  absl::Time created = absl::InfinitePast();
  int64_t size_bytes = 0;
  int64_t validation_rows = 0;
};

// An idempotency key: the same id with the same method and request gives the same resource.
struct RequestKey {
  std::string id;  // empty: none
  std::string method;
  std::string digest;  // of the request without its id
};

class Store {
 public:
  // Creates or opens the file. FAILED_PRECONDITION if a newer Engram wrote it.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path, const Clock& clock);
  absl::StatusOr<DatabaseIdentity> Identity() ABSL_LOCKS_EXCLUDED(mutex_);
  // One more start than the database and `at_least` say.
  absl::StatusOr<DatabaseIdentity> CountStart(int64_t at_least) ABSL_LOCKS_EXCLUDED(mutex_);
  // Reads the whole database for damage; DATA_LOSS if there is any. Takes as long as the file is large.
  absl::Status CheckIntegrity() ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether the database still answers.
  absl::Status Ping() ABSL_LOCKS_EXCLUDED(mutex_);

  // The resource that an earlier call with this key made; nullopt if there was none (or the key is empty).
  // ALREADY_EXISTS with reason REQUEST_ID_REUSED if the id was used for another call.
  absl::StatusOr<std::optional<std::string>> FindRequest(const RequestKey& key) ABSL_LOCKS_EXCLUDED(mutex_);

  // ---- jobs. AddJob fills id, created and, if `makes_version` (of a model, then), the reserved number.
  // RESOURCE_EXHAUSTED with reason QUEUE_FULL if `queue_limit` jobs are unfinished; NOT_FOUND if the base version or a
  // data set is gone. The key is stored in the same transaction; a race on one key gives ALREADY_EXISTS.
  absl::StatusOr<JobRecord> AddJob(JobRecord job, bool makes_version, const RequestKey& key, int64_t queue_limit)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<JobRecord> GetJob(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  // Newest first; `before`: only ids below it (empty: all). `model` and `state` filter.
  absl::StatusOr<std::vector<JobRecord>> ListJobs(std::string_view before, int64_t limit, std::string_view model,
                                                  std::optional<JobState> state) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<JobRecord>> UnfinishedJobs() ABSL_LOCKS_EXCLUDED(mutex_);
  // Settles whatever was pending.
  absl::Status SetJobState(std::string_view id, JobState state) ABSL_LOCKS_EXCLUDED(mutex_);
  // Remembers, until the state is set or the job ends, what its run is to come to.
  absl::Status SetPending(std::string_view id, PendingAction pending) ABSL_LOCKS_EXCLUDED(mutex_);
  // A run begins: state running, one more attempt, started if it is the first.
  absl::Status BeginRun(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  // The run did not begin after all: queued again, and the attempt is not counted.
  absl::Status TakeBackRun(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  // Queues a failed job again, to make the same version. FAILED_PRECONDITION (JOB_ENDED) if it did not fail or is
  // forgotten, NOT_FOUND if its base version or a data set is gone, RESOURCE_EXHAUSTED (QUEUE_FULL).
  absl::StatusOr<JobRecord> ReviveJob(std::string_view id, int64_t queue_limit) ABSL_LOCKS_EXCLUDED(mutex_);
  // A job that ended keeps no more than its history: it cannot be revived.
  absl::Status ForgetJob(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  // Another number for the version that an unfinished job makes, because its own is taken.
  absl::StatusOr<int64_t> RenumberJob(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  // The job ends in `state`. With a version: it becomes visible, and the job's label points to it, in the same
  // transaction.
  absl::Status EndJob(std::string_view id, JobState state, std::string_view outcome,
                      const std::optional<VersionRecord>& version) ABSL_LOCKS_EXCLUDED(mutex_);

  // ---- models
  // The number of the next version of a model, which is created if it is new; never given out again.
  absl::StatusOr<int64_t> ReserveVersion(std::string_view model) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status AddVersion(const VersionRecord& version, std::string_view label, const RequestKey& key)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Outcomes of the jobs that succeeded, began with this version and made none: its evaluations, oldest first.
  absl::StatusOr<std::vector<std::string>> OutcomesOfEvaluations(std::string_view model, int64_t number)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // NOT_FOUND with reason MODEL_NOT_FOUND / VERSION_NOT_FOUND. Models without a version are not found.
  absl::StatusOr<ModelRecord> GetModel(std::string_view name) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<ModelRecord>> ListModels(std::string_view after, int64_t limit)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<VersionRecord> GetVersion(std::string_view model, int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  // Newest first, numbers below `before` (0: all).
  absl::StatusOr<std::vector<VersionRecord>> ListVersions(std::string_view model, int64_t before, int64_t limit)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // What "3", "stable" or "" (the label "stable", else the newest) means. From memory: waits for no transaction.
  absl::StatusOr<int64_t> ResolveVersion(std::string_view model, std::string_view text) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status SetLabel(std::string_view model, std::string_view label, int64_t version) ABSL_LOCKS_EXCLUDED(mutex_);
  // FAILED_PRECONDITION if the label never pointed elsewhere (to a version that is still there).
  absl::StatusOr<int64_t> RollbackLabel(std::string_view model, std::string_view label) ABSL_LOCKS_EXCLUDED(mutex_);
  // FAILED_PRECONDITION while a label points to it or an unfinished job starts from it.
  absl::Status DeleteVersion(std::string_view model, int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  // The label and its history. NOT_FOUND with reason LABEL_NOT_FOUND.
  absl::Status DeleteLabel(std::string_view model, std::string_view label) ABSL_LOCKS_EXCLUDED(mutex_);
  // All versions and labels of a model, whose numbers are never given out again; gives the numbers that there were.
  // FAILED_PRECONDITION (MODEL_IN_USE) while an unfinished job is of it.
  absl::StatusOr<std::vector<int64_t>> DeleteModel(std::string_view model) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<NumberUse> UseOfNumber(std::string_view model, int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  // Numbers of the model up to this one are not given out any more: a directory has it.
  absl::Status SkipNumbers(std::string_view model, int64_t up_to) ABSL_LOCKS_EXCLUDED(mutex_);

  // ---- data sets
  // Its directory is about to appear; without AddDataset after it, it may be removed at the next start.
  absl::Status ExpectDataset(std::string_view name) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status AddDataset(const DatasetRecord& dataset) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether a directory of this name is one that was expected or deleted, and no data set has it.
  absl::StatusOr<bool> DatasetAbandoned(std::string_view name) ABSL_LOCKS_EXCLUDED(mutex_);
  // After the directories are gone; or without touching them, where the database is an older copy, whose memories of
  // what is to be removed may be of directories that were made since.
  absl::Status ForgetRemovals() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<DatasetRecord> GetDataset(std::string_view name) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<DatasetRecord>> ListDatasets(std::string_view after, int64_t limit)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // FAILED_PRECONDITION while an unfinished job needs it. `validate_only`: checks, and deletes nothing.
  absl::Status DeleteDataset(std::string_view name, bool validate_only = false) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Store(std::unique_ptr<Database> database, const Clock& clock) : clock_(clock), database_(std::move(database)) {}
  int64_t NowMicros() const { return absl::ToUnixMicros(clock_.Now()); }
  absl::Status Migrate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AddRequest(const RequestKey& key, std::string_view resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoom(int64_t queue_limit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Both were there when the job was planned; since then somebody may have deleted them.
  absl::Status CheckNeeds(const JobRecord& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RememberRemoval(std::string_view kind, std::string_view name, int64_t number)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ForgetRemoval(std::string_view kind, std::string_view name, int64_t number)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<int64_t> ReserveLocked(std::string_view model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status InsertVersion(const VersionRecord& version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PointLabel(std::string_view model, std::string_view label, int64_t version)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ModelRecord> ModelLocked(std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FindVersion(std::string_view model, int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<DatasetRecord> DatasetLocked(std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<JobRecord> JobLocked(std::string_view id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts what the database has of a model into known_; after whatever may have changed it.
  void LearnVersions(std::string_view model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string NewJobId() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  absl::Mutex mutex_;
  const std::unique_ptr<Database> database_ ABSL_PT_GUARDED_BY(mutex_);
  std::string last_id_ ABSL_GUARDED_BY(mutex_);
  KnownVersions known_;
};

// "datasets" and labels are stored as JSON lists in one column.
std::string JoinList(const std::vector<std::string>& items);
std::vector<std::string> SplitList(std::string_view text);

}  // namespace engram::jobs
