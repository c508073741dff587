#include "server/library/importer.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/nn/device.h"
#include "core/nn/version.h"
#include "core/tagging/bio.h"
#include "core/tokenize/tokenizer.h"

namespace engram::server {
namespace {

// The head that the class in config.json says the file has; nullopt for a bare encoder.
absl::StatusOr<std::optional<checkpoint::ManifestTask>> HeadOf(const checkpoint::ModelConfig& config,
                                                               const std::string& name) {
  if (config.architectures.size() != 1) return std::nullopt;
  const std::optional<checkpoint::TaskKind> kind = checkpoint::KindOfClass(config.architectures[0]);
  // Pre-training heads and others are left out; LoadModel lists their tensors.
  if (!kind || *kind == checkpoint::TaskKind::kMaskedLanguageModel) return std::nullopt;
  checkpoint::ManifestTask task;
  task.name = name;
  task.kind = *kind;
  task.labels = config.labels;
  if (task.labels.empty()) task.labels = {"LABEL_0", "LABEL_1"};  // transformers' default
  if (task.kind == checkpoint::TaskKind::kTokenClassification) {
    const auto tags = tagging::TagSet::FromTags(task.labels);
    if (!tags.ok()) return Annotate(tags.status(), "config.json id2label");
  }
  return task;
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

absl::Status ImportVersion(const std::string& source, const std::string& model, int64_t number, const std::string& task,
                           const std::string& target) {
  for (const char* needed : {"config.json", "model.safetensors"}) {
    if (!PathExists(absl::StrCat(source, "/", needed))) {
      return InvalidField(
          needed, "is missing from the model's directory; Engram reads Hugging Face paths with safetensors weights");
    }
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::string config_text, ReadFile(source + "/config.json", 1 << 24));
  absl::StatusOr<checkpoint::ModelConfig> config = checkpoint::ParseModelConfig(config_text);
  if (!config.ok()) return Annotate(config.status(), "config.json");
  ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(source));
  if (tokenizer->vocabulary_size() > config->vocab_size) {
    return InvalidField("vocab_size", absl::StrCat("is ", config->vocab_size, " in config.json, but the tokenizer has ",
                                                   tokenizer->vocabulary_size(), " tokens"));
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<checkpoint::ManifestTask> head, HeadOf(*config, task));
  nn::LoadOptions load;
  if (head) load.head = nn::FileHead{head->name, nn::ToHeadConfig(*head)};
  ENGRAM_ASSIGN_OR_RETURN(const nn::LoadedModel loaded, nn::GuardTorch([&] { return nn::LoadModel(source, load); }));
  if (!loaded.unused.empty()) {
    LogInfo("import leaves out tensors of heads that are not used", {{"tensors", absl::StrJoin(loaded.unused, ", ")}});
  }
  checkpoint::VersionManifest manifest;
  manifest.model = model;
  manifest.version = number;
  manifest.created = absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", Clock::Real().Now(), absl::UTCTimeZone());
  if (head) manifest.tasks.push_back(*head);
  ENGRAM_ASSIGN_OR_RETURN(manifest.base_model_digest, Sha256HexOfFile(source + "/model.safetensors"));
  return nn::GuardTorch([&] {
    return nn::SaveVersion(*loaded.model, loaded.config_text, source, /*keep_consolidations=*/false, manifest, target);
  });
}

}  // namespace engram::server
