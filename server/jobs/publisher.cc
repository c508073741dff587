#include "server/jobs/publisher.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/checkpoint/shared_files.h"
#include "core/checkpoint/version_directory.h"
#include "core/corpus/dataset.h"
#include "server/jobs/job_kind.h"

namespace engram::server {

absl::StatusOr<Published> Publisher::Publish(const jobs::JobRecord& job, const engram::v1::JobResult& result) const {
  if (job.version != 0) return PublishVersion(job, result);
  engram::worker::v1::RunSpec spec;
  if (!spec.ParseFromString(job.specification)) return absl::DataLossError("the job's specification is damaged");
  const JobKind* const kind = FindJobKind(spec.work_case());
  if (kind == nullptr || kind->facts().output != JobOutput::kDataset) return Published();
  return PublishDataset(job, kind->MadeDataset(spec), result);
}

absl::StatusOr<Published> Publisher::PublishDataset(const jobs::JobRecord& job, const std::string& name,
                                                    const engram::v1::JobResult& result) const {
  const std::string output = paths_.run(job.id) + "/output";
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> files, ListDirectory(output));
  jobs::DatasetRecord record;
  record.name = name;
  record.kind = static_cast<int64_t>(corpus::DatasetKind::kText);
  record.training_rows = result.collected().pages();
  ENGRAM_ASSIGN_OR_RETURN(const std::string training, Sha256HexOfFile(output + "/train.jsonl"));
  record.digest = Sha256Hex(training + Sha256Hex(""));  // as that of an upload (DatasetService)
  for (const std::string& file : files) {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t bytes, FileBytes(absl::StrCat(output, "/", file)));
    record.size_bytes += bytes;
  }
  // Copied, not moved: until the job's end is stored, all of this may be done again.
  ENGRAM_RETURN_IF_ERROR(shelf_
                             .Put(record,
                                  [&](const std::string& directory) {
                                    for (const std::string& file : files) {
                                      ENGRAM_RETURN_IF_ERROR(CopyFile(absl::StrCat(output, "/", file),
                                                                      absl::StrCat(directory, "/", file)));
                                    }
                                    return absl::OkStatus();
                                  })
                             .status());
  return Published{std::nullopt, name};
}

void Publisher::ShareWithParent(const jobs::JobRecord& job, const std::string& output) const {
  const std::string parent = paths_.version(job.model, job.base_version);
  const auto manifest = checkpoint::ReadManifest(output), of_parent = checkpoint::ReadManifest(parent);
  if (!manifest.ok() || !of_parent.ok()) return;  // what publishes the version says so
  const absl::StatusOr<int64_t> saved =
      checkpoint::ShareFiles(output, *manifest, parent, *of_parent, paths_.run(job.id) + "/shared");
  if (saved.ok() && *saved > 0)
    LogInfo("files are shared with the version before", {{"job", job.id}, {"bytes", absl::StrCat(*saved)}});
}

absl::StatusOr<Published> Publisher::PublishVersion(const jobs::JobRecord& job,
                                                    const engram::v1::JobResult& result) const {
  const std::string target = paths_.version(job.model, job.version);
  const std::string output = paths_.run(job.id) + "/output";
  // The output is gone, and the version there, where an earlier attempt ended between the rename and the transaction.
  if (PathExists(output) || !PathExists(target)) {
    ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.versions(job.model)));
    if (PathExists(output)) ShareWithParent(job, output);
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
  return Published{std::move(version), ""};
}

absl::Status Publisher::TrimRun(const std::string& job) const {
  for (const char* made : {"/output", "/result.binpb"}) ENGRAM_RETURN_IF_ERROR(RemoveTree(paths_.run(job) + made));
  return absl::OkStatus();
}

absl::Status Publisher::RemoveRun(const std::string& job) const { return RemoveTree(paths_.run(job)); }

}  // namespace engram::server
