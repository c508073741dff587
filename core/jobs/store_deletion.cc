// What of the store may be deleted, and what stands against it.

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/jobs/schema.h"
#include "core/jobs/store.h"

namespace engram::jobs {
namespace {

absl::Status NotFound(std::string_view reason, std::string message) {
  return StatusWithReason(absl::StatusCode::kNotFound, reason, message);
}

Value Owned(std::string_view text) { return std::string(text); }

}  // namespace

absl::Status Store::DeleteVersion(std::string_view model, int64_t number) {
  absl::MutexLock lock(&mutex_);
  const absl::Cleanup learn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { LearnVersions(model); };
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_ASSIGN_OR_RETURN(const ModelRecord record, ModelLocked(model));
  ENGRAM_RETURN_IF_ERROR(FindVersion(model, number));
  for (const auto& [label, version] : record.labels) {
    if (version == number) {
      return StatusWithReason(absl::StatusCode::kFailedPrecondition, "VERSION_IN_USE",
                              absl::StrCat("label \"", label, "\" points to it; point the label elsewhere first"));
    }
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> users,
                          database_->Query(absl::StrCat("SELECT id FROM jobs WHERE ", kUnfinished,
                                                        " AND model=?1 AND base_version=?2 LIMIT 1"),
                                           {Owned(model), number}));
  if (!users.empty()) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "VERSION_IN_USE",
                            absl::StrCat("job ", AsText(users[0][0]), " starts from it; wait for it, or cancel it"));
  }
  ENGRAM_RETURN_IF_ERROR(
      database_->Execute("DELETE FROM versions WHERE model=?1 AND number=?2", {Owned(model), number}).status());
  ENGRAM_RETURN_IF_ERROR(RememberRemoval(kVersionKind, model, number));
  return transaction->Commit();
}

absl::Status Store::DeleteLabel(std::string_view model, std::string_view label) {
  absl::MutexLock lock(&mutex_);
  const absl::Cleanup learn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { LearnVersions(model); };
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_RETURN_IF_ERROR(ModelLocked(model).status());
  ENGRAM_ASSIGN_OR_RETURN(const int64_t deleted, database_->Execute("DELETE FROM labels WHERE model=?1 AND label=?2",
                                                                    {Owned(model), Owned(label)}));
  if (deleted == 0) {
    return NotFound("LABEL_NOT_FOUND",
                    absl::StrCat("model \"", AbslView(model), "\" has no label \"", AbslView(label), "\""));
  }
  ENGRAM_RETURN_IF_ERROR(
      database_->Execute("DELETE FROM label_history WHERE model=?1 AND label=?2", {Owned(model), Owned(label)})
          .status());
  return transaction->Commit();
}

absl::StatusOr<std::vector<int64_t>> Store::DeleteModel(std::string_view model) {
  absl::MutexLock lock(&mutex_);
  const absl::Cleanup learn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { LearnVersions(model); };
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_RETURN_IF_ERROR(ModelLocked(model).status());
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<Row> users,
      database_->Query(absl::StrCat("SELECT id FROM jobs WHERE ", kUnfinished, " AND model=?1 LIMIT 1"),
                       {Owned(model)}));
  if (!users.empty()) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "MODEL_IN_USE",
                            absl::StrCat("job ", AsText(users[0][0]), " is of it; wait for it, or cancel it"));
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          database_->Query("SELECT number FROM versions WHERE model=?1", {Owned(model)}));
  for (const char* table : {"labels", "label_history", "versions"}) {
    ENGRAM_RETURN_IF_ERROR(
        database_->Execute(absl::StrCat("DELETE FROM ", table, " WHERE model=?1"), {Owned(model)}).status());
  }
  std::vector<int64_t> numbers;
  for (const Row& row : rows) {
    numbers.push_back(AsInteger(row[0]));
    ENGRAM_RETURN_IF_ERROR(RememberRemoval(kVersionKind, model, numbers.back()));
  }
  ENGRAM_RETURN_IF_ERROR(transaction->Commit());
  return numbers;
}

absl::Status Store::DeleteDataset(std::string_view name, bool validate_only) {
  absl::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const auto transaction, Transaction::Begin(*database_));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          database_->Query(absl::StrCat("SELECT id, datasets FROM jobs WHERE ", kUnfinished)));
  for (const Row& row : rows) {
    const std::vector<std::string> used = SplitList(AsText(row[1]));
    if (std::find(used.begin(), used.end(), name) != used.end()) {
      return StatusWithReason(absl::StatusCode::kFailedPrecondition, "DATASET_IN_USE",
                              absl::StrCat("job ", AsText(row[0]), " needs it; wait for it, or cancel it"));
    }
  }
  ENGRAM_ASSIGN_OR_RETURN(const int64_t deleted,
                          database_->Execute("DELETE FROM datasets WHERE name=?1", {Owned(name)}));
  if (deleted == 0) return NotFound("DATASET_NOT_FOUND", absl::StrCat("there is no data set \"", AbslView(name), "\""));
  if (validate_only) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(RememberRemoval(kDatasetKind, name, 0));
  return transaction->Commit();
}

}  // namespace engram::jobs
