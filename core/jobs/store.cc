#include "core/jobs/store.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <random>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/jobs/schema.h"
#include "nlohmann/json.hpp"

namespace engram::jobs {
namespace {

// Changes of one label that are remembered, to roll back to.
constexpr int64_t kLabelHistory = 100;
constexpr auto kFormat = static_cast<int64_t>(std::size(kSchemaSteps));

// kUnfinished says so in SQL.
static_assert(static_cast<int>(JobState::kSucceeded) == 4 && !HasEnded(JobState::kPaused) &&
              HasEnded(JobState::kCancelled));

constexpr const char* kJobColumns =
    "id, state, model, base_version, version, label, datasets, priority, created, started, ended, attempts, "
    "description, specification, outcome, request";

absl::Time Micros(const Value& value) {
  const auto* integer = std::get_if<int64_t>(&value);
  return integer == nullptr ? absl::InfinitePast() : absl::FromUnixMicros(*integer);
}

JobRecord ToJob(const Row& row) {
  JobRecord job;
  job.id = AsText(row[0]);
  job.state = static_cast<JobState>(AsInteger(row[1]));
  job.model = AsText(row[2]);
  job.base_version = AsInteger(row[3]);
  job.version = AsInteger(row[4]);
  job.label = AsText(row[5]);
  job.datasets = SplitList(AsText(row[6]));
  job.priority = AsInteger(row[7]);
  job.created = Micros(row[8]);
  job.started = Micros(row[9]);
  job.ended = Micros(row[10]);
  job.attempts = AsInteger(row[11]);
  job.description = AsText(row[12]);
  job.specification = AsText(row[13]);
  job.outcome = AsText(row[14]);
  job.pending = static_cast<PendingAction>(AsInteger(row[15]));
  return job;
}

VersionRecord ToVersion(const Row& row) {
  return {AsText(row[0]), AsInteger(row[1]), AsInteger(row[2]), AsText(row[3]),
          Micros(row[4]), AsInteger(row[5]), AsText(row[6])};
}

DatasetRecord ToDataset(const Row& row) {
  return {AsText(row[0]), AsInteger(row[1]), AsInteger(row[2]), AsInteger(row[3]), SplitList(AsText(row[4])),
          AsText(row[5]), Micros(row[6]),    AsInteger(row[7]), AsInteger(row[8])};
}

absl::Status NotFound(std::string_view reason, std::string message) {
  return StatusWithReason(absl::StatusCode::kNotFound, reason, message);
}

// 26 characters of Crockford's base 32, as ULID: 48 bits of milliseconds, then 80 random bits.
std::string Ulid(int64_t milliseconds) {
  constexpr const char* kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  std::string id(26, '0');
  for (int i = 9; i >= 0; --i, milliseconds >>= 5) id[static_cast<size_t>(i)] = kAlphabet[milliseconds & 31];
  // An identity, not a number of an experiment: drawn from the system, so that two servers never draw the same.
  std::random_device device;
  for (size_t i = 10; i < id.size(); ++i) id[i] = kAlphabet[device() & 31U];
  return id;
}

// The next id after `id` in order.
std::string Successor(std::string id) {
  constexpr std::string_view kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  for (size_t i = id.size(); i-- > 0;) {
    const size_t digit = kAlphabet.find(id[i]);
    if (digit + 1 < kAlphabet.size()) {
      id[i] = kAlphabet[digit + 1];
      break;
    }
    id[i] = kAlphabet[0];
  }
  return id;
}

Value Owned(std::string_view text) { return std::string(text); }
// NULL for what is not there.
Value OrNull(const std::string& text) { return text.empty() ? Value() : Value(text); }
Value OrNull(int64_t number) { return number == 0 ? Value() : Value(number); }

}  // namespace

std::string JoinList(const std::vector<std::string>& items) { return nlohmann::json(items).dump(); }

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> items;
  const nlohmann::json list = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return items;
  for (const auto& item : list) {
    if (item.is_string()) items.push_back(item.get<std::string>());
  }
  return items;
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& path, const Clock& clock) {
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path));
  std::unique_ptr<Store> store(new Store(std::move(database), clock));
  absl::MutexLock lock(&store->mutex_);
  ENGRAM_RETURN_IF_ERROR(store->Migrate());
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> models,
                          store->database_->Query("SELECT DISTINCT model FROM versions"));
  for (const Row& row : models) store->LearnVersions(AsText(row[0]));
  return store;
}

