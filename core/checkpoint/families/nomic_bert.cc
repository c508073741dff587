#include "core/checkpoint/families/family.h"

namespace engram::checkpoint {
namespace {

// Nussbaum et al. 2402.01613: BERT with rotary positions and a gated feed-forward layer without biases. config.json comes
// in the spelling of transformers, and in the one of the code that the first checkpoints were published with.
const FamilyRegistration kNomicBert(FamilySpec{
    .model_type = "nomic_bert",
    .class_stems = {"NomicBert"},
    .prefix = "nomic_bert.",
    .keys = {.head_dim = "head_dim"},
    .names = {.position_embeddings = nullptr,
              .embedding_norm = "emb_ln",
              .layer = "encoder.layers.",
              .attention_output = "attn.out_proj",
              .attention_norm = "norm1",
              .intermediate = "mlp.fc11",
              .output = "mlp.fc2",
              .output_norm = "norm2",
              .query_key_value = "attn.Wqkv",
              .gate = "mlp.fc12"},
    .block = {.gated = true},
    .biases = {.attention_input = false, .attention_output = false, .feed_forward = false},
    .rope = {.base = 1000},
    .fixed_keys = {{"activation_function", "\"swiglu\"", "only swiglu is implemented"},
                   {"embd_pdrop", "0.0", "dropout of embeddings alone is not implemented"},
                   {"qkv_proj_bias", "false", "only layers without a bias are implemented"},
                   {"mlp_fc1_bias", "false", "only layers without a bias are implemented"},
                   {"mlp_fc2_bias", "false", "only layers without a bias are implemented"},
                   {"prenorm", "false", "a norm before each part is not implemented"},
                   {"parallel_block", "false", "attention beside the feed-forward layer is not implemented"},
                   {"causal", "false", "decoders are not encoders"},
                   {"use_rms_norm", "false", "only LayerNorm is implemented"},
                   {"rotary_emb_fraction", "1.0", "rotations of a part of a head are not implemented"},
                   {"rotary_emb_interleaved", "false", "rotations of neighbouring dimensions are not implemented"},
                   {"rotary_emb_scale_base", "null", "xPos is not implemented"},
                   {"rotary_scaling_factor", "null", "ask for positions beyond the trained ones with the text"},
                   {"scale_attn_weights", "true", "attention without its scale is not implemented"},
                   {"scale_attn_by_inverse_layer_idx", "false", "scales of layers are not implemented"},
                   {"num_local_experts", "0", "mixtures of experts are not implemented"}},
    .harmless_keys = {"n_positions", "dense_seq_output", "fused_bias_fc", "fused_dropout_add_ln", "last_layer_subset",
                      "pad_vocab_size_multiple", "reorder_and_upcast_attn", "use_flash_attn", "use_xentropy"},
    .older_keys = {{"n_embd", "hidden_size"},
                   {"n_layer", "num_hidden_layers"},
                   {"n_head", "num_attention_heads"},
                   {"n_inner", "intermediate_size"},
                   {"max_trained_positions", "max_position_embeddings"},
                   {"resid_pdrop", "hidden_dropout_prob"},
                   {"attn_pdrop", "attention_probs_dropout_prob"},
                   {"layer_norm_epsilon", "layer_norm_eps"},
                   {"rotary_emb_base", "rope_theta"}},
    .known_code = "modeling_hf_nomic_bert.",
    .default_dropout = 0,
    .default_activation = "silu",
    .sequence =
        {.on_pooler = true, .activation = "tanh", .before_output = DropoutSource::kClassifier, .output = "classifier"},
    .token = {.before_output = DropoutSource::kClassifier, .output = "classifier"},
    .masked_lm = {.dense = "cls.predictions.transform.dense",
                  .norm = "cls.predictions.transform.layer_norm",
                  .output = "cls.predictions.bias",
                  .tied = true,
                  .tied_weight = "cls.predictions.decoder.weight",
                  .tied_bias = "cls.predictions.decoder.bias"},
    .head_prefixes = {"classifier.", "cls."},
});

}  // namespace
}  // namespace engram::checkpoint
