#include "core/serve/served_version.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/nn/device.h"
#include "core/nn/tensor_memory.h"

namespace engram::serve {
namespace {

absl::StatusOr<nn::SentenceVectors> LoadVectors(const std::string& directory, const nn::Version& version,
                                                const tokenize::Tokenizer& tokenizer) {
  absl::StatusOr<nn::SentenceVectors> vectors = nn::GuardTorch([&]() -> absl::StatusOr<nn::SentenceVectors> {
    ENGRAM_ASSIGN_OR_RETURN(checkpoint::SentenceModules modules,
                            checkpoint::ReadSentenceModules(directory, version.config, tokenizer.lowercases()));
    return nn::SentenceVectors::Load(directory, std::move(modules), version.config.hidden_size);
  });
  if (vectors.ok() || vectors.status().code() != absl::StatusCode::kInvalidArgument) return vectors;
  return absl::FailedPreconditionError(absl::StrCat("this version's vector is not defined (",
                                                    vectors.status().message(), "); import its base model again"));
}

}  // namespace

const checkpoint::ManifestTask* ServedVersion::FindTask(const std::string& task) const {
  return checkpoint::FindManifestTask(version.manifest, task);
}

absl::StatusOr<std::shared_ptr<const ServedVersion>> LoadServedVersion(const std::string& model, int64_t number,
                                                                       const std::string& directory, at::Device device,
                                                                       nn::Precision precision) {
  auto served = std::make_shared<ServedVersion>();
  served->model = model;
  served->number = number;
  const nn::TensorMeter meter;
  nn::VersionOptions options;
  options.device = device;
  options.precision = precision;
  ENGRAM_ASSIGN_OR_RETURN(served->version, nn::GuardTorch([&]() -> absl::StatusOr<nn::Version> {
                            ENGRAM_ASSIGN_OR_RETURN(nn::Version loaded, nn::LoadVersion(directory, options));
                            loaded.model->PackForInference();
                            return loaded;
                          }));
  ENGRAM_ASSIGN_OR_RETURN(served->tokenizer, tokenize::LoadTokenizer(directory));
  if (served->tokenizer->vocabulary_size() > served->version.config.vocab_size) {
    return absl::FailedPreconditionError("the version's tokenizer has more tokens than its model has embeddings");
  }
  served->vectors = LoadVectors(directory, served->version, *served->tokenizer);
  ENGRAM_ASSIGN_OR_RETURN(served->router, nn::GuardTorch([&] { return train::TaskRouter::Open(directory); }));
  for (const checkpoint::ManifestTask& task : served->version.manifest.tasks) {
    if (task.kind != checkpoint::TaskKind::kTokenClassification) continue;
    ENGRAM_ASSIGN_OR_RETURN(tagging::TagSet tags, tagging::TagSet::FromTags(task.labels, task.tag_scheme));
    served->tag_sets.emplace(task.name, std::move(tags));
  }
  // The meter knows of the CPU's memory alone.
  served->bytes = std::max(meter.peak(), static_cast<int64_t>(served->version.model->parameters().weights().nbytes()));
  return std::shared_ptr<const ServedVersion>(std::move(served));
}

}  // namespace engram::serve