absl::Status Store::Ping() {
  absl::MutexLock lock(&mutex_);
  return database_->Query("SELECT count(*) FROM models").status();
}

absl::Status Store::Migrate() {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> version, database_->Query("PRAGMA user_version"));
  const int64_t found = AsInteger(version[0][0]);
  if (found > kFormat)
    return absl::FailedPreconditionError("the database was written by a newer Engram; start that one");
  if (found < kFormat) {
    ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
    for (int64_t step = found; step < kFormat; ++step) ENGRAM_RETURN_IF_ERROR(database_->Script(kSchemaSteps[step]));
    ENGRAM_RETURN_IF_ERROR(database_->Script(absl::StrCat("PRAGMA user_version=", kFormat)));
    ENGRAM_RETURN_IF_ERROR(transaction->Commit());
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> last, database_->Query("SELECT max(id) FROM jobs"));
  last_id_ = AsText(last[0][0]);
  return absl::OkStatus();
}

// ---------------------------------------------------------------- idempotency keys

absl::StatusOr<std::optional<std::string>> Store::FindRequest(const RequestKey& key) {
  if (key.id.empty()) return std::nullopt;
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          database_->Query("SELECT method, digest, resource FROM requests WHERE id=?1", {key.id}));
  if (rows.empty()) return std::nullopt;
  if (AsText(rows[0][0]) != key.method || AsText(rows[0][1]) != key.digest) {
    return StatusWithReason(absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED",
                            "request_id was used for another request; choose a new one");
  }
  return AsText(rows[0][2]);
}

absl::Status Store::AddRequest(const RequestKey& key, std::string_view resource) {
  if (key.id.empty()) return absl::OkStatus();
  return database_
      ->Execute("INSERT INTO requests VALUES(?1, ?2, ?3, ?4, ?5)",
                {key.id, key.method, key.digest, Owned(resource), NowMicros()})
      .status();
}

// ---------------------------------------------------------------- jobs

std::string Store::NewJobId() {
  std::string id = Ulid(absl::ToUnixMillis(clock_.Now()));
  // Within one millisecond, or after the clock went back, ids still ascend: the queue's order is that of acceptance.
  if (id <= last_id_) id = Successor(last_id_);
  last_id_ = id;
  return id;
}

absl::Status Store::CheckRoom(int64_t queue_limit) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> unfinished,
                          database_->Query(absl::StrCat("SELECT count(*) FROM jobs WHERE ", kUnfinished)));
  if (AsInteger(unfinished[0][0]) < queue_limit) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
      absl::StrCat("the queue holds ", queue_limit, " unfinished jobs, its limit; cancel some or wait"));
}

absl::Status Store::CheckNeeds(const JobRecord& job) {
  if (job.base_version > 0) ENGRAM_RETURN_IF_ERROR(FindVersion(job.model, job.base_version));
  for (const std::string& dataset : job.datasets) ENGRAM_RETURN_IF_ERROR(DatasetLocked(dataset).status());
  return absl::OkStatus();
}

