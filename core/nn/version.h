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
  std::optional<HeadConfig> new_head;  // will be added: what it stands on is loaded, or drawn if the version has none
  std::optional<double> dropout;       // see LoadOptions
  bool verify = true;                  // compare every file with its digest first; DATA_LOSS if one differs
};

absl::StatusOr<Version> LoadVersion(const std::string& directory, const VersionOptions& options);

// Writes what LoadVersion reads into `directory`, which must exist: weights, heads, config.json, the files of `source`
// that make the tokenizer and say the pooling, the files `kept` of `source` (what is remembered of earlier tasks), and
// last engram.json. What is remembered anew must be in `directory` already. Fills in manifest.default_task, the heads'
// places, manifest.software and manifest.files.
absl::Status SaveVersion(const Model& model, const std::string& config_text, const std::string& source,
                         const std::vector<std::string>& kept, checkpoint::VersionManifest& manifest,
                         const std::string& directory);

// The files of a version that hold what is remembered of its tasks: continual.safetensors and memory/*.
std::vector<std::string> MemoryFiles(const checkpoint::VersionManifest& manifest);

// The files beside weights and config that belong to a version: the tokenizer's, and those of sentence-transformers'
// modules (checkpoint::SentenceFiles).
std::vector<std::string> CompanionFiles(const std::string& directory);

HeadConfig ToHeadConfig(const checkpoint::ManifestTask& task);

}  // namespace engram::nn
