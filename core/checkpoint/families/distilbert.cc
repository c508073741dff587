#include "core/checkpoint/families/family.h"

namespace engram::checkpoint {
namespace {

const FamilyRegistration kDistilBert(FamilySpec{
    .model_type = "distilbert",
    .class_stems = {"DistilBert"},
    .prefix = "distilbert.",
    .keys = {.hidden_size = "dim",
             .layers = "n_layers",
             .heads = "n_heads",
             .intermediate_size = "hidden_dim",
             .activation = "activation",
             .hidden_dropout = "dropout",
             .attention_dropout = "attention_dropout",
             .classifier_dropout = "seq_classif_dropout"},
    .names = {.type_embeddings = nullptr,
              .layer = "transformer.layer.",
              .query = "attention.q_lin",
              .key = "attention.k_lin",
              .value = "attention.v_lin",
              .attention_output = "attention.out_lin",
              .attention_norm = "sa_layer_norm",
              .intermediate = "ffn.lin1",
              .output = "ffn.lin2",
              .output_norm = "output_layer_norm",
              .pooler = nullptr},
    .default_classifier_dropout = 0.2,
    .dropout_after_attention = false,
    .sequence = {.dense = "pre_classifier",
                 .activation = "relu",
                 .before_output = DropoutSource::kClassifier,
                 .output = "classifier"},
    .token = {.before_output = DropoutSource::kHidden, .output = "classifier"},
    .masked_lm = {.dense = "vocab_transform",
                  .norm = "vocab_layer_norm",
                  .output = "vocab_projector.bias",
                  .tied = true,
                  .tied_weight = "vocab_projector.weight"},
    .head_prefixes = {"classifier.", "pre_classifier.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.",
                      "qa_outputs."},
});

}  // namespace
}  // namespace engram::checkpoint