absl::StatusOr<JobRecord> Store::AddJob(JobRecord job, bool makes_version, const RequestKey& key, int64_t queue_limit) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_RETURN_IF_ERROR(CheckRoom(queue_limit));
  ENGRAM_RETURN_IF_ERROR(CheckNeeds(job));
  job.id = NewJobId();
  job.state = JobState::kQueued;
  job.created = absl::FromUnixMicros(NowMicros());
  if (makes_version && job.model.empty()) return absl::InternalError("a version belongs to a model");
  if (makes_version) {
    ENGRAM_ASSIGN_OR_RETURN(job.version, ReserveLocked(job.model));
  }
  ENGRAM_RETURN_IF_ERROR(
      database_
          ->Execute("INSERT INTO jobs(id, state, model, base_version, version, label, datasets, priority, "
                    "created, attempts, description, specification) "
                    "VALUES(?1, ?11, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10)",
                    {job.id, OrNull(job.model), OrNull(job.base_version), job.version, job.label,
                     JoinList(job.datasets), job.priority, absl::ToUnixMicros(job.created), Bytes{job.description},
                     Bytes{job.specification}, static_cast<int64_t>(job.state)})
          .status());
  ENGRAM_RETURN_IF_ERROR(AddRequest(key, job.id));
  ENGRAM_RETURN_IF_ERROR(transaction->Commit());
  return job;
}

absl::StatusOr<JobRecord> Store::JobLocked(std::string_view id) {
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query(absl::StrCat("SELECT ", kJobColumns, " FROM jobs WHERE id=?1"), {Owned(id)}));
  if (rows.empty()) return NotFound("JOB_NOT_FOUND", "there is no such job; `engram jobs list` shows those there are");
  return ToJob(rows[0]);
}

absl::StatusOr<JobRecord> Store::GetJob(std::string_view id) {
  absl::MutexLock lock(&mutex_);
  return JobLocked(id);
}

absl::StatusOr<std::vector<JobRecord>> Store::ListJobs(std::string_view before, int64_t limit, std::string_view model,
                                                       std::optional<JobState> state) {
  // Of a specification its first byte, which says that there is one: a thousand of them may be gigabytes.
  const std::string columns = absl::StrReplaceAll(kJobColumns, {{"specification", "substr(specification, 1, 1)"}});
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query(absl::StrCat("SELECT ", columns,
                                    " FROM jobs WHERE (?1='' OR id<?1) AND (?2='' OR model=?2) AND (?3=0 OR state=?3) "
                                    "ORDER BY id DESC LIMIT ?4"),
                       {Owned(before), Owned(model), state ? static_cast<int64_t>(*state) : int64_t{0}, limit}));
  std::vector<JobRecord> jobs;
  for (const Row& row : rows) jobs.push_back(ToJob(row));
  return jobs;
}

absl::StatusOr<std::vector<JobRecord>> Store::UnfinishedJobs() {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query(absl::StrCat("SELECT ", kJobColumns, " FROM jobs WHERE ", kUnfinished, " ORDER BY id")));
  std::vector<JobRecord> jobs;
  for (const Row& row : rows) jobs.push_back(ToJob(row));
  return jobs;
}

absl::Status Store::SetJobState(std::string_view id, JobState state) {
  absl::MutexLock lock(&mutex_);
  return database_
      ->Execute(absl::StrCat("UPDATE jobs SET state=?2, request=0 WHERE id=?1 AND ", kUnfinished),
                {Owned(id), static_cast<int64_t>(state)})
      .status();
}

absl::Status Store::SetPending(std::string_view id, PendingAction pending) {
  absl::MutexLock lock(&mutex_);
  return database_
      ->Execute(absl::StrCat("UPDATE jobs SET request=max(request, ?2) WHERE id=?1 AND ", kUnfinished),
                {Owned(id), static_cast<int64_t>(pending)})
      .status();
}

absl::Status Store::BeginRun(std::string_view id) {
  absl::MutexLock lock(&mutex_);
  return database_
      ->Execute("UPDATE jobs SET state=?3, attempts=attempts+1, started=coalesce(started, ?2) WHERE id=?1",
                {Owned(id), NowMicros(), static_cast<int64_t>(JobState::kRunning)})
      .status();
}

