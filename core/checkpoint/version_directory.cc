#include "core/checkpoint/version_directory.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/lack.h"
#include "core/base/strict_json.h"

namespace engram::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 8;
constexpr size_t kNamesShown = 20;

absl::Status DigestInto(const std::string& directory, const std::string& prefix, int depth,
                        std::map<std::string, std::string>& digests) {
  if (depth > kMaxDepth)
    return absl::InvalidArgumentError(absl::StrCat("the directory nests deeper than ", kMaxDepth, " levels"));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    const std::string path = directory + "/" + name, relative = prefix + name;
    if (relative == kManifestFile) continue;
    std::error_code error;
    const fs::file_type type = fs::symlink_status(path, error).type();
    if (type == fs::file_type::directory) {
      ENGRAM_RETURN_IF_ERROR(DigestInto(path, relative + "/", depth + 1, digests));
    } else if (type == fs::file_type::regular) {
      ENGRAM_ASSIGN_OR_RETURN(digests[relative], Sha256HexOfFile(path));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(relative), " is neither a regular file nor a directory; copy the file itself here"));
    }
  }
  return absl::OkStatus();
}

// rename(2) that never replaces anything. File systems without RENAME_NOREPLACE get a check first; a directory that
// appears in between is still not lost, because rename replaces empty directories only.
int RenameNoReplace(const std::string& from, const std::string& to) {
  if (syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (PathExists(to)) return EEXIST;
  return rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

absl::Status RenameError(int error) {
  switch (error) {
    case EEXIST:
    case ENOTEMPTY:
      return StatusWithReason(absl::StatusCode::kAlreadyExists, "VERSION_EXISTS",
                              "this version exists already; versions are never replaced");
    case ENOSPC:
    case EDQUOT:
      return StatusWithReason(absl::StatusCode::kResourceExhausted, "DISK_FULL",
                              "no space left on the disk for the version; free some and try again");
    case EXDEV:
      return absl::FailedPreconditionError(
          "the version was prepared on another file system than the one it belongs to");
    default:
      return StatusOfErrno(error, "publishing the version");
  }
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> DigestFiles(const std::string& directory) {
  std::map<std::string, std::string> digests;
  ENGRAM_RETURN_IF_ERROR(DigestInto(directory, "", 1, digests));
  return digests;
}

absl::Status WriteManifest(const std::string& directory, VersionManifest& manifest) {
  ENGRAM_ASSIGN_OR_RETURN(manifest.files, DigestFiles(directory));
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, RenderManifest(manifest));
  return WriteFileAtomic(absl::StrCat(directory, "/", kManifestFile), text);
}

absl::Status VerifyFiles(const std::string& directory, const VersionManifest& manifest) {
  using Digests = std::map<std::string, std::string>;
  ENGRAM_ASSIGN_OR_RETURN(const Digests actual, DigestFiles(directory));
  std::vector<std::string> missing, changed, added;
  for (const auto& [name, digest] : manifest.files) {
    auto found = actual.find(name);
    if (found == actual.end()) {
      missing.push_back(Quoted(name));
    } else if (found->second != digest) {
      changed.push_back(Quoted(name));
    }
  }
  for (const auto& [name, digest] : actual) {
    if (!manifest.files.contains(name)) added.push_back(Quoted(name));
  }
  std::string text;
  for (const auto& [what, names] : {std::pair{"missing", &missing}, {"changed", &changed}, {"not listed", &added}}) {
    if (names->empty()) continue;
    const size_t shown = std::min(names->size(), kNamesShown);
    absl::StrAppend(&text, "; ", what, " (", names->size(),
                    "): ", absl::StrJoin(names->begin(), names->begin() + shown, ", "),
                    shown < names->size() ? ", ..." : "");
  }
  if (text.empty()) return absl::OkStatus();
  return StatusWithReason(absl::StatusCode::kDataLoss, "VERSION_DAMAGED",
                          absl::StrCat("the version's files are not those of its engram.json", text));
}

absl::Status ExchangeDirectories(const std::string& staging, const std::string& target) {
  ENGRAM_RETURN_IF_ERROR(SyncTree(staging));
  if (syscall(SYS_renameat2, AT_FDCWD, staging.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) != 0)
    return StatusOfErrno(errno, "replacing the version's directory");
  ENGRAM_RETURN_IF_ERROR(SyncDirectory(fs::path(target).parent_path().string()));
  return SyncDirectory(fs::path(staging).parent_path().string());
}

absl::Status PublishDirectory(const std::string& staging, const std::string& target) {
  ENGRAM_RETURN_IF_ERROR(SyncTree(staging));
  const fs::path trimmed = fs::path(target).has_filename() ? fs::path(target) : fs::path(target).parent_path();
  if (const int error = RenameNoReplace(staging, trimmed.string()); error != 0) return RenameError(error);
  return SyncDirectory(trimmed.has_parent_path() ? trimmed.parent_path().string() : ".");
}

absl::Status BuildAndPublish(const std::string& staging, const std::string& target,
                             const std::function<absl::Status(const std::string& directory)>& fill) {
  ENGRAM_RETURN_IF_ERROR(RemoveTree(staging));
  absl::Status status = MakeDirectories(staging);
  if (status.ok()) status = fill(staging);
  if (status.ok()) status = PublishDirectory(staging, target);
  if (!status.ok()) RemoveTree(staging).IgnoreError();
  return status;
}

}  // namespace engram::checkpoint
