#pragma once

// Encoder families. Everything that is a fact of one model_type stands in its FamilySpec, in one file of this folder:
// how config.json spells the numbers, how checkpoints name the tensors, which of transformers' classes they are loaded
// with, what its heads are made of and where its positions begin. The reader of config.json, the matching of tensors,
// the network and the server's estimates all work from it. What a layer is made of is a value, too (BlockSpec).
//
// A family registers itself:
//   const FamilyRegistration kMine(FamilySpec{.model_type = "mine", ...});
// in a file of its own in this folder; nothing else names it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/rope.h"
#include "core/checkpoint/task_kind.h"

namespace engram::checkpoint {

// Keys of config.json that differ between families. nullptr: the family has no such key.
struct ConfigKeys {
  const char *hidden_size = "hidden_size", *layers = "num_hidden_layers", *heads = "num_attention_heads",
             *intermediate_size = "intermediate_size", *activation = "hidden_act",
             *hidden_dropout = "hidden_dropout_prob", *attention_dropout = "attention_probs_dropout_prob",
             *classifier_dropout = "classifier_dropout";
  const char* norm_eps = "layer_norm_eps";
  const char *kv_heads = nullptr, *head_dim = nullptr;
  // Whether linear layers and norms have biases; see BiasSpec.
  const char *attention_bias = nullptr, *feed_forward_bias = nullptr, *norm_bias = nullptr, *head_bias = nullptr;
  const char* classifier_pooling = nullptr;  // "cls" or "mean": the rows that the standard head of texts reads
};

// A key that may only be absent or have one value (as JSON), and why.
struct FixedKey {
  const char *key, *value, *why;
};

// Names of the bare encoder's tensors, without ".weight" and ".bias". Names of a layer's parts follow `layer`, the
// layer's number and a dot.
struct EncoderNames {
  const char* word_embeddings = "embeddings.word_embeddings";
  const char* position_embeddings = "embeddings.position_embeddings";  // nullptr: positions are rotary
  const char* type_embeddings = "embeddings.token_type_embeddings";    // nullptr: the family has no token types
  const char* embedding_norm = "embeddings.LayerNorm";                 // nullptr: none
  const char* layer = "encoder.layer.";
  const char *query = "attention.self.query", *key = "attention.self.key", *value = "attention.self.value",
             *attention_output = "attention.output.dense", *attention_norm = "attention.output.LayerNorm",
             *intermediate = "intermediate.dense", *output = "output.dense", *output_norm = "output.LayerNorm";
  const char* pooler = "pooler.dense";                    // nullptr: the family has none
  const char* query_key_value = nullptr;                  // one tensor in the place of query, key and value
  const char *query_norm = nullptr, *key_norm = nullptr;  // of each head, before positions; nullptr: none
  const char* gate = nullptr;        // of a gated feed-forward layer, where it has a tensor of its own
  const char* final_norm = nullptr;  // behind the last layer
  // What scores of attention are raised by, for each head and each of kRelativeBuckets sorts of distances; all layers'.
  const char* relative_positions = nullptr;
};

// Sorts of distances between tokens: one for each short one, ever wider ones for longer ones, and as many in the other
// direction (T5's and MPNet's).
inline constexpr int64_t kRelativeBuckets = 32;

enum class NormKind { kLayerNorm, kRmsNorm };

// What a layer is made of.
//   post-norm   x = norm(x + attention(x));  x = norm(x + feed_forward(x))
//   pre-norm    x = x + attention(norm(x));  x = x + feed_forward(norm(x)); final_norm behind the last layer
// feed_forward is W2 act(W1 x), gated W2 (act(Wg x) * W1 x); a family without a `gate` tensor keeps [Wg; W1] in one.
struct BlockSpec {
  bool pre_norm = false;
  NormKind norm = NormKind::kLayerNorm;
  int64_t first_attention_norm = 0;  // layers before this one have no norm before attention
  bool gated = false;
  bool causal = false;  // a token attends to itself and those before it
};

// Which linear layers have a bias where config.json does not say.
struct BiasSpec {
  bool attention_input = true, attention_output = true, feed_forward = true, norm = true, head = true;
};

// Which layers attend within a window only.
enum class WindowRule { kNone, kAll, kAllButEveryNth, kFromLayer };
struct WindowSpec {
  WindowRule rule = WindowRule::kNone;
  const char* size_key = nullptr;  // tokens: on both sides together, or with causal attention the token itself included
  int64_t default_size = 0;        // 0: without the key (or with null) there is no window
  const char* switch_key = nullptr;  // false: there is no window, whatever the size
  const char* rule_key = nullptr;    // n, or the first layer
  int64_t rule_default = 0;
};

// Bases of rotary positions where config.json does not say.
struct RopeSpec {
  double base = 10'000;
  double window_base = 0;  // of layers with a window, where they have rope parameters of their own; 0: they have not
};

// The rows that a head of texts reads.
enum class SequenceRows { kFirst, kMean, kLast };

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
  bool output_bias = true;
};

