#include <utility>

#include "core/checkpoint/families/family.h"

namespace engram::checkpoint {
namespace {

FamilySpec Roberta() {
  return {
      .model_type = "roberta",
      .class_stems = {"Roberta", "XLMRoberta"},
      .prefix = "roberta.",
      .default_pad_token_id = 1,
      .positions_after_padding = true,
      .sequence = {.before_dense = DropoutSource::kClassifier,
                   .dense = "classifier.dense",
                   .activation = "tanh",
                   .before_output = DropoutSource::kClassifier,
                   .output = "classifier.out_proj"},
      .token = {.before_output = DropoutSource::kClassifier, .output = "classifier"},
      .masked_lm = {.dense = "lm_head.dense",
                    .activation = "gelu",  // whatever the layers have
                    .norm = "lm_head.layer_norm",
                    .output = "lm_head.bias",
                    .tied = true,
                    .tied_weight = "lm_head.decoder.weight",
                    .tied_bias = "lm_head.decoder.bias"},
      .head_prefixes = {"classifier.", "lm_head.", "qa_outputs."},
  };
}

// XLM-RoBERTa is RoBERTa with another vocabulary and classes of its own, whose tensors have RoBERTa's names.
FamilySpec XlmRoberta() {
  FamilySpec spec = Roberta();
  spec.model_type = "xlm-roberta";
  spec.class_stems = {"XLMRoberta", "Roberta"};
  return spec;
}

const FamilyRegistration kRoberta(Roberta());
const FamilyRegistration kXlmRoberta(XlmRoberta());

}  // namespace
}  // namespace engram::checkpoint
