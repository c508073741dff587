#pragma once

// Where things lie below data_dir.

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace engram::server {

struct DataPaths {
  std::string data_dir;

  std::string lock() const { return data_dir + "/lock"; }
  std::string database() const { return data_dir + "/engram.db"; }
  // Which database the rest belongs to (data_mark.h).
  std::string mark() const { return data_dir + "/engram.mark"; }
  // Directories that the database does not know and that were in the way; nobody but the user empties it.
  std::string lost_and_found() const { return data_dir + "/lost+found"; }
  std::string models() const { return data_dir + "/models"; }
  std::string datasets() const { return data_dir + "/datasets"; }
  std::string runs() const { return data_dir + "/runs"; }
  // What is being received, and what was deleted until its files are gone; emptied at every start.
  std::string staging() const { return data_dir + "/staging"; }

  // Pages of the web as they came, so that a later collection asks for what has changed alone.
  std::string page_cache() const { return data_dir + "/page-cache"; }

  std::string versions(const std::string& model) const { return absl::StrCat(models(), "/", model, "/versions"); }
  std::string version(const std::string& model, int64_t number) const {
    return absl::StrCat(versions(model), "/", number);
  }
  std::string dataset(const std::string& name) const { return absl::StrCat(datasets(), "/", name); }
  std::string training(const std::string& name) const { return dataset(name) + "/train.jsonl"; }
  std::string test(const std::string& name) const { return dataset(name) + "/test.jsonl"; }
  // Of a data set that a collection made: what became of each page.
  std::string pages(const std::string& name) const { return dataset(name) + "/pages.jsonl"; }
  std::string validation(const std::string& name) const { return dataset(name) + "/validation.jsonl"; }
  std::string run(const std::string& job) const { return absl::StrCat(runs(), "/", job); }
};

}  // namespace engram::server
