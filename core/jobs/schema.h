#pragma once

// The tables of the store's database, as the steps that make them. Only the store's own files include this.

namespace engram::jobs {

// SQL that holds for jobs that have not ended (JobState).
inline constexpr const char* kUnfinished = "state<4";

// Kinds of directories in `removals`.
inline constexpr const char *kVersionKind = "version", *kDatasetKind = "dataset";

inline constexpr const char* kFirstSchema = R"(
CREATE TABLE models(name TEXT PRIMARY KEY, created INTEGER NOT NULL, next_version INTEGER NOT NULL);
CREATE TABLE versions(model TEXT NOT NULL REFERENCES models(name), number INTEGER NOT NULL, parent INTEGER NOT NULL,
  job TEXT NOT NULL, created INTEGER NOT NULL, size_bytes INTEGER NOT NULL, metrics BLOB, PRIMARY KEY(model, number));
CREATE TABLE labels(model TEXT NOT NULL, label TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY(model, label),
  FOREIGN KEY(model, version) REFERENCES versions(model, number));
CREATE TABLE label_history(id INTEGER PRIMARY KEY, model TEXT NOT NULL, label TEXT NOT NULL, version INTEGER NOT NULL,
  time INTEGER NOT NULL);
CREATE TABLE datasets(name TEXT PRIMARY KEY, kind INTEGER NOT NULL, training_rows INTEGER NOT NULL, test_rows INTEGER NOT NULL,
  labels TEXT NOT NULL, digest TEXT NOT NULL, created INTEGER NOT NULL, size_bytes INTEGER NOT NULL);
CREATE TABLE jobs(id TEXT PRIMARY KEY, state INTEGER NOT NULL, model TEXT NOT NULL, base_version INTEGER NOT NULL,
  version INTEGER NOT NULL, label TEXT NOT NULL, datasets TEXT NOT NULL, priority INTEGER NOT NULL, created INTEGER NOT NULL,
  started INTEGER, ended INTEGER, attempts INTEGER NOT NULL, description BLOB NOT NULL, specification BLOB, outcome BLOB);
CREATE INDEX jobs_by_state ON jobs(state);
CREATE TABLE requests(id TEXT PRIMARY KEY, method TEXT NOT NULL, digest TEXT NOT NULL, resource TEXT NOT NULL,
  created INTEGER NOT NULL);
)";
// A job need not belong to a model, nor start from a version. SQLite takes no constraint back: the table is made anew.
inline constexpr const char* kModelOptional = R"(
CREATE TABLE jobs_anew(id TEXT PRIMARY KEY, state INTEGER NOT NULL, model TEXT, base_version INTEGER,
  version INTEGER NOT NULL, label TEXT NOT NULL, datasets TEXT NOT NULL, priority INTEGER NOT NULL, created INTEGER NOT NULL,
  started INTEGER, ended INTEGER, attempts INTEGER NOT NULL, description BLOB NOT NULL, specification BLOB, outcome BLOB,
  request INTEGER NOT NULL DEFAULT 0);
INSERT INTO jobs_anew SELECT id, state, model, nullif(base_version, 0), version, label, datasets, priority, created,
  started, ended, attempts, description, specification, outcome, request FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_anew RENAME TO jobs;
CREATE INDEX jobs_by_state ON jobs(state);
)";
// Which database this is, and which of its directories may be removed when they are found at a start: of versions and
// data sets that were about to appear, or that were deleted. What is in neither table nor here is nobody's to remove.
inline constexpr const char* kIdentity = R"(
CREATE TABLE identity(id TEXT NOT NULL, starts INTEGER NOT NULL);
INSERT INTO identity VALUES(lower(hex(randomblob(16))), 0);
CREATE TABLE removals(kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL,
  PRIMARY KEY(kind, name, number)) WITHOUT ROWID;
)";
// Step n takes a database of format n to format n + 1; a new one takes them all. Append only.
inline constexpr const char* kSchemaSteps[] = {
    kFirstSchema,
    "ALTER TABLE jobs ADD COLUMN request INTEGER NOT NULL DEFAULT 0",
    kModelOptional,
    "CREATE INDEX IF NOT EXISTS jobs_by_base ON jobs(model, base_version)",
    "ALTER TABLE datasets ADD COLUMN validation_rows INTEGER NOT NULL DEFAULT 0",
    kIdentity};

}  // namespace engram::jobs
