#pragma once

// config.json of a model of a known family (families/), read strictly: a key that nothing here knows, a value that contradicts another,
// or a number no model has is an error that names the key. What a key would change and Engram does not implement
// (decoders, relative positions) is refused rather than ignored.

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
  std::vector<std::string> labels;  // id2label in order; empty if the file has none
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

enum class PoolingMode { kUnspecified, kFirstToken, kMean };
// sentence-transformers' 1_Pooling/config.json, in its form with one switch a mode and in that with the one key
// pooling_mode. INVALID_ARGUMENT for a mode that is neither of the two, for both at once, and for unknown keys.
absl::StatusOr<PoolingMode> ParsePoolingConfig(const std::string& text);

}  // namespace engram::checkpoint
