#include "core/checkpoint/model_config.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

Json Bert() {
  return Json::parse(
      R"({"architectures":["BertModel"],"attention_probs_dropout_prob":0.1,"gradient_checkpointing":false,"hidden_act":"gelu",
    "hidden_dropout_prob":0.25,"hidden_size":384,"initializer_range":0.02,"intermediate_size":1536,"layer_norm_eps":1e-12,
    "max_position_embeddings":512,"model_type":"bert","num_attention_heads":12,"num_hidden_layers":6,"pad_token_id":0,
    "position_embedding_type":"absolute","transformers_version":"4.8.2","type_vocab_size":2,"use_cache":true,"vocab_size":30522})");
}

Json Distil() {
  return Json::parse(
      R"({"activation":"gelu","architectures":["DistilBertForMaskedLM"],"attention_dropout":0.05,"dim":768,"dropout":0.1,
    "hidden_dim":3072,"initializer_range":0.02,"max_position_embeddings":512,"model_type":"distilbert","n_heads":12,"n_layers":6,
    "pad_token_id":0,"qa_dropout":0.1,"seq_classif_dropout":0.3,"sinusoidal_pos_embds":false,"tie_weights_":true,"vocab_size":30522})");
}

Json Labelled() {
  Json json = Bert();
  json["id2label"] = {{"0", "no"}, {"1", "yes"}};
  json["label2id"] = {{"no", 0}, {"yes", 1}};
  return json;
}

// As nomic-embed-text-v1.5 was published, and as transformers writes the same model.
Json Nomic() {
  return Json::parse(
      R"({"activation_function":"swiglu","architectures":["NomicBertModel"],"attn_pdrop":0.0,
    "auto_map":{"AutoConfig":"nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
                "AutoModel":"nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
    "bos_token_id":null,"causal":false,"dense_seq_output":true,"embd_pdrop":0.0,"eos_token_id":null,"fused_bias_fc":true,
    "fused_dropout_add_ln":true,"initializer_range":0.02,"layer_norm_epsilon":1e-12,"max_trained_positions":2048,
    "mlp_fc1_bias":false,"mlp_fc2_bias":false,"model_type":"nomic_bert","n_embd":768,"n_head":12,"n_inner":3072,
    "n_layer":12,"n_positions":8192,"pad_vocab_size_multiple":64,"parallel_block":false,"prenorm":false,
    "qkv_proj_bias":false,"reorder_and_upcast_attn":false,"resid_pdrop":0.0,"rotary_emb_base":1000,
    "rotary_emb_fraction":1.0,"rotary_emb_interleaved":false,"rotary_emb_scale_base":null,"rotary_scaling_factor":null,
    "scale_attn_by_inverse_layer_idx":false,"scale_attn_weights":true,"summary_activation":null,
    "summary_first_dropout":0.0,"summary_proj_to_labels":true,"summary_type":"cls_index","summary_use_proj":true,
    "type_vocab_size":2,"use_cache":true,"use_flash_attn":true,"use_rms_norm":false,"use_xentropy":true,
    "vocab_size":30528})");
}
Json NomicOfTransformers() {
  return Json::parse(
      R"({"architectures":["NomicBertModel"],"attention_probs_dropout_prob":0.0,"head_dim":64,"hidden_act":"silu",
    "hidden_dropout_prob":0.0,"hidden_size":768,"initializer_range":0.02,"intermediate_size":3072,"layer_norm_eps":1e-12,
    "max_position_embeddings":2048,"model_type":"nomic_bert","num_attention_heads":12,"num_hidden_layers":12,
    "pad_token_id":0,"rope_parameters":{"rope_theta":1000.0,"rope_type":"default"},"type_vocab_size":2,
    "vocab_size":30528})");
}

struct Refused {
  std::string field, message;
};
Refused Refusal(const Json& json) {
  const absl::Status status = ParseModelConfig(json.dump()).status();
  EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument);
  return {StatusField(status), std::string(status.message())};
}