absl::Status Store::EndJob(std::string_view id, JobState state, std::string_view outcome,
                           const std::optional<VersionRecord>& version) {
  absl::MutexLock lock(&mutex_);
  const absl::Cleanup learn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (version) LearnVersions(version->model);
  };
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_ASSIGN_OR_RETURN(const JobRecord job, JobLocked(id));
  if (HasEnded(job.state)) return absl::OkStatus();
  if (version) {
    ENGRAM_RETURN_IF_ERROR(InsertVersion(*version));
    if (!job.label.empty()) ENGRAM_RETURN_IF_ERROR(PointLabel(version->model, job.label, version->number));
  }
  // A version that was renamed into place and cancelled before it was recorded is to go. A failed job may be revived;
  // where it failed because something else lies in the place of its version, that is not its own to remove.
  if (state == JobState::kCancelled && job.version > 0)
    ENGRAM_RETURN_IF_ERROR(RememberRemoval(kVersionKind, job.model, job.version));
  ENGRAM_RETURN_IF_ERROR(database_
                             ->Execute("UPDATE jobs SET state=?2, ended=?3, outcome=?4, request=0, "
                                       "specification=CASE WHEN ?5 THEN specification END WHERE id=?1",
                                       {Owned(id), static_cast<int64_t>(state), NowMicros(),
                                        Bytes{std::string(outcome)}, int64_t{state == JobState::kFailed}})
                             .status());
  return transaction->Commit();
}

// ---------------------------------------------------------------- models

absl::StatusOr<int64_t> Store::ReserveLocked(std::string_view model) {
  ENGRAM_RETURN_IF_ERROR(
      database_->Execute("INSERT OR IGNORE INTO models VALUES(?1, ?2, 1)", {Owned(model), NowMicros()}).status());
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query("UPDATE models SET next_version=next_version+1 WHERE name=?1 RETURNING next_version-1",
                       {Owned(model)}));
  return AsInteger(rows[0][0]);
}

absl::StatusOr<int64_t> Store::ReserveVersion(std::string_view model) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t number, ReserveLocked(model));
  ENGRAM_RETURN_IF_ERROR(RememberRemoval(kVersionKind, model, number));
  ENGRAM_RETURN_IF_ERROR(transaction->Commit());
  return number;
}

absl::Status Store::InsertVersion(const VersionRecord& version) {
  ENGRAM_RETURN_IF_ERROR(ForgetRemoval(kVersionKind, version.model, version.number));
  return database_
      ->Execute("INSERT INTO versions VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                {version.model, version.number, version.parent, version.job, NowMicros(), version.size_bytes,
                 Bytes{version.metrics}})
      .status();
}

absl::Status Store::AddVersion(const VersionRecord& version, std::string_view label, const RequestKey& key) {
  absl::MutexLock lock(&mutex_);
  const absl::Cleanup learn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { LearnVersions(version.model); };
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_RETURN_IF_ERROR(InsertVersion(version));
  if (!label.empty()) ENGRAM_RETURN_IF_ERROR(PointLabel(version.model, label, version.number));
  ENGRAM_RETURN_IF_ERROR(AddRequest(key, absl::StrCat(version.model, "/", version.number)));
  return transaction->Commit();
}

absl::StatusOr<ModelRecord> Store::ModelLocked(std::string_view name) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          database_->Query("SELECT m.name, m.created, max(v.number), count(v.number) FROM models m "
                                           "JOIN versions v ON v.model=m.name WHERE m.name=?1 GROUP BY m.name",
                                           {Owned(name)}));
  if (rows.empty()) return ModelNotFound(name);
  ModelRecord model{AsText(rows[0][0]), Micros(rows[0][1]), {}, AsInteger(rows[0][2]), AsInteger(rows[0][3])};
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> labels,
                          database_->Query("SELECT label, version FROM labels WHERE model=?1", {Owned(name)}));
  for (const Row& row : labels) model.labels[AsText(row[0])] = AsInteger(row[1]);
  return model;
}

absl::StatusOr<ModelRecord> Store::GetModel(std::string_view name) {
  absl::MutexLock lock(&mutex_);
  return ModelLocked(name);
}

