// What config.json says of layers: every spelling that is in use, and what is refused.

#include <cmath>

#include "core/checkpoint/model_config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {
namespace {

using nlohmann::json;
using testing::ElementsAre;

json Llama(const json& changes) {
  json config = {{"model_type", "llama"},        {"vocab_size", 50},         {"hidden_size", 32},
                 {"num_hidden_layers", 3},       {"num_attention_heads", 4}, {"intermediate_size", 40},
                 {"max_position_embeddings", 64}};
  config.update(changes);
  return config;
}
json Qwen2(const json& changes) {
  json config = Llama(changes);
  config["model_type"] = "qwen2";
  return config;
}
json ModernBert(const json& changes) {
  json config = Llama({{"pad_token_id", 0}, {"num_hidden_layers", 7}});
  config["model_type"] = "modernbert";
  config.update(changes);
  return config;
}

ModelConfig Read(const json& config) {
  absl::StatusOr<ModelConfig> read = ParseModelConfig(config.dump());
  EXPECT_TRUE(read.ok()) << read.status();
  return read.ok() ? *std::move(read) : ModelConfig{};
}
std::string Refused(const json& config) { return StatusField(ParseModelConfig(config.dump()).status()); }

TEST(LayerConfig, HeadsOfKeysAndTheirWidthMayDiffer) {
  const ModelConfig plain = Read(Llama(json::object()));
  EXPECT_EQ(plain.key_heads(), 4);
  EXPECT_EQ(plain.head_width(), 8);
  const ModelConfig grouped = Read(Llama({{"num_key_value_heads", 2}, {"head_dim", 10}}));
  EXPECT_EQ(grouped.key_width(), 20);
  EXPECT_EQ(grouped.query_width(), 40);
  EXPECT_EQ(Refused(Llama({{"num_key_value_heads", 3}})), "num_key_value_heads");
  EXPECT_EQ(Refused(Llama({{"num_attention_heads", 5}})), "num_attention_heads");
  EXPECT_EQ(Refused(Llama({{"head_dim", 7}})), "head_dim") << "an odd number of dimensions cannot turn";
}

TEST(LayerConfig, BiasesFollowTheFamilyAndItsKeys) {
  EXPECT_FALSE(Read(Llama(json::object())).attention_input_bias);
  const ModelConfig biased = Read(Llama({{"attention_bias", true}, {"mlp_bias", true}}));
  EXPECT_TRUE(biased.attention_input_bias && biased.attention_output_bias && biased.feed_forward_bias);
  const ModelConfig qwen = Read(Qwen2(json::object()));
  EXPECT_TRUE(qwen.attention_input_bias);
  EXPECT_FALSE(qwen.attention_output_bias);
  EXPECT_EQ(Refused(Llama({{"attention_bias", 1}})), "attention_bias");
}

TEST(LayerConfig, WindowsFollowTheRuleOfTheFamilyOrTheListOfLayers) {
  EXPECT_THAT(Read(ModernBert(json::object())).windows, ElementsAre(-1, 64, 64, -1, 64, 64, -1));
  EXPECT_THAT(Read(ModernBert({{"local_attention", 10}, {"global_attn_every_n_layers", 2}})).windows,
              ElementsAre(-1, 5, -1, 5, -1, 5, -1));
  json listed = ModernBert({{"num_hidden_layers", 2}, {"layer_types", {"sliding_attention", "full_attention"}}});
  EXPECT_THAT(Read(listed).windows, ElementsAre(64, -1));
  listed["layer_types"][0] = "linear_attention";
  EXPECT_EQ(Refused(listed), "layer_types");
  listed["layer_types"] = {"full_attention"};
  EXPECT_EQ(Refused(listed), "layer_types");

  // The token itself counts where attention is causal.
  json mistral = Llama({{"sliding_window", 6}});
  mistral["model_type"] = "mistral";
  EXPECT_THAT(Read(mistral).windows, ElementsAre(5, 5, 5));
  mistral["sliding_window"] = nullptr;
  EXPECT_THAT(Read(mistral).windows, ElementsAre());
  EXPECT_THAT(Read(Qwen2({{"use_sliding_window", true}, {"sliding_window", 9}, {"max_window_layers", 2}})).windows,
              ElementsAre(-1, -1, 8));
  EXPECT_THAT(Read(Qwen2({{"sliding_window", 9}, {"max_window_layers", 2}})).windows, ElementsAre());
}

TEST(LayerConfig, RopesAreReadInEverySpelling) {
  EXPECT_EQ(Read(Llama({{"rope_theta", 500.0}})).ropes.front().base, 500);
  // Yarn-Llama-2's own file, and the schema of transformers 5.
  const json yarn = {{"factor", 32.0}, {"original_max_position_embeddings", 4}, {"type", "yarn"}, {"finetuned", true}};
  const Rope old = Read(Llama({{"rope_scaling", yarn}})).ropes.front();
  EXPECT_EQ(old.kind, RopeKind::kYarn);
  EXPECT_EQ(old.factor, 32);
  EXPECT_EQ(old.original_positions, 4);
  EXPECT_EQ(old.base, 10'000);
  EXPECT_TRUE(old.finetuned);
  const json now = {{"rope_theta", 77.0},     {"rope_type", "llama3"},   {"factor", 8.0},
                    {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 16}};
  const Rope llama3 = Read(Llama({{"rope_parameters", now}})).ropes.front();
  EXPECT_EQ(llama3.kind, RopeKind::kLlama3);
  EXPECT_EQ(llama3.base, 77);
  EXPECT_EQ(Read(Llama({{"rope_scaling", {{"type", "ntk"}, {"factor", 2.0}}}})).ropes.front().kind, RopeKind::kNtk);
  EXPECT_EQ(Read(Llama({{"rope_scaling", {{"type", "ntk"}, {"factor", 2.0}, {"mixed_b", 0.5}}}})).ropes.front().kind,
            RopeKind::kNtkMixed);
  const json su = {{"type", "su"}, {"short_factor", {1, 1, 1, 1}}, {"long_factor", {2, 2, 2, 2}}};
  const Rope longrope = Read(Llama({{"rope_scaling", su}, {"original_max_position_embeddings", 16}})).ropes.front();
  EXPECT_EQ(longrope.kind, RopeKind::kLongRope);
  EXPECT_EQ(longrope.factor, 4) << "the longest length by the original one";
}

TEST(LayerConfig, LayersWithAWindowHaveRopesOfTheirOwn) {
  const ModelConfig plain = Read(ModernBert(json::object()));
  ASSERT_EQ(plain.ropes.size(), 2U);
  EXPECT_EQ(plain.ropes[plain.rope_index(0)].base, 160'000);
  EXPECT_EQ(plain.ropes[plain.rope_index(1)].base, 10'000);
  EXPECT_EQ(Read(ModernBert({{"global_rope_theta", 9.0}, {"local_rope_theta", 8.0}})).ropes[1].base, 8);
  const json by_type = {{"full_attention", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 3.0}}},
                        {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 2.0}}}};
  const ModelConfig scaled = Read(ModernBert({{"rope_parameters", by_type}}));
  EXPECT_EQ(scaled.ropes[0].kind, RopeKind::kLinear);
  EXPECT_EQ(scaled.ropes[0].base, 3);
  EXPECT_EQ(scaled.ropes[1].kind, RopeKind::kDefault);
  EXPECT_EQ(scaled.ropes[1].base, 2);
}

