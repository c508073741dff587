#include "core/nn/version.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/build_info.h"
#include "core/base/files.h"
#include "core/checkpoint/sentence_modules.h"
#include "core/checkpoint/version_directory.h"
#include "core/nn/task_blocks.h"
#include "core/nn/update_file.h"
#include "torch/headeronly/version.h"

namespace engram::nn {
namespace {

// The task whose head the standard names of model.safetensors can hold: the last one learned that transformers has a
// class for.
std::string DefaultTask(const checkpoint::VersionManifest& manifest) {
  for (auto task = manifest.tasks.rbegin(); task != manifest.tasks.rend(); ++task) {
    if (task->pooling == checkpoint::Pooling::kStandard && task->blocks.kind == checkpoint::BlocksKind::kNone)
      return task->name;
  }
  return "";
}

// Blocks are made by the numbers of engram.json: not before the file that is to fill them is known to be as large.
absl::Status CheckBlocksFit(const std::string& directory, const checkpoint::VersionManifest& manifest,
                            const checkpoint::EncoderSizes& sizes) {
  int64_t elements = 0;
  for (const checkpoint::ManifestTask& task : manifest.tasks) {
    std::vector<int64_t> widths;
    for (const std::string& name : task.blocks.earlier)
      widths.push_back(checkpoint::FindManifestTask(manifest, name)->blocks.width);
    elements += TaskBlocks::Elements(task.blocks, sizes, widths);
  }
  if (elements == 0) return absl::OkStatus();
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(absl::StrCat(directory, "/", checkpoint::kHeadsFile), error);
  if (!error && bytes / sizeof(float) >= static_cast<uintmax_t>(elements)) return absl::OkStatus();
  return InvalidField(checkpoint::kHeadsFile, "is missing or too small for the tasks' blocks");
}

}  // namespace

HeadConfig ToHeadConfig(const checkpoint::ManifestTask& task) {
  return {task.kind, static_cast<int64_t>(task.labels.size()), task.pooling, task.expansion, task.blocks};
}

std::vector<std::string> CompanionFiles(const std::string& directory) {
  std::vector<std::string> files;
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"}) {
    if (PathExists(absl::StrCat(directory, "/", name))) files.emplace_back(name);
  }
  const std::vector<std::string> modules = checkpoint::SentenceFiles(directory);
  files.insert(files.end(), modules.begin(), modules.end());
  return files;
}

std::vector<std::string> MemoryFiles(const checkpoint::VersionManifest& manifest) {
  std::vector<std::string> files;
  if (manifest.files.contains(checkpoint::kContinualFile)) files.emplace_back(checkpoint::kContinualFile);
  for (const checkpoint::ManifestMemory& memory : manifest.memory) files.push_back(memory.file);
  return files;
}

absl::StatusOr<Version> LoadVersion(const std::string& directory, const VersionOptions& options) {
  Version version;
  ENGRAM_ASSIGN_OR_RETURN(version.manifest, checkpoint::ReadManifest(directory));
  if (options.verify) ENGRAM_RETURN_IF_ERROR(checkpoint::VerifyFiles(directory, version.manifest));
  LoadOptions load;
  load.device = options.device;
  load.precision = options.precision;
  load.dropout = options.dropout;
  if (options.new_head) load.other_heads.push_back(*options.new_head);
  for (const checkpoint::ManifestTask& task : version.manifest.tasks) load.other_heads.push_back(ToHeadConfig(task));
  const checkpoint::ManifestTask* standard =
      checkpoint::FindManifestTask(version.manifest, version.manifest.default_task);
  if (standard != nullptr) load.head = FileHead{standard->name, ToHeadConfig(*standard)};
  ENGRAM_ASSIGN_OR_RETURN(LoadedModel loaded, LoadModel(directory, load));
  ENGRAM_RETURN_IF_ERROR(CheckBlocksFit(directory, version.manifest, loaded.config));
  std::vector<checkpoint::ManifestTask> others;
  for (const checkpoint::ManifestTask& task : version.manifest.tasks) {
    if (task.name != version.manifest.default_task) others.push_back(task);
  }
  // A column after those that it reads, whatever the order in which their tasks were first learned.
  std::stable_sort(others.begin(), others.end(), [](const auto& one, const auto& other) {
    return one.blocks.earlier.size() < other.blocks.earlier.size();
  });
  for (const checkpoint::ManifestTask& task : others)
    ENGRAM_RETURN_IF_ERROR(loaded.model->AddHead(task.name, ToHeadConfig(task), /*seed=*/0));
  if (!others.empty()) {
    ENGRAM_RETURN_IF_ERROR(
        LoadHeads(absl::StrCat(directory, "/", checkpoint::kHeadsFile), version.manifest.default_task, *loaded.model));
  }
  std::map<std::string, double> scales;
  for (const checkpoint::ManifestTask& task : version.manifest.tasks) {
    if (task.blocks.kind == checkpoint::BlocksKind::kMasked) scales[task.name] = task.blocks.scale;
  }
  if (!scales.empty()) {
    ENGRAM_RETURN_IF_ERROR(LoadUpdate(absl::StrCat(directory, "/", checkpoint::kUpdateFile), scales, *loaded.model));
  }
  loaded.model->parameters().RefreshCompute();
  version.model = std::move(loaded.model);
  version.config = std::move(loaded.config);
  version.config_text = std::move(loaded.config_text);
  return version;
}

absl::Status SaveVersion(const Model& model, const std::string& config_text, const std::string& source,
                         const std::vector<std::string>& kept, checkpoint::VersionManifest& manifest,
                         const std::string& directory) {
  manifest.default_task = DefaultTask(manifest);
  for (checkpoint::ManifestTask& task : manifest.tasks) {
    const bool standard = task.name == manifest.default_task;
    task.head_file = standard ? checkpoint::kModelFile : checkpoint::kHeadsFile;
    task.head_prefix = standard ? "" : absl::StrCat("heads.", task.name, ".");
  }
  const checkpoint::ManifestTask* standard = checkpoint::FindManifestTask(manifest, manifest.default_task);
  ENGRAM_RETURN_IF_ERROR(SaveModel(model, config_text, manifest.default_task,
                                   standard == nullptr ? std::vector<std::string>() : standard->labels, directory));
  ENGRAM_RETURN_IF_ERROR(SaveHeads(model, manifest.default_task, absl::StrCat(directory, "/", checkpoint::kHeadsFile)));
  ENGRAM_RETURN_IF_ERROR(SaveUpdate(model, absl::StrCat(directory, "/", checkpoint::kUpdateFile)));
  std::vector<std::string> copied = CompanionFiles(source);
  copied.insert(copied.end(), kept.begin(), kept.end());
  for (const std::string& file : copied) {
    const std::string target = absl::StrCat(directory, "/", file);
    ENGRAM_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(target).parent_path().string()));
    ENGRAM_RETURN_IF_ERROR(CopyFile(absl::StrCat(source, "/", file), target));
  }
  manifest.software = {{"engram", std::string(EngramVersion())}, {"libtorch", TORCH_VERSION}};
  return checkpoint::WriteManifest(directory, manifest);
}

}  // namespace engram::nn
