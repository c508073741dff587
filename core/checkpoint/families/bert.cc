#include "core/checkpoint/families/family.h"

namespace engram::checkpoint {
namespace {

const FamilyRegistration kBert(FamilySpec{
    .model_type = "bert",
    .class_stems = {"Bert"},
    .prefix = "bert.",
    .sequence =
        {.on_pooler = true, .activation = "tanh", .before_output = DropoutSource::kClassifier, .output = "classifier"},
    .token = {.before_output = DropoutSource::kClassifier, .output = "classifier"},
    .masked_lm = {.dense = "cls.predictions.transform.dense",
                  .norm = "cls.predictions.transform.LayerNorm",
                  .output = "cls.predictions.bias",
                  .tied = true,
                  .tied_weight = "cls.predictions.decoder.weight",
                  .tied_bias = "cls.predictions.decoder.bias"},
    .head_prefixes = {"classifier.", "cls.", "qa_outputs."},
});

}  // namespace
}  // namespace engram::checkpoint