// `key` set to `value` in `json` is refused by a message on `field` that contains `message`.
void ExpectRefused(Json json, const char* key, const Json& value, const char* field, const char* message) {
  json[key] = value;
  const Refused refused = Refusal(json);
  EXPECT_EQ(refused.field, field) << key << " = " << value;
  EXPECT_THAT(refused.message, HasSubstr(message));
}

std::string HeadProblem(const Json& json) {
  const auto config = ParseModelConfig(json.dump());
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? config->head_problem : "";
}

TEST(ModelConfig, ReadsBert) {
  const auto config = ParseModelConfig(Labelled().dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_STREQ(config->family->model_type, "bert");
  EXPECT_THAT(config->architectures, ElementsAre("BertModel"));
  EXPECT_EQ(config->vocab_size, 30522);
  EXPECT_EQ(config->hidden_size, 384);
  EXPECT_EQ(config->layers, 6);
  EXPECT_EQ(config->heads, 12);
  EXPECT_EQ(config->intermediate_size, 1536);
  EXPECT_EQ(config->max_positions, 512);
  EXPECT_EQ(config->max_length(), 512);
  EXPECT_EQ(config->type_vocab_size, 2);
  EXPECT_EQ(config->hidden_dropout, 0.25);
  EXPECT_EQ(config->attention_dropout, 0.1);
  EXPECT_EQ(config->classifier_dropout, 0.25);  // absent: that of the hidden layers
  EXPECT_EQ(config->layer_norm_eps, 1e-12);
  EXPECT_THAT(config->labels, ElementsAre("no", "yes"));
}

TEST(ModelConfig, ReadsDistilBertAndItsAliases) {
  Json json = Distil();
  json["hidden_size"] = 768;
  const auto config = ParseModelConfig(json.dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_STREQ(config->family->model_type, "distilbert");
  EXPECT_EQ(config->hidden_size, 768);
  EXPECT_EQ(config->type_vocab_size, 0);
  EXPECT_EQ(config->attention_dropout, 0.05);
  EXPECT_EQ(config->classifier_dropout, 0.3);
  ExpectRefused(Distil(), "hidden_size", 512, "hidden_size", "contradicts dim 768");
  ExpectRefused(Distil(), "num_hidden_layers", 5, "num_hidden_layers", "contradicts n_layers 6");
  ExpectRefused(Distil(), "num_attention_heads", 6, "num_attention_heads", "contradicts n_heads 12");
  ExpectRefused(Distil(), "sinusoidal_pos_embds", 1, "sinusoidal_pos_embds", "true or false");
  ExpectRefused(Distil(), "activation", "swish", "activation", "known: gelu");
}

TEST(ModelConfig, RobertaPadsWithOne) {
  Json json = Bert();
  json["architectures"] = {"XLMRobertaModel"};
  json["model_type"] = "xlm-roberta";
  json.erase("pad_token_id");
  const auto config = ParseModelConfig(json.dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_STREQ(config->family->model_type, "xlm-roberta");
  EXPECT_EQ(config->pad_token_id, 1);
  EXPECT_EQ(config->max_length(), 510);  // positions are counted from pad_token_id + 1
  ExpectRefused(json, "max_position_embeddings", 2, "max_position_embeddings", "no position after pad_token_id");
}

TEST(ModelConfig, ClassesOfTheOtherRobertaAreRead) {
  Json json = Bert();
  for (const auto& [type, name] : {std::pair{"roberta", "XLMRobertaModel"}, {"xlm-roberta", "RobertaModel"}}) {
    json["model_type"] = type;
    json["architectures"] = {name};
    EXPECT_EQ(Refusal(json).message, "") << type;
  }
  ExpectRefused(json, "architectures", {"BertModel"}, "architectures", "contradicts model_type xlm-roberta");
  ExpectRefused(Bert(), "architectures", {"RobertaModel"}, "architectures", "contradicts model_type bert");
}

TEST(ModelConfig, RefusesUnknownThingsByName) {
  ExpectRefused(Bert(), "model_type", "gpt2", "model_type",
                "Engram reads bert, distilbert, llama, mistral, modernbert, mpnet, nomic_bert, qwen2, qwen3, roberta, "
                "xlm-roberta");
  ExpectRefused(Bert(), "model_type", nullptr, "model_type", "is missing");
  ExpectRefused(Bert(), "model_type", 3, "model_type",
                "Engram reads bert, distilbert, llama, mistral, modernbert, mpnet, nomic_bert, qwen2, qwen3, roberta, "
                "xlm-roberta");
  ExpectRefused(Bert(), "hidden_act", "mish", "hidden_act", "is \"mish\"; known: gelu");
  ExpectRefused(Bert(), "hidden_act", 5, "hidden_act", "known: gelu");
  ExpectRefused(Bert(), "position_embedding_type", "relative_key", "position_embedding_type",
                "only absolute positions");
  ExpectRefused(Bert(), "is_decoder", true, "is_decoder", "decoders are not encoders");
  ExpectRefused(Bert(), "add_cross_attention", true, "add_cross_attention", "cross-attention");
  ExpectRefused(Bert(), "is_encoder_decoder", true, "is_encoder_decoder", "only encoders");
  ExpectRefused(Bert(), "pruned_heads", {{"0", {1, 2}}}, "pruned_heads", "not implemented");
  ExpectRefused(Bert(), "quantization_config", {{"bits", 4}}, "quantization_config", "import the original model");
  ExpectRefused(Bert(), "auto_map", {{"AutoModel", "x.Y"}}, "auto_map", "never run");
  ExpectRefused(Nomic(), "auto_map", {{"AutoModel", "nomic-ai/nomic-bert-2048--modeling_other.Y"}}, "auto_map",
                "never run");
  ExpectRefused(Nomic(), "auto_map", {{"AutoModel", "modeling_hf_nomic_bert.Y--x.Z"}}, "auto_map", "never run");
  ExpectRefused(Bert(), "hiden_size", 384, "\"hiden_size\"", "it knows hidden_size");
  ExpectRefused(Bert(), "hidden_sizee", 384, "\"hidden_sizee\"", "it knows hidden_size");
  ExpectRefused(Bert(), "hidden_isze", 384, "\"hidden_isze\"", "it knows hidden_size");
  ExpectRefused(Bert(), "n_layers", 6, "\"n_layers\"", "does not know");  // DistilBERT's spelling
  // Keys of encoders that compute otherwise: ALBERT's, ELECTRA's, ModernBERT's, DeBERTa's.
  for (const char* key : {"num_hidden_groups", "rope_theta", "relative_attention", "norm_eps"})
    ExpectRefused(Bert(), key, 3, absl::StrCat("\"", key, "\"").c_str(), "changes what some models compute");
  Json pruned = Bert();
  pruned["pruned_heads"] = Json::object();
  EXPECT_EQ(Refusal(pruned).message, "");
}

TEST(ModelConfig, RefusesImpossibleNumbersByName) {
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                          "max_position_embeddings"}) {
    for (const Json& value :
         {Json(0), Json(-1), Json(1.5), Json("384"), Json(true), Json(int64_t{1} << 40), Json(18446744073709551615u)}) {
      ExpectRefused(Bert(), key, value, key, "must be an integer from 1");
    }
    ExpectRefused(Bert(), key, nullptr, key, "is missing");
    Json json = Bert();
    json.erase(key);
    EXPECT_EQ(Refusal(json).field, key);
  }
  ExpectRefused(Bert(), "type_vocab_size", 0, "type_vocab_size", "from 1");
  ExpectRefused(Bert(), "layer_norm_eps", 0, "layer_norm_eps", "must be a number");
  ExpectRefused(Bert(), "layer_norm_eps", "tiny", "layer_norm_eps", "must be a number");
  ExpectRefused(Bert(), "hidden_dropout_prob", 1.0, "hidden_dropout_prob", "must be a number");
  ExpectRefused(Bert(), "attention_probs_dropout_prob", -0.1, "attention_probs_dropout_prob", "must be a number");
  ExpectRefused(Bert(), "initializer_range", -1, "initializer_range", "must be a number");
}

TEST(ModelConfig, RefusesContradictionsByName) {
  ExpectRefused(Bert(), "num_attention_heads", 7, "num_attention_heads", "7 does not divide hidden_size 384");
  ExpectRefused(Bert(), "pad_token_id", 30522, "pad_token_id", "outside of a vocabulary of 30522");
  ExpectRefused(Bert(), "architectures", {"RobertaModel"}, "architectures", "contradicts model_type bert");
  ExpectRefused(Bert(), "architectures", "BertModel", "architectures", "list of class names");
  ExpectRefused(Labelled(), "id2label", {{"0", "no"}, {"2", "yes"}}, "id2label", "no name for class 1");
  ExpectRefused(Labelled(), "id2label", {"no", "yes"}, "id2label", "must be an object");
  Json untied = Distil();
  untied["tie_word_embeddings"] = false;
  EXPECT_THAT(HeadProblem(untied), HasSubstr("not tied"));
  untied["architectures"] = {"DistilBertModel"};
  untied["tie_word_embeddings"] = false;
  EXPECT_EQ(Refusal(untied).message, "");
  // An encoder that learned masked language modelling here can be opened again.
  const auto saved = RenderModelConfig(untied.dump(), "DistilBertForMaskedLM", {});
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(ParseModelConfig(*saved).status(), absl::OkStatus());
}

// The values are transformers' for the same files (PreTrainedConfig.from_dict(...).id2label), but for _num_labels
// without id2label, which it passes over.
TEST(ModelConfig, IdToLabelDecides) {
  const auto parsed = [](const char* key, const Json& value) {
    Json json = Labelled();
    json[key] = value;
    return ParseModelConfig(json.dump());
  };
  for (const auto& [key, value] : {std::pair<const char*, Json>{"num_labels", 3},
                                   {"_num_labels", 1},
                                   {"_num_labels", 5},
                                   {"label2id", {{"no", 1}, {"yes", 0}}},
                                   {"label2id", {{"no", 0}}},
                                   {"label2id", {{"no", 0}, {"maybe", 1}}}}) {
    const auto config = parsed(key, value);
    ASSERT_TRUE(config.ok()) << key << config.status();
    EXPECT_THAT(config->labels, ElementsAre("no", "yes"));
    ASSERT_EQ(config->warnings.size(), 1) << key;
    EXPECT_THAT(config->warnings[0], HasSubstr(key));
    EXPECT_EQ(config->head_problem, "");
  }
  EXPECT_THAT(ParseModelConfig(Labelled().dump())->warnings, ::testing::IsEmpty());
  Json counted = Bert();
  counted["num_labels"] = 3;
  EXPECT_THAT(ParseModelConfig(counted.dump())->labels, ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  counted["label2id"] = {{"a", 0}};
  EXPECT_THAT(ParseModelConfig(counted.dump())->warnings, ElementsAre(HasSubstr("label2id")));
}

TEST(ModelConfig, KeysThatNoModelReadsAreWarnedOf) {
  Json json = Bert();
  json["uniem_embedding_strategy"] = "last_mean";
  json["trained_by"] = {{"who", "somebody"}};
  const auto config = ParseModelConfig(json.dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->warnings, ElementsAre(HasSubstr("\"trained_by\""), HasSubstr("\"uniem_embedding_strategy\"")));
  json["_name_or_path"] = "x", json["torch_dtype"] = "float16";  // known to change nothing: not worth a word
  EXPECT_EQ(ParseModelConfig(json.dump())->warnings.size(), 2);
}

TEST(ModelConfig, NumbersMayNameClassesAndHarmlessKeysAreRead) {
  Json json = Labelled();
  json.erase("label2id");
  json["id2label"] = {{"0", 0}, {"1", 1}};
  json["embedding_size"] = 384;
  json["max_new_tokens"] = 20;
  const auto config = ParseModelConfig(json.dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->labels, ElementsAre("0", "1"));
  EXPECT_TRUE(config->warnings.empty());
  ExpectRefused(Labelled(), "id2label", {{"0", 0.5}, {"1", 1}}, "id2label", "no name for class 0");
  ExpectRefused(Bert(), "embedding_size", 128, "embedding_size", "contradicts hidden_size 384");
}

// The encoder is still of use.
TEST(ModelConfig, NamesHeadsWhoseProbabilitiesWouldBeWrong) {
  Json json = Labelled();
  json["architectures"] = {"BertForSequenceClassification"};
  json["problem_type"] = "single_label_classification";
  EXPECT_EQ(Refusal(json).message, "");
  EXPECT_EQ(HeadProblem(json), "");
  for (const Json& problem : {Json("multi_label_classification"), Json("regression"), Json(3)}) {
    json["problem_type"] = problem;
    EXPECT_THAT(HeadProblem(json), HasSubstr("only single_label_classification")) << problem;
  }
  json.erase("label2id");
  json.erase("problem_type");
  json["id2label"] = {{"0", "score"}};
  EXPECT_THAT(HeadProblem(json), HasSubstr("one class only"));
  json["id2label"] = {{"0", "no"}, {"1", "no"}};
  EXPECT_THAT(HeadProblem(json), HasSubstr("\"no\" to two classes"));
  json["id2label"] = {{"0", "no"}, {"1", ""}};
  EXPECT_THAT(HeadProblem(json), HasSubstr("class 1 no name"));
  json["architectures"] = {"BertModel"};  // no head is read
  json["id2label"] = {{"0", "no"}, {"1", "yes"}};
  json["problem_type"] = "regression";
  EXPECT_EQ(HeadProblem(json), "");
}

TEST(ModelConfig, RefusesDuplicateKeysAndWhatIsNoObject) {
  std::string twice = Bert().dump();
  twice.insert(1, "\"vocab_size\":7,");
  EXPECT_THAT(std::string(ParseModelConfig(twice).status().message()),
              HasSubstr("the key \"vocab_size\" occurs twice"));
  EXPECT_FALSE(ParseModelConfig("").ok());
  EXPECT_FALSE(ParseModelConfig("[]").ok());
  const std::string whole = Bert().dump();
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(ParseModelConfig(whole.substr(0, size)).ok()) << size;
}

TEST(RenderModelConfig, KeepsTheOriginalKeysAndStatesTheNewHead) {
  Json original = Labelled();
  original["torch_dtype"] = "bfloat16";
  original["num_labels"] = 2;
  const auto text = RenderModelConfig(original.dump(), "BertForSequenceClassification", {"a", "b", "ü"});
  ASSERT_TRUE(text.ok()) << text.status();
  const Json json = Json::parse(*text);
  EXPECT_EQ(json["architectures"], Json::array({"BertForSequenceClassification"}));
  EXPECT_EQ(json["id2label"], Json({{"0", "a"}, {"1", "b"}, {"2", "ü"}}));
  EXPECT_EQ(json["label2id"], Json({{"a", 0}, {"b", 1}, {"ü", 2}}));
  EXPECT_EQ(json["problem_type"], "single_label_classification");
  EXPECT_EQ(json["dtype"], "float32");
  EXPECT_FALSE(json.contains("torch_dtype"));
  EXPECT_FALSE(json.contains("num_labels"));
  for (const char* key : {"hidden_size", "position_embedding_type", "transformers_version", "hidden_dropout_prob"})
    EXPECT_EQ(json[key], original[key]);
  EXPECT_EQ(json.items().begin().key(), "architectures");
  const auto again = ParseModelConfig(*text);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(again->labels, ElementsAre("a", "b", "ü"));
  const Json bare = Json::parse(RenderModelConfig(*text, "BertModel", {}).value());
  for (const char* key : {"id2label", "label2id", "problem_type"}) EXPECT_FALSE(bare.contains(key));
  EXPECT_FALSE(
      Json::parse(RenderModelConfig(*text, "BertForTokenClassification", {"O"}).value()).contains("problem_type"));
}

TEST(RenderModelConfig, RefusesLabelsThatDoNotInvert) {
  const auto refusal = [](const std::vector<std::string>& labels) {
    return std::string(RenderModelConfig(Bert().dump(), "BertForSequenceClassification", labels).status().message());
  };
  EXPECT_THAT(refusal({"a", "a"}), HasSubstr("\"a\" is given to two classes"));
  EXPECT_THAT(refusal({"a", ""}), HasSubstr("class 1 has an empty name"));
  EXPECT_THAT(refusal({"\xff"}), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal(std::vector<std::string>(kMaxLabels + 1, "x")), HasSubstr("at most 10000"));
}

TEST(ParseModelConfig, AnOlderSpellingIsTheSameModel) {
  const auto old = ParseModelConfig(Nomic().dump()), now = ParseModelConfig(NomicOfTransformers().dump());
  ASSERT_TRUE(old.ok()) << old.status();
  ASSERT_TRUE(now.ok()) << now.status();
  for (const ModelConfig* config : {&*old, &*now}) {
    EXPECT_EQ(config->hidden_size, 768);
    EXPECT_EQ(config->layers, 12);
    EXPECT_EQ(config->heads, 12);
    EXPECT_EQ(config->head_width(), 64);
    EXPECT_EQ(config->intermediate_size, 3072);
    EXPECT_EQ(config->max_length(), 2048);  // of the training, whatever n_positions says
    EXPECT_EQ(config->hidden_act, "silu");
    EXPECT_EQ(config->layer_norm_eps, 1e-12);
    EXPECT_EQ(config->hidden_dropout, 0);
    EXPECT_EQ(config->attention_dropout, 0);
    ASSERT_EQ(config->ropes.size(), 1);
    EXPECT_EQ(config->ropes[0].base, 1000);
    EXPECT_EQ(config->ropes[0].kind, RopeKind::kDefault);
  }
  ASSERT_EQ(old->warnings.size(), 1);
  EXPECT_THAT(old->warnings[0], HasSubstr("auto_map"));
  EXPECT_TRUE(now->warnings.empty());
  ExpectRefused(Nomic(), "hidden_size", 512, "n_embd", "contradicts");
  ExpectRefused(Nomic(), "rotary_scaling_factor", 2.0, "rotary_scaling_factor", "positions");
  ExpectRefused(Nomic(), "prenorm", true, "prenorm", "not implemented");
  ExpectRefused(Nomic(), "activation_function", "gelu", "activation_function", "swiglu");
}

// As it was published; its weights are 26 GB.
TEST(ParseModelConfig, YarnLlama) {
  const auto config = ParseModelConfig(
      R"({"_name_or_path":"meta-llama/Llama-2-13b-hf","architectures":["LlamaForCausalLM"],
    "auto_map":{"AutoConfig":"configuration_llama.LlamaConfig",
                "AutoModelForCausalLM":"modeling_llama_together_yarn.LlamaForCausalLM"},
    "bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":5120,"initializer_range":0.02,
    "intermediate_size":13824,"max_position_embeddings":131072,"model_type":"llama","num_attention_heads":40,
    "num_hidden_layers":40,"num_key_value_heads":40,"pad_token_id":0,"pretraining_tp":1,"rms_norm_eps":1e-05,
    "rope_scaling":{"factor":32.0,"original_max_position_embeddings":4096,"type":"yarn","finetuned":true},
    "tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.33.0","use_cache":true,
    "vocab_size":32000})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->ropes[0].kind, RopeKind::kYarn);
  EXPECT_EQ(config->ropes[0].factor, 32);
  EXPECT_EQ(config->ropes[0].original_positions, 4096);
  EXPECT_EQ(config->max_length(), 131072);
  ASSERT_EQ(config->warnings.size(), 1);
  EXPECT_THAT(config->warnings[0], HasSubstr("auto_map"));
}

}  // namespace
}  // namespace engram::checkpoint
