#pragma once

// What a task is and how its head pools: one type for the manifest, the network, training and serving. Names are those
// of engram.json and of the worker's protocol; they never change once written.

#include <string_view>

#include "core/base/status.h"

namespace engram::checkpoint {

// Run checkpoints hold the numbers: new kinds go to the end.
enum class TaskKind {
  kSequenceClassification,  // one of C classes per text
  kTokenClassification,     // one BIO tag per word
  kMaskedLanguageModel      // the vocabulary, at masked tokens
};

// What a classifier of whole texts stands on; the other kinds do not pool and are kStandard.
// kStandard: what transformers' ...ForSequenceClassification of the family does (BERT: pooler with tanh on [CLS];
// RoBERTa: dense, tanh, out_proj on <s>; DistilBERT: pre_classifier, ReLU on [CLS]). kMean: the mean over the text's
// tokens, then one linear layer.
enum class Pooling { kStandard, kMean };

// "sequence_classification", "token_classification", "masked_language_model".
std::string_view TaskKindName(TaskKind kind);
// "standard", "mean".
std::string_view PoolingName(Pooling pooling);

// The inverses. INVALID_ARGUMENT for `field` for another name; the nearest known one is proposed.
absl::StatusOr<TaskKind> ParseTaskKind(std::string_view name, std::string_view field = "kind");
absl::StatusOr<Pooling> ParsePooling(std::string_view name, std::string_view field = "pooling");

}  // namespace engram::checkpoint