absl::StatusOr<std::vector<ModelRecord>> Store::ListModels(std::string_view after, int64_t limit) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          database_->Query("SELECT DISTINCT model FROM versions WHERE model>?1 ORDER BY model LIMIT ?2",
                                           {Owned(after), limit}));
  std::vector<ModelRecord> models;
  for (const Row& row : rows) {
    ENGRAM_ASSIGN_OR_RETURN(ModelRecord model, ModelLocked(AsText(row[0])));
    models.push_back(std::move(model));
  }
  return models;
}

absl::Status Store::FindVersion(std::string_view model, int64_t number) {
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query("SELECT 1 FROM versions WHERE model=?1 AND number=?2", {Owned(model), number}));
  if (!rows.empty()) return absl::OkStatus();
  return VersionNotFound(model, number);
}

absl::StatusOr<VersionRecord> Store::GetVersion(std::string_view model, int64_t number) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(ModelLocked(model).status());
  ENGRAM_RETURN_IF_ERROR(FindVersion(model, number));
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query("SELECT model, number, parent, job, created, size_bytes, metrics FROM versions "
                       "WHERE model=?1 AND number=?2",
                       {Owned(model), number}));
  return ToVersion(rows[0]);
}

absl::StatusOr<std::vector<VersionRecord>> Store::ListVersions(std::string_view model, int64_t before, int64_t limit) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(ModelLocked(model).status());
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query("SELECT model, number, parent, job, created, size_bytes, metrics FROM versions "
                       "WHERE model=?1 AND (?2=0 OR number<?2) ORDER BY number DESC LIMIT ?3",
                       {Owned(model), before, limit}));
  std::vector<VersionRecord> versions;
  for (const Row& row : rows) versions.push_back(ToVersion(row));
  return versions;
}

absl::StatusOr<std::vector<std::string>> Store::OutcomesOfEvaluations(std::string_view model, int64_t number) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          database_->Query("SELECT outcome FROM jobs WHERE model=?1 AND base_version=?2 AND version=0 "
                                           "AND state=?3 ORDER BY ended, id",
                                           {std::string(model), number, static_cast<int64_t>(JobState::kSucceeded)}));
  std::vector<std::string> outcomes;
  for (const Row& row : rows) outcomes.push_back(AsText(row[0]));
  return outcomes;
}

void Store::LearnVersions(std::string_view model) {
  const auto versions = database_->Query("SELECT number FROM versions WHERE model=?1", {Owned(model)});
  const auto labels = database_->Query("SELECT label, version FROM labels WHERE model=?1", {Owned(model)});
  if (!versions.ok() || !labels.ok()) return known_.SetUnknown(model);
  KnownVersions::Model known;
  for (const Row& row : *versions) known.versions.insert(AsInteger(row[0]));
  for (const Row& row : *labels) known.labels[AsText(row[0])] = AsInteger(row[1]);
  known_.Set(model, std::move(known));
}

absl::StatusOr<int64_t> Store::ResolveVersion(std::string_view model, std::string_view text) {
  absl::StatusOr<int64_t> number = known_.Resolve(model, text);
  if (!absl::IsUnavailable(number.status())) return number;
  absl::MutexLock lock(&mutex_);
  LearnVersions(model);
  return known_.Resolve(model, text);
}

absl::Status Store::PointLabel(std::string_view model, std::string_view label, int64_t version) {
  ENGRAM_RETURN_IF_ERROR(FindVersion(model, version));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> now,
                          database_->Query("SELECT 1 FROM labels WHERE model=?1 AND label=?2 AND version=?3",
                                           {Owned(model), Owned(label), version}));
  if (!now.empty()) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(
      database_
          ->Execute("INSERT INTO labels VALUES(?1, ?2, ?3) ON CONFLICT(model, label) DO UPDATE SET version=?3",
                    {Owned(model), Owned(label), version})
          .status());
  ENGRAM_RETURN_IF_ERROR(database_
                             ->Execute("INSERT INTO label_history(model, label, version, time) VALUES(?1, ?2, ?3, ?4)",
                                       {Owned(model), Owned(label), version, NowMicros()})
                             .status());
  return database_
      ->Execute(
          "DELETE FROM label_history WHERE model=?1 AND label=?2 AND id<=(SELECT id FROM label_history "
          "WHERE model=?1 AND label=?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
          {Owned(model), Owned(label), kLabelHistory})
      .status();
}