TEST(LayerConfig, RefusesRopesByTheNameOfTheKey) {
  const auto scaling = [](const json& rope) { return Refused(Llama({{"rope_scaling", rope}})); };
  EXPECT_EQ(scaling({{"type", "mrope"}, {"factor", 2.0}}), "rope_scaling.rope_type");
  EXPECT_EQ(scaling({{"type", "linear"}}), "rope_scaling.factor");
  EXPECT_EQ(scaling({{"type", "linear"}, {"factor", 0.5}}), "factor");
  EXPECT_EQ(scaling({{"type", "linear"}, {"factor", "2"}}), "rope_scaling.factor");
  EXPECT_EQ(scaling({{"type", "yarn"}, {"factor", 2.0}}), "original_max_position_embeddings");
  EXPECT_EQ(scaling({{"type", "linear"}, {"factor", 2.0}, {"beta_fast", 32}}), "rope_scaling.\"beta_fast\"");
  EXPECT_EQ(scaling({{"type", "linear"}, {"rope_type", "dynamic"}, {"factor", 2.0}}), "rope_scaling.type");
  EXPECT_EQ(scaling("linear"), "rope_scaling");
  EXPECT_EQ(Refused(Llama({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                           {"rope_parameters", {{"rope_type", "linear"}, {"factor", 4.0}}}})),
            "rope_scaling");
  EXPECT_EQ(Refused(ModernBert({{"rope_parameters", {{"rope_type", "linear"}, {"factor", 4.0}}}})),
            "rope_parameters.\"factor\"");
  EXPECT_EQ(Refused(ModernBert({{"mlp_dropout", 0.1}})), "mlp_dropout");
  EXPECT_EQ(Refused(ModernBert({{"classifier_pooling", "max"}})), "classifier_pooling");
}

}  // namespace
}  // namespace engram::checkpoint
