#pragma once

// What sentence-transformers' files say about a model's vector: the modules of modules.json (Transformer, Pooling, then Dense, Normalize and
// Dropout in any order), each with its own config.json, sentence_bert_config.json, and the prompts of config_sentence_transformers.json. Read
// strictly: what Engram does not do the same way is refused by name, and so are two files that contradict each other.
// Definitions: sentence-transformers 6.2, base/modules/{transformer,dense,normalize}.py, sentence_transformer/modules/pooling.py. No libtorch:
// nn::SentenceVectors (core/nn/sentence_vectors.h) applies what is read here.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/model_config.h"

namespace engram::checkpoint {

inline constexpr const char* kModulesFile = "modules.json";

// Over the token vectors h_1 ... h_L of one text, special tokens included.
enum class TokenPooling {
  kCls,           // h_1
  kMax,           // the largest value of each dimension
  kMean,          // sum h_i / L
  kMeanSqrtLen,   // sum h_i / sqrt(L)
  kWeightedMean,  // sum i h_i / sum i
  kLastToken,     // h_L
};
// As `pooling_mode` spells it: "cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken".
const char* TokenPoolingName(TokenPooling pooling);

struct PoolingModule {
  std::vector<TokenPooling> modes = {TokenPooling::kMean};  // concatenated in this order
  std::optional<int64_t> dimension;                         // of one token's vector, as the file states it
  bool include_prompt = true;  // false: the prompt's tokens (and [CLS] before them) are not pooled
};

struct DenseModule {
  std::string path;  // folder of its config.json and model.safetensors
  int64_t in_features = 0, out_features = 0;
  bool bias = true;
  bool residual = false;   // adds the input, through a linear layer of its own where the sizes differ
  std::string activation;  // "Tanh": the class's name within torch.nn
};

struct NormalizeModule {};  // x / max(|x|, 1e-12)

struct SentenceModules {
  bool stated =
      false;  // false: no modules.json, so the mean over all tokens, as sentence-transformers takes a bare encoder
  int64_t max_tokens = 0;  // of one text, special tokens and prompt included
  PoolingModule pooling;
  std::vector<std::variant<DenseModule, NormalizeModule>> steps;  // behind the pooling, in order
  std::optional<int64_t> truncate_dim;                            // only the first numbers are kept, last of all
  std::map<std::string, std::string> prompts;                     // name -> text that is put before a text
  std::string default_prompt;                                     // a name in `prompts`, or empty: none

  // Numbers of the vector behind the pooling: poolings x hidden size.
  int64_t pooled_width(int64_t hidden_size) const { return static_cast<int64_t>(pooling.modes.size()) * hidden_size; }
};

// What the files in `directory` say of a model with this config.json, whose tokenizer lower-cases texts or does not. INVALID_ARGUMENT naming
// file and key.
absl::StatusOr<SentenceModules> ReadSentenceModules(const std::string& directory, const ModelConfig& config,
                                                    bool tokenizer_lowercases);

// The pooling alone: that of modules.json, or without it that of 1_Pooling/config.json; nullopt if neither is there.
absl::StatusOr<std::optional<PoolingModule>> ReadPoolingModule(const std::string& directory);

// The files of sentence-transformers that are there, as paths below `directory`: modules.json, those of its modules, and the two of the
// model's own folder. A modules.json that cannot be read adds nothing.
std::vector<std::string> SentenceFiles(const std::string& directory);

// The config.json of a Pooling module, in its form with one switch for each mode and in that with the one key pooling_mode; `file` is what
// errors call it. No mode at all is the mean.
absl::StatusOr<PoolingModule> ParsePoolingModule(const std::string& text, const std::string& file);

}  // namespace engram::checkpoint
