#include "core/checkpoint/families/roberta.h"

namespace engram::checkpoint {
namespace {

FamilySpec Roberta() {
  FamilySpec spec = RobertaLike(DropoutSource::kClassifier);
  spec.model_type = "roberta";
  spec.class_stems = {"Roberta", "XLMRoberta"};
  spec.prefix = "roberta.";
  return spec;
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

FamilySpec RobertaLike(DropoutSource head_dropout) {
  return {
      .default_pad_token_id = 1,
      .positions_after_padding = true,
      .sequence = {.before_dense = head_dropout,
                   .dense = "classifier.dense",
                   .activation = "tanh",
                   .before_output = head_dropout,
                   .output = "classifier.out_proj"},
      .token = {.before_output = head_dropout, .output = "classifier"},
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

}  // namespace engram::checkpoint
