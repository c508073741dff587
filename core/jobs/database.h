#pragma once

// SQLite with statuses instead of return codes. One connection; the owner serialises access (sqlite is opened without
// its own locks). Errors: RESOURCE_EXHAUSTED for a full disk, DATA_LOSS for a damaged file, ALREADY_EXISTS for a broken
// uniqueness rule, UNAVAILABLE for a lock and for a disk that fails, INTERNAL for the rest; texts of the database never
// reach a client.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace engram::jobs {

// Bytes that may hold anything, as a parameter; rows give them back as std::string.
struct Bytes {
  std::string value;
};
// A value of a row or of a parameter: NULL, integer, text, bytes.
using Value = std::variant<std::monostate, int64_t, std::string, Bytes>;
using Row = std::vector<Value>;

int64_t AsInteger(const Value& value);   // 0 for NULL
std::string AsText(const Value& value);  // empty for NULL

class Database {
 public:
  // Opens or creates the file, in WAL mode with full synchronisation: a committed transaction survives power loss.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // One statement with its parameters (?1, ?2, ...); all rows of the answer.
  absl::StatusOr<std::vector<Row>> Query(std::string_view sql, const std::vector<Value>& parameters = {});
  // A statement that answers nothing; returns how many rows it changed.
  absl::StatusOr<int64_t> Execute(std::string_view sql, const std::vector<Value>& parameters = {});
  // Several statements without parameters.
  absl::Status Script(const std::string& sql);

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  absl::Status Error(int code) const;

  sqlite3* handle_;
};

// BEGIN IMMEDIATE ... COMMIT; rolls back unless Commit succeeded.
class Transaction {
 public:
  static absl::StatusOr<std::unique_ptr<Transaction>> Begin(Database& database);
  ~Transaction();
  absl::Status Commit();

 private:
  explicit Transaction(Database& database) : database_(database) {}
  Database& database_;
  bool open_ = true;
};

}  // namespace engram::jobs
