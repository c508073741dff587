#include "core/checkpoint/families/family.h"

namespace engram::checkpoint {
namespace {

// Song et al. 2004.09297: RoBERTa's block and positions, and beside those a table of distances that all layers share.
const FamilyRegistration kMpNet(FamilySpec{
    .model_type = "mpnet",
    .class_stems = {"MPNet"},
    .prefix = "mpnet.",
    .names = {.type_embeddings = nullptr,
              .query = "attention.attn.q",
              .key = "attention.attn.k",
              .value = "attention.attn.v",
              .attention_output = "attention.attn.o",
              .attention_norm = "attention.LayerNorm",
              .relative_positions = "encoder.relative_attention_bias"},
    .fixed_keys = {{"relative_attention_num_buckets", "32",
                    "transformers computes 32 sorts of distances whatever it says"}},
    .default_pad_token_id = 1,
    .positions_after_padding = true,
    .sequence = {.before_dense = DropoutSource::kHidden,
                 .dense = "classifier.dense",
                 .activation = "tanh",
                 .before_output = DropoutSource::kHidden,
                 .output = "classifier.out_proj"},
    .token = {.before_output = DropoutSource::kHidden, .output = "classifier"},
    .masked_lm = {.dense = "lm_head.dense",
                  .activation = "gelu",  // whatever the layers have
                  .norm = "lm_head.layer_norm",
                  .output = "lm_head.bias",
                  .tied = true,
                  .tied_weight = "lm_head.decoder.weight",
                  .tied_bias = "lm_head.decoder.bias"},
    .head_prefixes = {"classifier.", "lm_head.", "qa_outputs."},
});

}  // namespace
}  // namespace engram::checkpoint
