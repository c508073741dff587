#pragma once

// Encoder families. Everything that is a fact of one model_type stands in its FamilySpec, in one file of this folder:
// how config.json spells the numbers, how checkpoints name the tensors, which of transformers' classes they are loaded
// with, what its heads are made of and where its positions begin. The reader of config.json, the matching of tensors,
// the network and the server's estimates all work from it. The block itself is the one of BERT: post-LayerNorm, learned
// absolute positions.
//
// A family registers itself:
//   const FamilyRegistration kMine(FamilySpec{.model_type = "mine", ...});
// in a file of its own in this folder; nothing else names it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/task_kind.h"

namespace engram::checkpoint {

// Keys of config.json that differ between families.
struct ConfigKeys {
  const char *hidden_size = "hidden_size", *layers = "num_hidden_layers", *heads = "num_attention_heads",
             *intermediate_size = "intermediate_size", *activation = "hidden_act",
             *hidden_dropout = "hidden_dropout_prob", *attention_dropout = "attention_probs_dropout_prob",
             *classifier_dropout = "classifier_dropout";
};

// Names of the bare encoder's tensors, without ".weight" and ".bias". Names of a layer's parts follow `layer`, the
// layer's number and a dot.
struct EncoderNames {
  const char* word_embeddings = "embeddings.word_embeddings";
  const char* position_embeddings = "embeddings.position_embeddings";
  const char* type_embeddings = "embeddings.token_type_embeddings";  // nullptr: the family has no token types
  const char* embedding_norm = "embeddings.LayerNorm";
  const char* layer = "encoder.layer.";
  const char *query = "attention.self.query", *key = "attention.self.key", *value = "attention.self.value",
             *attention_output = "attention.output.dense", *attention_norm = "attention.output.LayerNorm",
             *intermediate = "intermediate.dense", *output = "output.dense", *output_norm = "output.LayerNorm";
  const char* pooler = "pooler.dense";  // nullptr: the family has none
};

// Which of the config's dropouts acts at a place.
enum class DropoutSource { kNone, kHidden, kClassifier };

// A head as a chain, of which each may lack some links:
//   rows -> dropout -> dense + activation -> LayerNorm -> dropout -> output layer -> logits
struct HeadSpec {
  DropoutSource before_dense = DropoutSource::kNone;
  const char* dense = nullptr;  // a layer [hidden, hidden] of the head's own; nullptr: none
  bool on_pooler = false;       // the dense layer is the encoder's pooler
  const char* activation = "";  // of the dense layer, named as in config.json, or "tanh"; "": the config's own
  const char* norm = nullptr;   // nullptr: none
  DropoutSource before_output = DropoutSource::kNone;
  const char* output = nullptr;  // the output layer; tied: its bias alone, by its full name
  bool tied = false;             // the output's weight is the word embedding
  // Names under which files repeat a tied head's weight and bias; nullptr: they do not.
  const char *tied_weight = nullptr, *tied_bias = nullptr;
};

struct FamilySpec {
  const char* model_type = nullptr;  // of config.json
  // What transformers' class names begin with. The first is written ("Bert" + "ForTokenClassification"); all are read.
  std::vector<const char*> class_stems = {};
  const char* prefix = nullptr;  // what a class with a head puts before the encoder's names: "bert."
  ConfigKeys keys = {};
  EncoderNames names = {};
  int64_t default_pad_token_id = 0;
  std::optional<double> default_classifier_dropout = std::nullopt;  // nullopt: the hidden dropout
  bool positions_after_padding = false;                // positions are counted from pad_token_id + 1, not from 0
  bool dropout_after_attention = true;                 // between the attention's output layer and the residual sum
  HeadSpec sequence = {}, token = {}, masked_lm = {};  // transformers' heads of these kinds
  Pooling default_pooling = Pooling::kStandard;        // of classifiers, where the model's files say nothing
  // What names of tensors of any of transformers' heads for this family begin with, those that are not read included.
  std::vector<const char*> head_prefixes = {};

  // The head of a task: the family's own, or with kMean one linear layer on the mean of the tokens.
  const HeadSpec& Head(TaskKind kind, Pooling pooling) const;
  // The class that transformers loads a checkpoint with: "RobertaForTokenClassification"; no kind: "XLMRobertaModel".
  std::string ClassName(std::optional<TaskKind> kind) const;
  // Whether a class of that name may stand in such a model's config.json.
  bool OwnsClass(std::string_view name) const;
};

// The kind of the head that a class of transformers has; nullopt for bare encoders and heads that are not read.
std::optional<TaskKind> KindOfClass(std::string_view class_name);

// The numbers that an encoder's shape follows from.
struct EncoderSizes {
  const FamilySpec* family = nullptr;  // lives as long as the program
  int64_t vocab_size = 0, hidden_size = 0, layers = 0, heads = 0, intermediate_size = 0;
  int64_t max_positions = 0;    // rows of the position table
  int64_t type_vocab_size = 0;  // rows of the token type table; 0 where the family has none
  int64_t pad_token_id = 0;

  // The row of the position table that a text's first token takes.
  int64_t first_position() const { return family->positions_after_padding ? pad_token_id + 1 : 0; }
  // The longest sequence, special tokens included, that the position table allows.
  int64_t max_length() const { return max_positions - first_position(); }
};

// The spec of a model_type; nullptr if no family has it. Thread-safe, as are the two below.
const FamilySpec* FindFamily(std::string_view model_type);
// All model_types, sorted.
std::vector<std::string> KnownModelTypes();
// Whether a tensor's canonical name is that of a head of any known family.
bool IsHeadTensor(std::string_view canonical_name);

class FamilyRegistration {
 public:
  explicit FamilyRegistration(FamilySpec spec);
};

}  // namespace engram::checkpoint
