#include "core/checkpoint/families/roberta.h"

namespace engram::checkpoint {
namespace {

// Song et al. 2004.09297: RoBERTa's block, positions and heads, and beside those a table of distances that all layers
// share. Its heads drop out as its layers do.
FamilySpec MpNet() {
  FamilySpec spec = RobertaLike(DropoutSource::kHidden);
  spec.model_type = "mpnet";
  spec.class_stems = {"MPNet"};
  spec.prefix = "mpnet.";
  spec.names = {.type_embeddings = nullptr,
                .query = "attention.attn.q",
                .key = "attention.attn.k",
                .value = "attention.attn.v",
                .attention_output = "attention.attn.o",
                .attention_norm = "attention.LayerNorm",
                .relative_positions = "encoder.relative_attention_bias"};
  spec.fixed_keys = {
      {"relative_attention_num_buckets", "32", "transformers computes 32 sorts of distances whatever it says"}};
  return spec;
}

const FamilyRegistration kMpNet(MpNet());

}  // namespace
}  // namespace engram::checkpoint
