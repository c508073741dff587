#include "core/web/page_cache.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "nlohmann/json.hpp"

namespace engram::web {
namespace {

constexpr size_t kMaxFile = size_t{256} << 20;

}  // namespace

std::string PageCache::PathOf(const std::string& url) const { return absl::StrCat(directory_, "/", Sha256Hex(url)); }

std::optional<CachedPage> PageCache::Find(const std::string& url) const {
  if (directory_.empty()) return std::nullopt;
  const absl::StatusOr<std::string> bytes = ReadFile(PathOf(url), kMaxFile);
  if (!bytes.ok()) return std::nullopt;
  const size_t line = bytes->find('\n');
  if (line == std::string::npos) return std::nullopt;
  const auto head = nlohmann::json::parse(bytes->substr(0, line), nullptr, /*allow_exceptions=*/false);
  if (!head.is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto found = head.find(key);
    return found == head.end() || !found->is_string() ? std::string() : found->get<std::string>();
  };
  CachedPage page{text("url"), text("content_type"), text("etag"), text("last_modified"), bytes->substr(line + 1)};
  if (page.url != url || text("sha256") != Sha256Hex(page.body)) return std::nullopt;
  return page;
}

absl::Status PageCache::Keep(const CachedPage& page) const {
  if (directory_.empty() || (page.etag.empty() && page.last_modified.empty())) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(directory_));
  const nlohmann::json head = {{"url", page.url},
                               {"content_type", page.content_type},
                               {"etag", page.etag},
                               {"last_modified", page.last_modified},
                               {"sha256", Sha256Hex(page.body)}};
  // Headers are bytes that a server chose.
  const std::string line = head.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
  const std::string_view parts[] = {line, page.body};
  return WritePartsAtomic(PathOf(page.url), parts);
}

absl::Status PageCache::Trim(int64_t max_bytes) const {
  if (directory_.empty() || !PathExists(directory_)) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory_));
  std::vector<std::tuple<std::filesystem::file_time_type, std::string, int64_t>> files;
  int64_t total = 0;
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(directory_, "/", name);
    std::error_code error;
    const auto time = std::filesystem::last_write_time(path, error);
    const absl::StatusOr<int64_t> bytes = FileBytes(path);
    if (error || !bytes.ok()) continue;  // another collection has just removed it
    files.emplace_back(time, path, *bytes);
    total += *bytes;
  }
  std::sort(files.begin(), files.end());
  for (const auto& [time, path, bytes] : files) {
    if (total <= max_bytes) break;
    ENGRAM_RETURN_IF_ERROR(RemoveTree(path));
    total -= bytes;
  }
  return absl::OkStatus();
}

}  // namespace engram::web
