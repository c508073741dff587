#include "core/checkpoint/shared_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"

namespace engram::checkpoint {
namespace {

// Whether both files can be read and are equal.
absl::StatusOr<bool> SameContent(const std::string& path, const std::string& other) {
  ENGRAM_ASSIGN_OR_RETURN(const MappedFile own, MappedFile::Open(path));
  const absl::StatusOr<MappedFile> its = MappedFile::Open(other);
  return its.ok() && std::equal(own.bytes().begin(), own.bytes().end(), its->bytes().begin(), its->bytes().end());
}

bool OneFile(const std::string& path, const std::string& other) {
  struct stat own = {}, its = {};
  return stat(path.c_str(), &own) == 0 && stat(other.c_str(), &its) == 0 && own.st_dev == its.st_dev &&
         own.st_ino == its.st_ino;
}

}  // namespace

absl::StatusOr<int64_t> ShareFiles(const std::string& directory, const VersionManifest& manifest,
                                   const std::string& other, const VersionManifest& of_other,
                                   const std::string& spare) {
  std::map<std::string, std::string> by_digest;
  for (const auto& [name, digest] : of_other.files) by_digest.emplace(digest, name);
  int64_t saved = 0;
  for (const auto& [name, digest] : manifest.files) {
    const auto found = by_digest.find(digest);
    if (found == by_digest.end()) continue;
    const std::string path = absl::StrCat(directory, "/", name), its = absl::StrCat(other, "/", found->second);
    if (OneFile(path, its)) continue;
    ENGRAM_ASSIGN_OR_RETURN(const bool same, SameContent(path, its));
    if (!same) continue;  // the other one is damaged
    ENGRAM_ASSIGN_OR_RETURN(const int64_t bytes, FileBytes(path));
    unlink(spare.c_str());
    if (link(its.c_str(), spare.c_str()) != 0) continue;
    if (std::rename(spare.c_str(), path.c_str()) == 0) {
      saved += bytes;
    } else {
      unlink(spare.c_str());
    }
  }
  return saved;
}

int64_t DiskBytes(const std::string& directory) {
  std::set<std::pair<dev_t, ino_t>> seen;
  int64_t bytes = 0;
  std::error_code gone;
  for (auto entry = std::filesystem::recursive_directory_iterator(directory, gone);
       !gone && entry != std::filesystem::recursive_directory_iterator(); entry.increment(gone)) {
    struct stat about = {};
    if (lstat(entry->path().c_str(), &about) != 0 || !S_ISREG(about.st_mode)) continue;
    if (about.st_nlink == 1 || seen.emplace(about.st_dev, about.st_ino).second) bytes += about.st_blocks * 512;
  }
  return bytes;
}

}  // namespace engram::checkpoint
