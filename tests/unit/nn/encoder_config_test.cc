// What a network may be built from, and what it costs, against numbers counted by hand.

#include "core/nn/encoder_config.h"

#include <functional>
#include <string>
#include <utility>

#include "core/nn/encoder_cost.h"
#include "core/nn/model.h"
#include "gtest/gtest.h"

namespace engram::nn {
namespace {

using checkpoint::Pooling;
using checkpoint::TaskKind;

EncoderConfig Small(const char* family) {
  EncoderConfig config;
  config.family = checkpoint::FindFamily(family);
  config.vocab_size = 5, config.hidden_size = 4, config.layers = 2, config.heads = 2, config.intermediate_size = 6;
  config.max_positions = 7;
  config.type_vocab_size = config.family->names.type_embeddings == nullptr ? 0 : 2;
  return config;
}

TEST(EncoderConfig, NumbersThatDoNotFitTogetherAreRefusedByName) {
  EXPECT_TRUE(CheckEncoderConfig(Small("bert")).ok());
  EXPECT_TRUE(CheckEncoderConfig(Small("distilbert")).ok());
  const std::pair<const char*, std::function<void(EncoderConfig&)>> wrong[] = {
      {"model_type", [](EncoderConfig& c) { c.family = nullptr; }},
      {"vocab_size", [](EncoderConfig& c) { c.vocab_size = 0; }},
      {"num_hidden_layers", [](EncoderConfig& c) { c.layers = -1; }},
      {"num_attention_heads", [](EncoderConfig& c) { c.heads = 3; }},
      {"max_position_embeddings", [](EncoderConfig& c) { c.max_positions = 0; }},
      {"type_vocab_size", [](EncoderConfig& c) { c.type_vocab_size = 0; }},
  };
  for (const auto& [field, break_it] : wrong) {
    EncoderConfig config = Small("bert");
    break_it(config);
    EXPECT_EQ(StatusField(CheckEncoderConfig(config)), field);
  }
  EncoderConfig distil = Small("distilbert");
  distil.has_pooler = true;
  EXPECT_EQ(StatusField(CheckEncoderConfig(distil)), "model_type");
}

TEST(EncoderConfig, RobertaCountsPositionsFromBehindThePaddingToken) {
  EncoderConfig config = Small("roberta");
  config.pad_token_id = 1;
  EXPECT_EQ(config.first_position(), 2);
  EXPECT_EQ(config.max_length(), 5);
  config.max_positions = 2;
  EXPECT_EQ(StatusField(CheckEncoderConfig(config)), "max_position_embeddings");
  EncoderConfig bert = Small("bert");
  bert.pad_token_id = 1;
  EXPECT_EQ(bert.first_position(), 0);
  EXPECT_EQ(bert.max_length(), 7);
}

TEST(EncoderConfig, ActivationsHaveTransformersNames) {
  EXPECT_EQ(ParseActivation("gelu").value(), Activation::kGelu);
  EXPECT_EQ(ParseActivation("gelu_new").value(), Activation::kGeluTanh);
  EXPECT_EQ(ParseActivation("gelu_pytorch_tanh").value(), Activation::kGeluTanh);
  EXPECT_EQ(ParseActivation("relu").value(), Activation::kRelu);
  EXPECT_EQ(ParseActivation("silu").value(), Activation::kSilu);
  EXPECT_EQ(ParseActivation("tanh").value(), Activation::kTanh);
  EXPECT_EQ(StatusField(ParseActivation("mish").status()), "hidden_act");
}

TEST(EncoderConfig, AHeadOnThePoolerNeedsOne) {
  EncoderConfig config = Small("bert");
  const HeadConfig head{TaskKind::kSequenceClassification, 3, Pooling::kStandard};
  const auto without = Model::Create(config, at::kCPU, Precision::kFloat32).value();
  EXPECT_EQ(without->AddHead("t", head, 1).code(), absl::StatusCode::kFailedPrecondition);
  config.has_pooler = true;
  const auto with = Model::Create(config, at::kCPU, Precision::kFloat32).value();
  EXPECT_TRUE(with->AddHead("t", head, 1).ok());
}

TEST(EncoderCost, ProductsAreThoseOfTheWeightMatrices) {
  // Of a layer: query, key, value and output, 4 x 4 each, then 4 x 6 and 6 x 4.
  EXPECT_EQ(ProductsPerToken(Small("bert")), 2 * (4 * 16 + 24 + 24));
}

TEST(EncoderCost, ABatchKeepsRowsOfItsLayersAndOneLayerOfGradients) {
  // Rows per token: 8 of width 4 and 2 of width 6 per layer, then 14 of width 4 and 2 of width 6.
  EXPECT_EQ(ActivationBytes(10, 2, Small("bert"), Precision::kFloat32), 10 * 4 * (2 * 44 + 68));
  // Half of that in bf16, and the sums of a row of width 6 in fp32.
  EXPECT_EQ(ActivationBytes(10, 2, Small("bert"), Precision::kBFloat16), 10 * (2 * (2 * 44 + 68) + 4 * 6));
}

TEST(EncoderCost, AHeadCountsWhatItAdds) {
  const auto parameters = [](const char* family, TaskKind kind, Pooling pooling = Pooling::kStandard) {
    return HeadParameters(Small(family), kind, pooling, 3);
  };
  for (const char* family : {"bert", "roberta", "xlm-roberta", "distilbert"}) {
    // A dense layer 4 x 4 (BERT: the pooler) and 3 classes, each with a bias.
    EXPECT_EQ(parameters(family, TaskKind::kSequenceClassification), 20 + 15) << family;
    EXPECT_EQ(parameters(family, TaskKind::kSequenceClassification, Pooling::kMean), 15) << family;
    EXPECT_EQ(parameters(family, TaskKind::kTokenClassification), 15) << family;
    // Dense layer, LayerNorm, a bias per token of the vocabulary.
    EXPECT_EQ(parameters(family, TaskKind::kMaskedLanguageModel), 20 + 8 + 5) << family;
  }
}

}  // namespace
}  // namespace engram::nn
