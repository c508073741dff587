#pragma once

// config.json of a model of a known family (families/), read strictly: a number that contradicts another or that no
// model has, and a key that Engram does not know and that some model of transformers reads, are errors that name the
// key. What a key would change and Engram does not implement (decoders, relative positions) is refused rather than
// ignored. What no model reads (keys of tools), and what id2label overrules, is a warning.

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/families/family.h"

namespace engram::checkpoint {

struct ModelConfig : EncoderSizes {
  std::vector<std::string> architectures;  // may be empty
  std::string hidden_act = "gelu";         // gelu, gelu_new, gelu_pytorch_tanh, relu, silu
  double layer_norm_eps = 1e-12, initializer_range = 0.02;
  double hidden_dropout = 0.1, attention_dropout = 0.1, classifier_dropout = 0.1;
  // id2label in order, which decides over num_labels, _num_labels and label2id, as in transformers; without it
  // LABEL_0, ... as far as num_labels (or _num_labels) says. Empty if the file has none of them.
  std::vector<std::string> labels;
  // Why the head that `architectures` names cannot be used, though the encoder can; empty if it can.
  std::string head_problem;
  std::vector<std::string> warnings;  // what was read past, one sentence each, naming the key
};

// The largest values accepted: above all models published, far below what would overflow.
inline constexpr int64_t kMaxVocabulary = 4'000'000, kMaxWidth = 65'536, kMaxLayers = 1'000, kMaxPositions = 1'048'576,
                         kMaxLabels = 10'000;

// `text`: the content of config.json. INVALID_ARGUMENT naming the key. Where a key is absent, transformers' default
// counts, but for the model's sizes, which must be there. Whether the sizes are true is for MatchTensors
// (tensor_names.h) to say, before anything is allocated.
absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& text);

// config.json for a version: `original` (the base model's file, its other keys kept in their order) with architectures,
// id2label, label2id and problem_type set, and dtype float32 (what versions hold). `labels` empty: id2label, label2id
// and problem_type are removed. INVALID_ARGUMENT for labels that are empty, repeated or no valid UTF-8.
absl::StatusOr<std::string> RenderModelConfig(const std::string& original, const std::string& architecture,
                                              const std::vector<std::string>& labels);

}  // namespace engram::checkpoint
