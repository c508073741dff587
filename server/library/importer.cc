#include "server/library/importer.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "ATen/ops/isfinite.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/strict_json.h"
#include "core/checkpoint/sentence_modules.h"
#include "core/checkpoint/version_directory.h"
#include "core/checkpoint/weight_files.h"
#include "core/continual/consolidation.h"
#include "core/nn/device.h"
#include "core/nn/sentence_vectors.h"
#include "core/nn/version.h"
#include "core/tagging/bio.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/version_memory.h"
#include "server/library/tag_trial.h"

namespace engram::server {
namespace {

// The head of the files: the task that it becomes, or why it becomes none.
struct Head {
  std::optional<checkpoint::ManifestTask> task;
  std::string problem;  // empty if there is a task, and for a bare encoder
};

// What the class in config.json says the file has.
Head HeadOf(const checkpoint::ModelConfig& config, const std::string& name) {
  if (config.architectures.empty()) return {};
  if (config.architectures.size() > 1) return {std::nullopt, "architectures names several classes"};
  const std::string& architecture = config.architectures[0];
  std::optional<checkpoint::TaskKind> kind = checkpoint::KindOfClass(architecture);
  // BERT's pre-training class is a masked LM with one more head, whose tensors are listed as left out.
  if (architecture.ends_with("ForPreTraining")) kind = checkpoint::TaskKind::kMaskedLanguageModel;
  if (!kind) {
    return {std::nullopt, architecture.ends_with("Model")
                              ? ""
                              : absl::StrCat("Engram has no task for the head of ", Quoted(architecture))};
  }
  if (!config.head_problem.empty()) return {std::nullopt, config.head_problem};
  checkpoint::ManifestTask task;
  task.name = name;
  task.kind = *kind;
  if (*kind == checkpoint::TaskKind::kMaskedLanguageModel) return {std::move(task), ""};
  task.labels = config.labels;
  if (task.labels.empty()) task.labels = {"LABEL_0", "LABEL_1"};  // transformers' default
  if (*kind == checkpoint::TaskKind::kTokenClassification) {
    const auto tags = tagging::TagSet::FromTags(task.labels);
    if (!tags.ok()) return {std::nullopt, absl::StrCat("id2label: ", tags.status().message())};
  }
  return {std::move(task), ""};
}

absl::Status ReadAs(const std::string& scheme, Head& head) {
  const bool tagger = head.task && head.task->kind == checkpoint::TaskKind::kTokenClassification;
  const auto tags = tagger ? tagging::TagSet::FromTags(head.task->labels) : absl::NotFoundError("");
  if (!tags.ok() || tags->reading() != tagging::TagReading::kBio2) {
    return InvalidField("tag_scheme", absl::StrCat("is ", scheme, ", but ",
                                                   tagger ? "the tagger's labels say its scheme themselves"
                                                          : "the model has no head for tags",
                                                   "; leave it out"));
  }
  head.task->tag_scheme = scheme == "bio2" ? "" : scheme;
  return absl::OkStatus();
}

// Encoder and head, or without a head that the files do not have as they say; `head` then says why.
absl::StatusOr<nn::LoadedModel> Load(const std::string& source, Head& head) {
  nn::LoadOptions with_head;
  if (head.task) with_head.head = nn::FileHead{head.task->name, nn::ToHeadConfig(*head.task)};
  absl::StatusOr<nn::LoadedModel> loaded = nn::GuardTorch([&] { return nn::LoadModel(source, with_head); });
  if (loaded.ok() || !head.task || loaded.status().code() != absl::StatusCode::kInvalidArgument) return loaded;
  absl::StatusOr<nn::LoadedModel> encoder = nn::GuardTorch([&] { return nn::LoadModel(source, nn::LoadOptions()); });
  if (!encoder.ok()) return loaded;  // what is wrong with all of it
  head = {std::nullopt, std::string(loaded.status().message())};
  return encoder;
}

absl::Status CheckFinite(const nn::Model& model, std::string_view file) {
  const nn::ParameterBuffer& parameters = model.parameters();
  std::vector<nn::SlotId> slots = model.EncoderSlots();
  for (const auto& [task, head] : model.heads()) {
    const std::vector<nn::SlotId> own = model.HeadSlots(task);
    slots.insert(slots.end(), own.begin(), own.end());
  }
  for (const nn::SlotId slot : slots) {
    const nn::ParameterSlice& slice = parameters.slice(slot);
    if (at::isfinite(parameters.weights().narrow(0, slice.offset, slice.size)).all().item<bool>()) continue;
    return InvalidField(file, absl::StrCat("the tensor ", slice.name,
                                           " holds NaN or infinity, so no answer would be a number; "
                                           "import a checkpoint from before the training diverged"));
  }
  return absl::OkStatus();
}

absl::Status CheckTokenizer(const std::string& source, int64_t vocab_size) {
  ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(source));
  if (tokenizer->vocabulary_size() <= vocab_size) return absl::OkStatus();
  return InvalidField("vocab_size", absl::StrCat("is ", vocab_size, " in config.json, but the tokenizer has ",
                                                 tokenizer->vocabulary_size(), " tokens"));
}

// The files below `source`, by their relative paths.
absl::StatusOr<std::set<std::string>> ReceivedFiles(const std::string& source) {
  ENGRAM_ASSIGN_OR_RETURN(const auto digests, checkpoint::DigestFiles(source));
  std::set<std::string> files;
  for (const auto& [name, digest] : digests) files.insert(name);
  return files;
}

// Makes model.safetensors of what sentence-transformers' modules with weights have in PyTorch's form, in folders of their own.
absl::Status GatherModuleWeights(const std::string& source, std::vector<std::string>& said) {
  ENGRAM_ASSIGN_OR_RETURN(const std::set<std::string> files, ReceivedFiles(source));
  for (const std::string& file : files) {
    const size_t slash = file.rfind('/');
    if (slash == std::string::npos || file.substr(slash + 1) != "pytorch_model.bin") continue;
    const std::string folder = file.substr(0, slash);
    absl::StatusOr<std::vector<std::string>> gathered = checkpoint::GatherWeights(absl::StrCat(source, "/", folder));
    if (!gathered.ok()) return Annotate(gathered.status(), folder);
    for (const std::string& sentence : *gathered) said.push_back(absl::StrCat(folder, ": ", sentence));
  }
  return absl::OkStatus();
}

// Whether a text's vector is what sentence-transformers' files define: what is not implemented is refused now rather
// than when a vector is asked for.
absl::Status CheckVector(const std::string& source, const checkpoint::ModelConfig& config) {
  ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(source));
  ENGRAM_ASSIGN_OR_RETURN(checkpoint::SentenceModules modules,
                          checkpoint::ReadSentenceModules(source, config, tokenizer->lowercases()));
  return nn::GuardTorch(
      [&] { return nn::SentenceVectors::Load(source, std::move(modules), config.hidden_size).status(); });
}

