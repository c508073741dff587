#include "server/worker/page_journal.h"

#include <unistd.h>

#include <cerrno>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/lack.h"
#include "core/corpus/dataset.h"
#include "google/protobuf/util/json_util.h"
#include "server/rpc/api_error.h"

namespace engram::worker {
namespace {

using engram::v1::Page;

constexpr int kFailuresShown = 20;

std::string ToLine(const Page& page) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string line;
  if (!google::protobuf::util::MessageToJsonString(page, &line, options).ok()) return "";
  return line + "\n";
}

bool FromLine(std::string_view line, Page& page) {
  return google::protobuf::util::JsonStringToMessage(std::string(line), &page).ok();
}

absl::Status Write(std::FILE* file, std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size()) return absl::OkStatus();
  return StatusOfErrno(errno, "writing pages");
}

absl::Status TooLarge(const char* reason, std::string_view message) {
  return StatusWithReason(absl::StatusCode::kResourceExhausted, reason, message);
}

}  // namespace

absl::StatusOr<PageJournal> PageJournal::Open(const std::string& path, int64_t max_text_bytes) {
  PageJournal journal(path, max_text_bytes);
  if (PathExists(path)) ENGRAM_RETURN_IF_ERROR(journal.Read());
  journal.file_.reset(std::fopen(path.c_str(), "ab"));
  if (!journal.file_) return StatusOfErrno(errno, "opening the pages collected so far");
  return journal;
}

absl::Status PageJournal::Read() {
  size_t whole = 0;
  {
    ENGRAM_ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::Open(path_));
    const std::string_view bytes(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
    for (size_t end = bytes.find('\n'); end != std::string_view::npos; end = bytes.find('\n', whole)) {
      Page page;
      if (!FromLine(bytes.substr(whole, end - whole), page))
        return absl::DataLossError("the pages collected so far are damaged; queue the collection again");
      Count(page);
      whole = end + 1;
    }
  }
  return truncate(path_.c_str(), static_cast<off_t>(whole)) == 0 ? absl::OkStatus()
                                                                 : StatusOfErrno(errno, "opening the pages so far");
}

void PageJournal::Count(const Page& page) {
  ++size_;
  counts_.set_downloaded_bytes(counts_.downloaded_bytes() + page.downloaded_bytes());
  counts_.set_unchanged(counts_.unchanged() + (page.unchanged() ? 1 : 0));
  if (page.has_error()) {
    counts_.set_failed(counts_.failed() + 1);
    if (counts_.failures_size() == kFailuresShown) return;
    engram::v1::PageFailure& failure = *counts_.add_failures();
    failure.set_source(page.source());
    *failure.mutable_error() = page.error();
  } else if (page.row() == 0) {
    counts_.set_duplicates(counts_.duplicates() + 1);
  } else {
    counts_.set_pages(page.row());
    text_bytes_ += static_cast<int64_t>(page.text().size());
    digests_.emplace(page.digest(), page.source());
  }
}

absl::Status PageJournal::Add(Page page) {
  const auto bytes = static_cast<int64_t>(page.text().size());
  absl::Status refused;
  if (page.text().size() > kMaxTextBytes) {
    refused = TooLarge("TEXT_TOO_LARGE",
                       absl::StrCat("its text has ", bytes, " bytes; at most ", kMaxTextBytes, " are taken"));
  } else if (bytes > max_text_bytes_ - text_bytes_) {
    refused =
        TooLarge("DATASET_TOO_LARGE", absl::StrCat("the texts together would have more than ", max_text_bytes_ >> 20,
                                                   " MiB (max_dataset_mb); make several collections"));
  }
  if (!page.text().empty()) page.set_digest(Sha256Hex(page.text()));
  const auto same = digests_.find(page.digest());
  if (!page.text().empty() && same != digests_.end()) {
    page.set_duplicate_of(same->second);
  } else if (!refused.ok()) {
    *page.mutable_error() = server::ToError(refused);
  } else if (!page.text().empty()) {
    page.set_row(counts_.pages() + 1);
  }
  if (page.row() == 0) {
    page.clear_text();
    page.clear_blocks();
  }
  const std::string line = ToLine(page);
  if (line.empty()) return absl::InternalError("a page cannot be written as JSON");
  ENGRAM_RETURN_IF_ERROR(Write(file_.get(), line));
  if (std::fflush(file_.get()) != 0) return StatusOfErrno(errno, "writing pages");
  Count(page);
  return absl::OkStatus();
}

absl::Status PageJournal::Finish(const std::string& directory) {
  ENGRAM_RETURN_IF_ERROR(CopyFile(path_, directory + "/pages.jsonl"));
  ENGRAM_ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::Open(path_));
  std::string_view bytes(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  const File rows(std::fopen((directory + "/train.jsonl").c_str(), "wb"));
  if (!rows) return StatusOfErrno(errno, "opening the rows of the data set");
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    Page page;
    if (end == std::string_view::npos || !FromLine(bytes.substr(0, end), page))
      return absl::DataLossError("the pages collected so far are damaged; queue the collection again");
    bytes.remove_prefix(end + 1);
    if (page.row() == 0) continue;
    corpus::Dataset row;
    row.kind = corpus::DatasetKind::kText;
    row.texts.push_back(page.text());
    ENGRAM_RETURN_IF_ERROR(Write(rows.get(), corpus::RenderCanonical(row)));
  }
  return std::fflush(rows.get()) == 0 ? absl::OkStatus() : StatusOfErrno(errno, "writing the rows of the data set");
}

}  // namespace engram::worker
