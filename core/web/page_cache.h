#pragma once

// Pages as they came, so that a later collection can ask whether they have changed (If-None-Match, If-Modified-Since).

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace engram::web {

struct CachedPage {
  std::string url;  // as it was asked for
  std::string content_type, etag, last_modified;
  std::string body;
};

// A folder of files. Thread-safe, also between processes: files appear whole.
class PageCache {
 public:
  // An empty folder name: keeps nothing.
  explicit PageCache(std::string directory) : directory_(std::move(directory)) {}

  // nullopt if there is none, or none that can be read.
  std::optional<CachedPage> Find(const std::string& url) const;
  // Only pages with an ETag or a Last-Modified are kept.
  absl::Status Keep(const CachedPage& page) const;
  // Removes the pages that were kept longest ago until the rest takes at most `max_bytes`.
  absl::Status Trim(int64_t max_bytes) const;

 private:
  std::string PathOf(const std::string& url) const;
  const std::string directory_;
};

}  // namespace engram::web
