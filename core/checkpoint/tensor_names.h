#pragma once

// Tensors of checkpoints: which ones a config promises, and which ones a file has. Canonical names are those of the bare
// encoder ("embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight", "pooler.dense.weight")
// and, for heads, those of transformers ("classifier.weight", "cls.predictions.bias").

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/families/family.h"
#include "core/checkpoint/safetensors.h"

namespace engram::checkpoint {

// The saved name without the family's prefix and with "LayerNorm.gamma"/"LayerNorm.beta" (files from before 2019) as
// weight and bias.
std::string CanonicalName(const FamilySpec& family, std::string_view saved_name);

// Buffers that old versions saved and that are computed: position_ids, token_type_ids, angles of rotary positions.
bool IsComputedBuffer(std::string_view canonical_name);

// What a tensor is for, whatever its family calls it.
enum class TensorRole {
  kWordEmbeddings,
  kPositionEmbeddings,
  kTypeEmbeddings,
  kEmbeddingNorm,
  kRelativePositions,
  kQuery,
  kKey,
  kValue,
  kQueryKeyValue,  // all three in one
  kQueryNorm,
  kKeyNorm,
  kAttentionOutput,
  kAttentionNorm,
  kGate,          // lies before the intermediate layer that it gates
  kIntermediate,  // of a gated layer without a kGate: both, one below the other
  kOutput,
  kOutputNorm,
  kFinalNorm,
  kPooler,
  kHeadDense,
  kHeadNorm,
  kHeadOutput,
  kTiedCopy  // what a file may repeat of the word embeddings and of the bias that is tied to them
};

struct ExpectedTensor {
  std::string name;  // canonical
  std::vector<int64_t> shape;
  TensorRole role = TensorRole::kHeadOutput;
  bool bias = false;   // the bias of a linear layer, the shift of a LayerNorm
  int64_t layer = -1;  // of the encoder, from 0; -1: in none
  bool required = true;
};

// The encoder's tensors, in the order in which the network keeps them: each layer's query, key and value weights follow
// one another, then their biases; so do a gate and what it gates. The pooler's two are optional.
std::vector<ExpectedTensor> EncoderTensors(const EncoderSizes& sizes);
// The tensors of a head with `labels` classes (ignored for the masked LM, whose output is tied to the word embeddings;
// the copies that files have of what is tied are optional). A head on the pooler has no dense tensors of its own. Empty
// where the family has no head of that kind.
std::vector<ExpectedTensor> HeadTensors(const EncoderSizes& sizes, TaskKind kind, Pooling pooling, int64_t labels);

struct TensorMatch {
  // Canonical name -> entry of the file: what was expected and found.
  std::map<std::string, const TensorEntry*> tensors;
  std::vector<std::string> unused;  // canonical names of head tensors that nobody expected
};

// Finds `expected` in a file. One INVALID_ARGUMENT lists everything that is wrong: missing tensors, those of another
// shape or of a dtype that is not read (F16, BF16 and F32 are read), those saved under two names, and those that
// belong to neither the encoder nor a known head (at most 20 names of each sort, and how many there are). The result
// points into `file`; errors call it `file_name`.
absl::StatusOr<TensorMatch> MatchTensors(const FamilySpec& family, const std::vector<ExpectedTensor>& expected,
                                         const SafetensorsFile& file, std::string_view file_name = "model.safetensors");

}  // namespace engram::checkpoint
