#include "core/checkpoint/families/family.h"

namespace engram::checkpoint {
namespace {

// Llama and the models that differ from it in one or two values. They are decoders; here they encode: a text's vectors
// are their hidden states, a classifier reads the last token's.
FamilySpec Llama() {
  return {
      .model_type = "llama",
      .class_stems = {"Llama"},
      .prefix = "model.",
      .keys = {.hidden_dropout = nullptr,
               .attention_dropout = "attention_dropout",
               .norm_eps = "rms_norm_eps",
               .kv_heads = "num_key_value_heads",
               .head_dim = "head_dim",
               .attention_bias = "attention_bias",
               .feed_forward_bias = "mlp_bias"},
      .names = {.word_embeddings = "embed_tokens",
                .position_embeddings = nullptr,
                .type_embeddings = nullptr,
                .embedding_norm = nullptr,
                .layer = "layers.",
                .query = "self_attn.q_proj",
                .key = "self_attn.k_proj",
                .value = "self_attn.v_proj",
                .attention_output = "self_attn.o_proj",
                .attention_norm = "input_layernorm",
                .intermediate = "mlp.up_proj",
                .output = "mlp.down_proj",
                .output_norm = "post_attention_layernorm",
                .pooler = nullptr,
                .gate = "mlp.gate_proj",
                .final_norm = "norm"},
      .block = {.pre_norm = true, .norm = NormKind::kRmsNorm, .gated = true, .causal = true},
      .biases = {.attention_input = false, .attention_output = false, .feed_forward = false, .norm = false},
      .harmless_keys = {"pretraining_tp"},
      .known_code = "modeling_llama_together_yarn.",
      .default_norm_eps = 1e-6,
      .default_dropout = 0,
      .default_activation = "silu",
      .sequence_rows = SequenceRows::kLast,
      .default_classifier_dropout = 0.1,
      .sequence = {.output = "score", .output_bias = false},
      .token = {.before_output = DropoutSource::kClassifier, .output = "score"},
      .head_prefixes = {"score.", "lm_head."},
  };
}

FamilySpec Mistral() {
  FamilySpec spec = Llama();
  spec.model_type = "mistral";
  spec.class_stems = {"Mistral"};
  spec.keys.attention_bias = spec.keys.feed_forward_bias = nullptr;
  spec.window = {.rule = WindowRule::kAll, .size_key = "sliding_window", .default_size = 4096};
  return spec;
}

WindowSpec QwenWindow() {
  return {.rule = WindowRule::kFromLayer,
          .size_key = "sliding_window",
          .default_size = 4096,
          .switch_key = "use_sliding_window",
          .rule_key = "max_window_layers",
          .rule_default = 28};
}

FamilySpec Qwen2() {
  FamilySpec spec = Llama();
  spec.model_type = "qwen2";
  spec.class_stems = {"Qwen2"};
  spec.keys.attention_bias = spec.keys.feed_forward_bias = spec.keys.head_dim = nullptr;
  spec.biases.attention_input = true;
  spec.window = QwenWindow();
  return spec;
}

FamilySpec Qwen3() {
  FamilySpec spec = Llama();
  spec.model_type = "qwen3";
  spec.class_stems = {"Qwen3"};
  spec.keys.feed_forward_bias = nullptr;
  spec.names.query_norm = "self_attn.q_norm";
  spec.names.key_norm = "self_attn.k_norm";
  spec.window = QwenWindow();
  return spec;
}

const FamilyRegistration kLlama(Llama());
const FamilyRegistration kMistral(Mistral());
const FamilyRegistration kQwen2(Qwen2());
const FamilyRegistration kQwen3(Qwen3());

}  // namespace
}  // namespace engram::checkpoint