absl::Status Store::SetLabel(std::string_view model, std::string_view label, int64_t version) {
  absl::MutexLock lock(&mutex_);
  const absl::Cleanup learn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { LearnVersions(model); };
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_RETURN_IF_ERROR(ModelLocked(model).status());
  ENGRAM_RETURN_IF_ERROR(PointLabel(model, label, version));
  return transaction->Commit();
}

absl::StatusOr<int64_t> Store::RollbackLabel(std::string_view model, std::string_view label) {
  absl::MutexLock lock(&mutex_);
  const absl::Cleanup learn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { LearnVersions(model); };
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_ASSIGN_OR_RETURN(const ModelRecord record, ModelLocked(model));
  const auto now = record.labels.find(std::string(label));
  if (now == record.labels.end()) {
    return NotFound("LABEL_NOT_FOUND",
                    absl::StrCat("model \"", AbslView(model), "\" has no label \"", AbslView(label), "\""));
  }
  // The present entry and those of the same version leave the history, so that a second rollback goes one further back.
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> earlier,
      database_->Query(
          "SELECT h.id, h.version FROM label_history h JOIN versions v ON v.model=h.model AND v.number=h.version "
          "WHERE h.model=?1 AND h.label=?2 AND h.version<>?3 ORDER BY h.id DESC LIMIT 1",
          {Owned(model), Owned(label), now->second}));
  if (earlier.empty()) {
    return StatusWithReason(
        absl::StatusCode::kFailedPrecondition, "NOTHING_TO_ROLL_BACK",
        absl::StrCat("label \"", AbslView(label), "\" never pointed to another version that is still there"));
  }
  const int64_t version = AsInteger(earlier[0][1]);
  ENGRAM_RETURN_IF_ERROR(database_
                             ->Execute("DELETE FROM label_history WHERE model=?1 AND label=?2 AND id>?3",
                                       {Owned(model), Owned(label), AsInteger(earlier[0][0])})
                             .status());
  ENGRAM_RETURN_IF_ERROR(
      database_
          ->Execute("UPDATE labels SET version=?3 WHERE model=?1 AND label=?2", {Owned(model), Owned(label), version})
          .status());
  ENGRAM_RETURN_IF_ERROR(transaction->Commit());
  return version;
}

// ---------------------------------------------------------------- data sets

absl::Status Store::AddDataset(const DatasetRecord& dataset) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_RETURN_IF_ERROR(ForgetRemoval(kDatasetKind, dataset.name, 0));
  ENGRAM_RETURN_IF_ERROR(
      database_
          ->Execute("INSERT INTO datasets VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    {dataset.name, dataset.kind, dataset.training_rows, dataset.test_rows, JoinList(dataset.labels),
                     dataset.digest, NowMicros(), dataset.size_bytes, dataset.validation_rows})
          .status());
  return transaction->Commit();
}

absl::StatusOr<DatasetRecord> Store::GetDataset(std::string_view name) {
  absl::MutexLock lock(&mutex_);
  return DatasetLocked(name);
}

absl::StatusOr<DatasetRecord> Store::DatasetLocked(std::string_view name) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          database_->Query("SELECT * FROM datasets WHERE name=?1", {Owned(name)}));
  if (rows.empty()) {
    return NotFound("DATASET_NOT_FOUND",
                    absl::StrCat("there is no data set \"", AbslView(name), "\"; `engram datasets upload` makes one"));
  }
  return ToDataset(rows[0]);
}

absl::StatusOr<std::vector<DatasetRecord>> Store::ListDatasets(std::string_view after, int64_t limit) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database_->Query("SELECT * FROM datasets WHERE name>?1 ORDER BY name LIMIT ?2", {Owned(after), limit}));
  std::vector<DatasetRecord> datasets;
  for (const Row& row : rows) datasets.push_back(ToDataset(row));
  return datasets;
}

}  // namespace engram::jobs
