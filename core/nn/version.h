#pragma once

// A version directory as a model: encoder, the heads of all its tasks, and its engram.json.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"
#include "core/nn/model.h"
#include "core/nn/model_io.h"

namespace engram::nn {

struct Version {
  std::unique_ptr<Model> model;
  checkpoint::ModelConfig config;
  std::string config_text;
  checkpoint::VersionManifest manifest;
};

struct VersionOptions {
  at::Device device = at::kCPU;
  Precision precision = Precision::kFloat32;
  bool need_pooler = false;       // a standard BERT sequence head will be added
  std::optional<double> dropout;  // see LoadOptions
  bool verify = true;             // compare every file with its digest first; DATA_LOSS if one differs
};

absl::StatusOr<Version> LoadVersion(const std::string& directory, const VersionOptions& options);

// Writes what LoadVersion reads into `directory`, which must exist: weights, heads, config.json, the files of `source`
// that make the tokenizer and say the pooling, continual.safetensors if `source` has one and `keep_consolidations`, and
// last engram.json. Fills in manifest.default_task, the heads' places,
// manifest.software and manifest.files.
absl::Status SaveVersion(const Model& model, const std::string& config_text, const std::string& source,
                         bool keep_consolidations, checkpoint::VersionManifest& manifest, const std::string& directory);

// The files beside weights and config that belong to a version: the tokenizer's, and sentence-transformers' pooling.
std::vector<std::string> CompanionFiles(const std::string& directory);

HeadConfig ToHeadConfig(const checkpoint::ManifestTask& task);
// Whether the head stands on BERT's pooler.
bool NeedsPooler(Family family, const HeadConfig& head);

}  // namespace engram::nn
