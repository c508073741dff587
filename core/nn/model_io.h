#pragma once

// Models on disk, in Hugging Face layout: config.json and model.safetensors. Everything else of a version directory
// (tokenizer files, engram.json) is copied or written by the caller.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/model_config.h"
#include "core/nn/model.h"

namespace engram::nn {

// nn knows no JSON: this is where the numbers of a config.json become an EncoderConfig.
absl::StatusOr<EncoderConfig> ToEncoderConfig(const checkpoint::ModelConfig& config);

// The head that the tensors beside the encoder in model.safetensors belong to.
struct FileHead {
  std::string task;
  HeadConfig head;
};

struct LoadedModel {
  std::unique_ptr<Model> model;
  checkpoint::ModelConfig config;
  std::string config_text;  // the file as it was read, for SaveModel
  // Tensors of a head that the caller did not ask for, and of a pooler that no head of the family stands on.
  std::vector<std::string> unused;
};

struct LoadOptions {
  at::Device device = at::kCPU;
  Precision precision = Precision::kFloat32;
  // Load this head from model.safetensors, under transformers' standard names.
  std::optional<FileHead> head;
  // Heads that will be added: a pooler that one of all these heads stands on and that the file does not have is drawn
  // (seed 0).
  std::vector<HeadConfig> other_heads;
  // Replaces the hidden, attention and classifier dropout of config.json; the file stays as it is.
  std::optional<double> dropout;
};

// Reads a directory. Encoder tensors may carry the family's prefix ("bert.") and the old names gamma and beta; F32, F16
// and BF16 are accepted. INVALID_ARGUMENT lists everything that is wrong with the tensors (checkpoint::MatchTensors)
// before anything is allocated by the numbers of config.json.
absl::StatusOr<LoadedModel> LoadModel(const std::string& directory, const LoadOptions& options);

// Writes config.json and model.safetensors: the encoder, and the head of `default_task` under transformers' standard
// names, so that AutoModelFor... loads it with equal logits. Empty `default_task`, or one with a mean-pooled head or
// blocks of its own (which transformers' classes do not compute): the bare encoder. `labels`: names of the default
// head's classes.
absl::Status SaveModel(const Model& model, const std::string& config_text, const std::string& default_task,
                       const std::vector<std::string>& labels, const std::string& directory);

// heads.safetensors: all heads but `default_task`'s, under their names in the buffer ("heads.<task>.<standard name>").
// No such head: no file.
absl::Status SaveHeads(const Model& model, const std::string& except_task, const std::string& path);
// Fills the heads that were added to the model, but `except_task`'s. Missing, unexpected or wrongly shaped tensors are
// errors that name them.
absl::Status LoadHeads(const std::string& path, const std::string& except_task, Model& model);

}  // namespace engram::nn
