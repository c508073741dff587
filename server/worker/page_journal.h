#pragma once

// What became of the pages of a collection so far: a file that grows page by page, so that a run that is stopped, or
// killed, goes on with the page after the last one in it, and that is handed on with the data set in the end.

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "core/base/status.h"
#include "engram/v1/collection.pb.h"
#include "engram/v1/job.pb.h"

namespace engram::worker {

// One engram.v1.Page a line, as protobuf's JSON. Not thread-safe.
class PageJournal {
 public:
  // More text than this in one page is TEXT_TOO_LARGE: a row of a data set would be too long.
  static constexpr size_t kMaxTextBytes = size_t{32} << 20;

  // Reads what there is, and takes away a last line that broke off. `max_text_bytes`: of all texts together.
  // DATA_LOSS if a line before the last is damaged.
  static absl::StatusOr<PageJournal> Open(const std::string& path, int64_t max_text_bytes);

  // Pages so far, and what became of them.
  int64_t size() const { return size_; }
  const engram::v1::CollectedPages& counts() const { return counts_; }

  // Adds a page with a text, or with an error. Fills in its digest and its row; a text that a page before has makes it a
  // duplicate without one, a text that is too long for the data set an error (TEXT_TOO_LARGE, DATASET_TOO_LARGE).
  absl::Status Add(engram::v1::Page page);

  // Writes the files of a data set: train.jsonl, a row for each page that has one, and pages.jsonl, this journal.
  absl::Status Finish(const std::string& directory);

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, CloseFile>;

  PageJournal(std::string path, int64_t max_text_bytes) : path_(std::move(path)), max_text_bytes_(max_text_bytes) {}
  absl::Status Read();
  void Count(const engram::v1::Page& page);

  const std::string path_;
  const int64_t max_text_bytes_;
  File file_;
  int64_t size_ = 0, text_bytes_ = 0;
  engram::v1::CollectedPages counts_;
  std::map<std::string, std::string> digests_;  // -> source
};

}  // namespace engram::worker