std::string Now() { return absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", Clock::Real().Now(), absl::UTCTimeZone()); }

// What Engram exported.
absl::StatusOr<std::vector<std::string>> ImportExport(const std::string& source, const std::string& model,
                                                      int64_t number, const std::string& target) {
  const auto unusable = [](const absl::Status& status) {
    return Annotate(status, "engram.json (without it the directory is imported like that of any other model)");
  };
  absl::StatusOr<checkpoint::VersionManifest> manifest = checkpoint::ReadManifest(source);
  if (!manifest.ok()) return unusable(manifest.status());
  std::vector<std::string> warnings;
  ENGRAM_ASSIGN_OR_RETURN(const std::set<std::string> received, ReceivedFiles(source));
  for (const std::string& file : received) {
    if (manifest->files.contains(file)) continue;
    ENGRAM_RETURN_IF_ERROR(RemoveTree(absl::StrCat(source, "/", file)));
    warnings.push_back(absl::StrCat("the file ", file, " was left out: engram.json does not list it"));
  }
  absl::StatusOr<nn::Version> version = nn::GuardTorch([&] { return nn::LoadVersion(source, nn::VersionOptions()); });
  if (!version.ok()) return unusable(version.status());
  ENGRAM_RETURN_IF_ERROR(CheckTokenizer(source, version->config.vocab_size));
  ENGRAM_RETURN_IF_ERROR(CheckFinite(*version->model, checkpoint::kModelFile));
  const auto consolidations = nn::GuardTorch([&] {
    return continual::LoadConsolidations(absl::StrCat(source, "/", checkpoint::kContinualFile), *version->model);
  });
  ENGRAM_RETURN_IF_ERROR(consolidations.status());
  for (checkpoint::ManifestMemory& memory : manifest->memory) {
    const auto read = nn::GuardTorch([&] { return train::ReadVersionMemory(source, memory.strategy); });
    ENGRAM_RETURN_IF_ERROR(read.status());
    memory.rows = static_cast<int64_t>(read->examples.size());  // what it says of whose texts it holds is counted anew
    memory.tasks = train::ExamplesPerTask(read->examples);
    std::erase_if(memory.kept_since, [&](const auto& since) { return !memory.tasks.contains(since.first); });
  }
  for (const checkpoint::ManifestTask& task : manifest->tasks) {
    if (task.dataset.empty()) continue;
    warnings.push_back(absl::StrCat("the data set \"", task.dataset, "\" of task \"", task.name,
                                    "\" is no part of a version: upload it where it is wanted"));
  }
  manifest->model = model;
  manifest->version = number;
  manifest->parent = std::nullopt;  // a version of another line
  manifest->created = Now();
  ENGRAM_RETURN_IF_ERROR(nn::GuardTorch([&] {
    return nn::SaveVersion(*version->model, version->config_text, source, nn::MemoryFiles(*manifest), *manifest,
                           target);
  }));
  return warnings;
}

}  // namespace

