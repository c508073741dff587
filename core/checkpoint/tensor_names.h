#pragma once

// Names of the tensors in checkpoints of the BERT family. Canonical names are those of the bare encoder
// ("embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight", "pooler.dense.weight";
// DistilBERT: "transformer.layer.0.attention.q_lin.weight") and, for heads, those of transformers ("classifier.weight",
// "cls.predictions.bias").

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/model_config.h"
#include "core/checkpoint/safetensors.h"

namespace engram::checkpoint {

enum class HeadClass { kNone, kSequenceClassification, kTokenClassification, kMaskedLanguageModel };

// "bert.", "roberta.", "distilbert.": what a class with a head puts before the encoder's names.
std::string_view FamilyPrefix(ModelFamily family);

// The class that transformers loads such a checkpoint with: "RobertaForTokenClassification", "XLMRobertaModel"
// (HeadClass::kNone).
std::string ArchitectureName(const ModelConfig& config, HeadClass head);

// The saved name without the family's prefix and with "LayerNorm.gamma"/"LayerNorm.beta" (files from before 2019) as
// weight and bias.
std::string CanonicalName(ModelFamily family, std::string_view saved_name);

// Buffers that old versions saved and that are computed: position_ids, token_type_ids.
bool IsComputedBuffer(std::string_view canonical_name);

// Whether it belongs to a head of transformers' classes of these families (classification, masked LM, next sentence,
// question answering).
bool IsHeadTensor(std::string_view canonical_name);

struct ExpectedTensor {
  std::string name;  // canonical
  std::vector<int64_t> shape;
  bool required = true;
};

// The encoder's tensors; the pooler's two are optional.
std::vector<ExpectedTensor> EncoderTensors(const ModelConfig& config);
// The tensors of transformers' standard head with `labels` classes (ignored for the masked LM, whose decoder is tied to
// the embedding).
std::vector<ExpectedTensor> HeadTensors(const ModelConfig& config, HeadClass head, int64_t labels);

struct TensorMatch {
  std::map<std::string, const TensorEntry*>
      tensors;                      // canonical name -> entry of the file; what was expected and found
  std::vector<std::string> unused;  // canonical names of head tensors that nobody expected
};

// Finds `expected` in a file. One INVALID_ARGUMENT lists everything that is wrong: missing tensors, those of another
// shape or of a dtype that is not read (F16, BF16 and F32 are read), those saved under two names, and those that
// belong to neither the encoder nor a known head (at most 20 names of each sort, and how many there are). The result
// points into `file`.
absl::StatusOr<TensorMatch> MatchTensors(ModelFamily family, const std::vector<ExpectedTensor>& expected,
                                         const SafetensorsFile& file);

}  // namespace engram::checkpoint
