#include "core/checkpoint/model_config_keys.h"

#include <algorithm>
#include <iterator>

namespace engram::checkpoint {

const std::set<std::string>& HarmlessConfigKeys() {
  // Where from: what transformers 4 and 5 write for these families, what the converters of Google's and Facebook's
  // first checkpoints left, and what sentence-transformers adds.
  static const std::set<std::string> keys = {
      // provenance
      "_name_or_path", "_commit_hash", "transformers_version", "language", "name", "finetuning_task",
      "task_specific_params", "tokenizer_class", "sentence_transformers", "sbert_ce_default_activation_function",
      // how it runs there, not what it computes
      "dtype", "torch_dtype", "torchscript", "use_bfloat16", "use_cache", "return_dict", "output_attentions",
      "output_hidden_states", "output_past", "gradient_checkpointing", "chunk_size_feed_forward", "attn_implementation",
      "_attn_implementation", "_attn_implementation_autoset", "tf_legacy_loss", "xla_device",
      // special tokens: the tokenizer's files decide
      "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id",
      "forced_bos_token_id", "forced_eos_token_id",
      // heads that Engram does not load
      "qa_dropout", "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
      "pooler_size_per_head", "pooler_type", "summary_activation", "summary_first_dropout", "summary_last_dropout",
      "summary_proj_to_labels", "summary_type", "summary_use_proj",
      // defaults of text generation, which transformers 4 wrote into every config
      "max_new_tokens", "min_new_tokens", "max_time", "penalty_alpha", "guidance_scale", "low_memory", "constraints",
      "force_words_ids", "renormalize_logits", "watermarking_config", "cache_implementation", "max_length",
      "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature",
      "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
      "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
      "return_dict_in_generate", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
      "begin_suppress_tokens", "prefix", "cross_attention_hidden_size", "tie_encoder_decoder", "tie_weights_"};
  return keys;
}

bool IsKeyOfTransformers(std::string_view key) {
  // Sorted by bytes, as the script writes them.
  static constexpr std::string_view kKeys[] = {
#include "core/checkpoint/config_keys.inc"
  };
  return std::binary_search(std::begin(kKeys), std::end(kKeys), key);
}

}  // namespace engram::checkpoint
