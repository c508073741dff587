#include "server/library/dataset_uses.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/checkpoint/manifest.h"
#include "core/train/version_memory.h"
#include "server/library/catalog.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

constexpr int64_t kPage = 1000;

// "label stable"; "the newest version" where that is what is asked for by the model's name; empty if it is not served.
std::string ServedAs(const jobs::ModelRecord& model, int64_t number) {
  for (const auto& [label, version] : model.labels) {
    if (version == number) return absl::StrCat("label ", label);
  }
  return number == model.latest && !model.labels.contains("stable") ? "the newest version" : "";
}

// Whether a memory of the version holds examples of one of `tasks`.
absl::StatusOr<bool> KeepsTexts(const std::string& directory, const checkpoint::VersionManifest& manifest,
                                const std::set<std::string>& tasks) {
  for (const checkpoint::ManifestMemory& memory : manifest.memory) {
    if (memory.rows == 0) continue;
    if (!memory.tasks.empty()) {
      if (std::any_of(memory.tasks.begin(), memory.tasks.end(),
                      [&](const auto& counted) { return tasks.contains(counted.first); })) {
        return true;
      }
      continue;
    }
    // An older program did not count them.
    ENGRAM_ASSIGN_OR_RETURN(const train::VersionMemory kept, train::ReadVersionMemory(directory, memory.strategy));
    if (std::any_of(kept.examples.begin(), kept.examples.end(),
                    [&](const train::StoredExample& stored) { return tasks.contains(stored.task); })) {
      return true;
    }
  }
  return false;
}

absl::Status AddUses(const DataPaths& paths, const Catalog& catalog, const jobs::ModelRecord& model, int64_t number,
                     const jobs::DatasetRecord& dataset, engram::v1::DeleteDatasetResponse& out) {
  const absl::StatusOr<checkpoint::VersionManifest> manifest = catalog.Manifest(model.name, number);
  if (!manifest.ok()) return absl::OkStatus();
  const std::string served = ServedAs(model, number), name = VersionName(model.name, number);
  std::set<std::string> tasks;
  for (const checkpoint::ManifestTask& task : manifest->tasks) {
    if (task.dataset != dataset.name || task.dataset_digest != dataset.digest) continue;
    tasks.insert(task.name);
    if (!served.empty()) out.add_served_tasks(absl::StrCat(name, ": ", task.name, " (", served, ")"));
  }
  if (tasks.empty()) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const bool keeps, KeepsTexts(paths.version(model.name, number), *manifest, tasks));
  if (keeps) out.add_versions_with_texts(name);
  return absl::OkStatus();
}

}  // namespace

absl::Status FindDatasetUses(jobs::Store& store, const DataPaths& paths, const jobs::DatasetRecord& dataset,
                             engram::v1::DeleteDatasetResponse& out) {
  const Catalog catalog(store, paths);
  for (std::string after;;) {
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::ModelRecord> models, store.ListModels(after, kPage));
    if (models.empty()) return absl::OkStatus();
    after = models.back().name;
    for (const jobs::ModelRecord& model : models) {
      for (int64_t before = 0;;) {
        ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::VersionRecord> versions,
                                store.ListVersions(model.name, before, kPage));
        if (versions.empty()) break;
        before = versions.back().number;
        for (const jobs::VersionRecord& version : versions)
          ENGRAM_RETURN_IF_ERROR(AddUses(paths, catalog, model, version.number, dataset, out));
      }
    }
  }
}

}  // namespace engram::server