absl::Status CheckRelativePath(const std::string& path) {
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  bool good = parts.size() <= 4 && path.size() <= 255;
  for (const std::string& part : parts) {
    good = good && !part.empty() && part[0] != '.' && std::all_of(part.begin(), part.end(), allowed);
  }
  return good ? absl::OkStatus()
              : InvalidField("chunk.path", "must be a plain relative path of a file in the model's directory");
}

absl::StatusOr<std::vector<std::string>> ImportVersion(const std::string& source, const std::string& model,
                                                       int64_t number, const std::string& task,
                                                       const std::string& tag_scheme, const std::string& target) {
  if (!PathExists(absl::StrCat(source, "/", checkpoint::kConfigFile)))
    return InvalidField(checkpoint::kConfigFile, "is missing from the model's directory");
  ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> gathered, checkpoint::GatherWeights(source));
  if (PathExists(absl::StrCat(source, "/", checkpoint::kManifestFile))) {
    if (!tag_scheme.empty())
      return InvalidField("tag_scheme", "is for other models; an exported version says it in its engram.json");
    return ImportExport(source, model, number, target);
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::string config_text, ReadFile(source + "/config.json", 1 << 24));
  absl::StatusOr<checkpoint::ModelConfig> config = checkpoint::ParseModelConfig(config_text);
  if (!config.ok()) return Annotate(config.status(), "config.json");
  ENGRAM_RETURN_IF_ERROR(CheckTokenizer(source, config->vocab_size));
  ENGRAM_RETURN_IF_ERROR(GatherModuleWeights(source, gathered));
  ENGRAM_RETURN_IF_ERROR(CheckVector(source, *config));
  Head head = HeadOf(*config, task);
  if (!tag_scheme.empty()) ENGRAM_RETURN_IF_ERROR(ReadAs(tag_scheme, head));
  ENGRAM_ASSIGN_OR_RETURN(const nn::LoadedModel loaded, Load(source, head));
  ENGRAM_RETURN_IF_ERROR(CheckFinite(*loaded.model, checkpoint::kModelFile));
  std::vector<std::string> warnings = config->warnings;
  warnings.insert(warnings.end(), gathered.begin(), gathered.end());
  if (!head.problem.empty())
    warnings.push_back(absl::StrCat("the encoder alone was imported, without a head: ", head.problem));
  for (const std::string& tensor : loaded.unused)
    warnings.push_back(absl::StrCat("the tensor ", tensor, " was left out: no task or layer of this version uses it"));
  if (head.task && tag_scheme.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(source));
    ENGRAM_ASSIGN_OR_RETURN(TagTrial trial, TryTagScheme(*loaded.model, *head.task, *tokenizer));
    head.task->tag_scheme = std::move(trial.scheme);
    if (!trial.said.empty()) warnings.push_back(std::move(trial.said));
  }
  checkpoint::VersionManifest manifest;
  manifest.model = model;
  manifest.version = number;
  manifest.created = Now();
  if (head.task) manifest.tasks.push_back(*head.task);
  ENGRAM_ASSIGN_OR_RETURN(manifest.base_model_digest, Sha256HexOfFile(source + "/model.safetensors"));
  ENGRAM_RETURN_IF_ERROR(nn::GuardTorch(
      [&] { return nn::SaveVersion(*loaded.model, loaded.config_text, source, /*kept=*/{}, manifest, target); }));
  ENGRAM_ASSIGN_OR_RETURN(const std::set<std::string> received, ReceivedFiles(source));
  for (const std::string& file : received) {
    if (!manifest.files.contains(file))
      warnings.push_back(absl::StrCat("the file ", file, " was left out: it is no file of a version"));
  }
  return warnings;
}

}  // namespace engram::server
