#include "server/jobs/publisher.h"

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/version_directory.h"

namespace engram::server {

absl::StatusOr<std::optional<jobs::VersionRecord>> Publisher::Publish(const jobs::JobRecord& job,
                                                                      const engram::v1::JobResult& result) const {
  if (job.version == 0) return std::nullopt;
  const std::string target = paths_.version(job.model, job.version);
  const std::string output = paths_.run(job.id) + "/output";
  // The output is gone, and the version there, where an earlier attempt ended between the rename and the transaction.
  if (PathExists(output) || !PathExists(target)) {
    ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.versions(job.model)));
    ENGRAM_RETURN_IF_ERROR(checkpoint::PublishDirectory(output, target));
  }
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::VersionManifest manifest, checkpoint::ReadManifest(target));
  jobs::VersionRecord version;
  version.model = job.model;
  version.number = job.version;
  version.parent = job.base_version;
  version.job = job.id;
  for (const auto& [name, digest] : manifest.files)
    version.size_bytes += FileBytes(absl::StrCat(target, "/", name)).value_or(0);
  engram::v1::JobResult metrics;
  *metrics.mutable_metrics() = result.metrics();
  version.metrics = metrics.SerializeAsString();
  return version;
}

absl::Status Publisher::TrimRun(const std::string& job) const {
  for (const char* made : {"/output", "/result.binpb"}) ENGRAM_RETURN_IF_ERROR(RemoveTree(paths_.run(job) + made));
  return absl::OkStatus();
}

absl::Status Publisher::RemoveRun(const std::string& job) const { return RemoveTree(paths_.run(job)); }

}  // namespace engram::server
