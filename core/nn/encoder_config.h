#pragma once

// What a network is built from: the numbers of its encoder and of its heads, and the mode of a forward pass. Below
// encoder.h, heads.h and model.h, which all take them.

#include <cstdint>
#include <string_view>

#include "core/base/status.h"
#include "core/checkpoint/blocks.h"
#include "core/checkpoint/expansion.h"
#include "core/checkpoint/families/family.h"
#include "core/checkpoint/task_kind.h"
#include "core/nn/ops/activation/activation.h"

namespace engram::nn {

// The checked numbers of a config.json (core/checkpoint/model_config.h reads them). The family must be set.
struct EncoderConfig : checkpoint::EncoderSizes {
  Activation activation = Activation::kGelu;
  double layer_norm_eps = 1e-12;
  double hidden_dropout = 0.1, attention_dropout = 0.1, classifier_dropout = 0.1;
  double initializer_range = 0.02;
  bool has_pooler =
      false;  // keeps the family's pooler in the buffer: a head stands on it, or the checkpoint carries it
};

struct HeadConfig {
  checkpoint::TaskKind kind = checkpoint::TaskKind::kSequenceClassification;
  int64_t labels = 0;  // number of classes or tags; ignored for a masked LM (the vocabulary)
  checkpoint::Pooling pooling = checkpoint::Pooling::kStandard;
  // Between pooling and the linear layer; of mean-pooled heads of texts alone.
  checkpoint::Expansion expansion = {};
  // What the task adds to the encoder when it is asked; its parameters are among the head's.
  checkpoint::Blocks blocks = {};
};

// What dropout a forward pass uses: none (nullopt) in evaluation, importance and serving.
struct TrainingMode {
  uint64_t seed = 0;
  uint64_t step = 0;  // micro-batch count; see ops::Dropout
};

// OK for numbers that a network can be built from; INVALID_ARGUMENT names the key of config.json.
absl::Status CheckEncoderConfig(const EncoderConfig& config);

// The activation of that name in config.json ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu") or in a family's
// head ("tanh"). INVALID_ARGUMENT (field "hidden_act") for another.
absl::StatusOr<Activation> ParseActivation(std::string_view name);

}  // namespace engram::nn