struct FamilySpec {
  const char* model_type = nullptr;  // of config.json
  // What transformers' class names begin with. The first is written ("Bert" + "ForTokenClassification"); all are read.
  std::vector<const char*> class_stems = {};
  const char* prefix = nullptr;  // what a class with a head puts before the encoder's names: "bert."
  ConfigKeys keys = {};
  EncoderNames names = {};
  BlockSpec block = {};
  BiasSpec biases = {};
  WindowSpec window = {};
  RopeSpec rope = {};
  std::vector<FixedKey> fixed_keys = {};
  std::vector<const char*> harmless_keys = {};  // read past without a word: they change nothing that is computed
  // Keys of an older spelling, and the one that each of them stands for.
  std::vector<std::pair<const char*, const char*>> older_keys = {};
  // What the names in auto_map begin with where they are of code that computes what the family does: it is never run, and
  // the model is read as one of the family. nullptr: auto_map is refused.
  const char* known_code = nullptr;
  double default_norm_eps = 1e-12;
  double default_dropout = 0.1;  // hidden and attention
  const char* default_activation = "gelu";
  SequenceRows sequence_rows = SequenceRows::kFirst;
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
  // Whether positions are rotations of queries and keys, not rows of a table.
  bool rotary() const { return names.position_embeddings == nullptr; }
};

// The kind of the head that a class of transformers has; nullopt for bare encoders and heads that are not read.
std::optional<TaskKind> KindOfClass(std::string_view class_name);

// The numbers that an encoder's shape follows from.
struct EncoderSizes {
  const FamilySpec* family = nullptr;  // lives as long as the program
  int64_t vocab_size = 0, hidden_size = 0, layers = 0, heads = 0, intermediate_size = 0;
  int64_t max_positions = 0;    // rows of the position table; of rotary positions: the longest text of the training
  int64_t type_vocab_size = 0;  // rows of the token type table; 0 where the family has none
  int64_t pad_token_id = 0;
  int64_t kv_heads = 0;  // heads of keys and values, which groups of query heads share; 0: as many as `heads`
  int64_t head_dim = 0;  // 0: hidden_size / heads
  bool attention_input_bias = true, attention_output_bias = true, feed_forward_bias = true, norm_bias = true,
       head_bias = true;
  SequenceRows sequence_rows = SequenceRows::kFirst;  // of the standard head of texts
  std::vector<Rope> ropes = {};       // of rotary positions: all layers', or those without and those with a window
  std::vector<int64_t> windows = {};  // of each layer: how far away a token may be that is seen; -1: any. Empty: all -1

  int64_t key_heads() const { return kv_heads > 0 ? kv_heads : heads; }
  int64_t head_width() const { return head_dim > 0 ? head_dim : hidden_size / heads; }
  // Width of the rows of queries, and of keys or values.
  int64_t query_width() const { return heads * head_width(); }
  int64_t key_width() const { return key_heads() * head_width(); }
  int64_t window(int64_t layer) const { return windows.empty() ? -1 : windows[static_cast<size_t>(layer)]; }
  // Which of `ropes` a layer turns by.
  size_t rope_index(int64_t layer) const { return ropes.size() > 1 && window(layer) >= 0 ? 1 : 0; }

  // The row of the position table that a text's first token takes.
  int64_t first_position() const { return family->positions_after_padding ? pad_token_id + 1 : 0; }
  // The longest sequence, special tokens included, that the position table allows or that rotary positions were trained
  // on.
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
