#include "core/jobs/database.h"

#include <sqlite3.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/lack.h"
#include "core/base/log.h"

namespace engram::jobs {
namespace {

struct Finalizer {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalizer>;

int Bind(sqlite3_stmt* statement, int index, const Value& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) return sqlite3_bind_int64(statement, index, *integer);
  if (const auto* text = std::get_if<std::string>(&value)) {
    return sqlite3_bind_text64(statement, index, text->data(), text->size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  if (const auto* bytes = std::get_if<Bytes>(&value)) {
    return sqlite3_bind_blob64(statement, index, bytes->value.data(), bytes->value.size(), SQLITE_STATIC);
  }
  return sqlite3_bind_null(statement, index);
}

Value Column(sqlite3_stmt* statement, int index) {
  switch (sqlite3_column_type(statement, index)) {
    case SQLITE_INTEGER:
      return static_cast<int64_t>(sqlite3_column_int64(statement, index));
    case SQLITE_NULL:
      return {};
    default: {
      const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement, index));
      return std::string(bytes == nullptr ? "" : bytes, static_cast<size_t>(sqlite3_column_bytes(statement, index)));
    }
  }
}

}  // namespace

int64_t AsInteger(const Value& value) {
  const auto* integer = std::get_if<int64_t>(&value);
  return integer == nullptr ? 0 : *integer;
}

std::string AsText(const Value& value) {
  const auto* text = std::get_if<std::string>(&value);
  return text == nullptr ? std::string() : *text;
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(handle));
  if (code != SQLITE_OK) return database->Error(code);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, 5000);
  ENGRAM_RETURN_IF_ERROR(database->Script("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"));
  return database;
}

Database::~Database() { sqlite3_close_v2(handle_); }

absl::Status Database::Error(int code) const {
  LogError("database error", {{"code", absl::StrCat(code)}, {"detail", sqlite3_errmsg(handle_)}});
  switch (code & 0xFF) {
    case SQLITE_FULL:
      return StatusWithReason(absl::StatusCode::kResourceExhausted, kDiskFull,
                              "the server's disk is full; free some space and try again");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return StatusWithReason(absl::StatusCode::kDataLoss, "DATABASE_DAMAGED",
                              "the server's database is damaged; restore it from a backup");
    case SQLITE_CONSTRAINT:
      if (code == SQLITE_CONSTRAINT_TRIGGER) return absl::InternalError("the server's database refuses the change");
      return absl::AlreadyExistsError("it exists already");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError("the server's database is busy; try again");
    case SQLITE_NOMEM:
      return StatusWithReason(absl::StatusCode::kResourceExhausted, kOutOfMemory,
                              "the server has no memory left for its database; try again later");
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
      return StatusWithReason(absl::StatusCode::kUnavailable, kDiskFailing,
                              "the server's disk does not take or give what its database asks for; try again later");
    default:
      return absl::InternalError("the server's database failed; its log says more");
  }
}

absl::StatusOr<std::vector<Row>> Database::Query(std::string_view sql, const std::vector<Value>& parameters) {
  sqlite3_stmt* raw = nullptr;
  int code = sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &raw, nullptr);
  const Statement statement(raw);
  if (code != SQLITE_OK) return Error(code);
  for (size_t i = 0; i < parameters.size(); ++i) {
    code = Bind(raw, static_cast<int>(i) + 1, parameters[i]);
    if (code != SQLITE_OK) return Error(code);
  }
  std::vector<Row> rows;
  while ((code = sqlite3_step(raw)) == SQLITE_ROW) {
    Row row;
    for (int column = 0; column < sqlite3_column_count(raw); ++column) row.push_back(Column(raw, column));
    rows.push_back(std::move(row));
  }
  if (code != SQLITE_DONE) return Error(code);
  return rows;
}

absl::StatusOr<int64_t> Database::Execute(std::string_view sql, const std::vector<Value>& parameters) {
  ENGRAM_RETURN_IF_ERROR(Query(sql, parameters).status());
  return sqlite3_changes64(handle_);
}

absl::Status Database::Script(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

absl::StatusOr<std::unique_ptr<Transaction>> Transaction::Begin(Database& database) {
  ENGRAM_RETURN_IF_ERROR(database.Script("BEGIN IMMEDIATE"));
  return std::unique_ptr<Transaction>(new Transaction(database));
}

Transaction::~Transaction() {
  // A failed commit on a full disk may have rolled back by itself; a second rollback then only reports that.
  if (open_) static_cast<void>(database_.Script("ROLLBACK"));
}

absl::Status Transaction::Commit() {
  ENGRAM_RETURN_IF_ERROR(database_.Script("COMMIT"));
  open_ = false;
  return absl::OkStatus();
}

}  // namespace engram::jobs
