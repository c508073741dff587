#include "core/checkpoint/sentence_modules.h"

#include <string>

#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<PoolingModule> Read(const std::string& text) {
  return ParsePoolingModule(text, "1_Pooling/config.json");
}
std::string Refusal(const std::string& text) { return std::string(Read(text).status().message()); }

TEST(PoolingModule, ReadsEveryKindInBothForms) {
  EXPECT_THAT(Read(R"({"word_embedding_dimension": 384})")->modes, ElementsAre(TokenPooling::kMean));
  // Several switches are concatenated in sentence-transformers' order, whatever theirs is.
  EXPECT_THAT(Read(R"({"pooling_mode_lasttoken": true, "pooling_mode_weightedmean_tokens": true,
                       "pooling_mode_mean_sqrt_len_tokens": true, "pooling_mode_mean_tokens": true,
                       "pooling_mode_max_tokens": true, "pooling_mode_cls_token": true})")
                  ->modes,
              ElementsAre(TokenPooling::kCls, TokenPooling::kMax, TokenPooling::kMean, TokenPooling::kMeanSqrtLen,
                          TokenPooling::kWeightedMean, TokenPooling::kLastToken));
  EXPECT_THAT(Read(R"({"pooling_mode": "lasttoken"})")->modes, ElementsAre(TokenPooling::kLastToken));
  // A list keeps its own.
  EXPECT_THAT(Read(R"({"pooling_mode": ["max", "cls"]})")->modes, ElementsAre(TokenPooling::kMax, TokenPooling::kCls));
  const auto read = Read(R"({"embedding_dimension": 8, "pooling_mode": "mean", "include_prompt": false})");
  EXPECT_EQ(read->dimension, 8);
  EXPECT_FALSE(read->include_prompt);
}

TEST(PoolingModule, RefusesWhatItDoesNotKnowAndWhatContradictsItself) {
  EXPECT_THAT(Refusal(R"({"pooling_mode": "attention"})"), HasSubstr("attention"));
  EXPECT_THAT(Refusal(R"({"pooling_mode": []})"), HasSubstr("1 to 16"));
  EXPECT_THAT(Refusal(R"({"pooling_mode_cls_token": 1})"), HasSubstr("true or false"));
  EXPECT_THAT(Refusal(R"({"pooling_mode_attention": true})"), HasSubstr("pooling_mode_attention"));
  EXPECT_THAT(Refusal(R"({"pooling_mode": "max", "pooling_mode_cls_token": true})"),
              HasSubstr("is max, but the switches pooling_mode_* say cls"));
  EXPECT_THAT(Refusal(R"({"word_embedding_dimension": 3, "embedding_dimension": 4})"), HasSubstr("is 4"));
}

class SentenceModulesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.family = FindFamily("bert");
    config_.hidden_size = 8;
    config_.max_positions = 64;
  }
  void Write(const std::string& file, const std::string& text) {
    const std::string path = directory_.path() + "/" + file;
    ASSERT_TRUE(MakeDirectories(path.substr(0, path.rfind('/'))).ok());
    ASSERT_TRUE(WriteFileAtomic(path, text).ok());
  }
  void WriteModules(const std::string& further) {
    Write("modules.json", R"([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
      {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})" +
                              further + "]");
    Write("1_Pooling/config.json", R"({"word_embedding_dimension": 8, "pooling_mode": ["cls", "max"]})");
  }
  absl::StatusOr<SentenceModules> ReadAll(bool lowercases = true) {
    return ReadSentenceModules(directory_.path(), config_, lowercases);
  }
  std::string RefusalOfAll(bool lowercases = true) { return std::string(ReadAll(lowercases).status().message()); }

  TemporaryDirectory directory_;
  ModelConfig config_;
};

TEST_F(SentenceModulesTest, ABareEncoderIsTheMeanOverAllItsPositions) {
  const auto modules = ReadAll();
  ASSERT_TRUE(modules.ok()) << modules.status();
  EXPECT_FALSE(modules->stated);
  EXPECT_EQ(modules->max_tokens, 64);
  EXPECT_THAT(modules->pooling.modes, ElementsAre(TokenPooling::kMean));
  EXPECT_FALSE(ReadPoolingModule(directory_.path()).value().has_value());
  // transformers writes this number for "no limit".
  Write("tokenizer_config.json", R"({"model_max_length": 1000000000000000019884624838656})");
  EXPECT_EQ(ReadAll()->max_tokens, 64);
  Write("tokenizer_config.json", R"({"model_max_length": 20})");
  EXPECT_EQ(ReadAll()->max_tokens, 20);
}

TEST_F(SentenceModulesTest, OtherFilesWithoutModulesMustNotSayOtherwise) {
  Write("1_Pooling/config.json", R"({"pooling_mode": "mean"})");
  EXPECT_TRUE(ReadAll().ok()) << ReadAll().status();
  Write("1_Pooling/config.json", R"({"pooling_mode": "cls"})");
  EXPECT_THAT(RefusalOfAll(), HasSubstr("modules.json: is missing"));
  EXPECT_THAT(RefusalOfAll(), HasSubstr("cls"));
}

TEST_F(SentenceModulesTest, ReadsTheWholeChain) {
  WriteModules(
      R"(, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.base.modules.dense.Dense"},
    {"idx": 3, "name": "3", "path": "3_Dropout", "type": "sentence_transformers.models.Dropout"},
    {"idx": 4, "name": "4", "path": "4_Normalize", "type": "sentence_transformers.models.Normalize"})");
  Write("2_Dense/config.json", R"({"in_features": 16, "out_features": 5, "bias": false,
                                   "activation_function": "torch.nn.modules.linear.Identity"})");
  EXPECT_THAT(RefusalOfAll(), HasSubstr("2_Dense/model.safetensors: is missing"));
  Write("2_Dense/model.safetensors", "looked at by others");
  Write("sentence_bert_config.json", R"({"max_seq_length": 40, "do_lower_case": false})");
  Write("config_sentence_transformers.json", R"({"prompts": {"query": "q: "}, "default_prompt_name": "query",
                                                 "truncate_dim": 4, "similarity_fn_name": "cosine"})");
  const auto modules = ReadAll();
  ASSERT_TRUE(modules.ok()) << modules.status();
  EXPECT_EQ(modules->max_tokens, 40);
  ASSERT_EQ(modules->steps.size(), 2);
  const auto& dense = std::get<DenseModule>(modules->steps[0]);
  EXPECT_EQ(dense.activation, "Identity");
  EXPECT_FALSE(dense.bias);
  EXPECT_TRUE(std::holds_alternative<NormalizeModule>(modules->steps[1]));
  EXPECT_EQ(modules->default_prompt, "query");
  EXPECT_EQ(modules->truncate_dim, 4);
  EXPECT_THAT(SentenceFiles(directory_.path()),
              ElementsAre("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json",
                          "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"));
}

TEST_F(SentenceModulesTest, ContradictionsNameBothValues) {
  WriteModules("");
  Write("sentence_bert_config.json", R"({"max_seq_length": 65})");
  EXPECT_THAT(RefusalOfAll(), HasSubstr("is 65, but config.json has positions for 64 tokens"));
  Write("sentence_bert_config.json", R"({"max_seq_length": 64})");
  EXPECT_TRUE(ReadAll().ok());
  Write("tokenizer_config.json", R"({"model_max_length": 32})");
  EXPECT_THAT(RefusalOfAll(), HasSubstr("is 64, but tokenizer_config.json's model_max_length is 32"));
  Write("sentence_bert_config.json", R"({"max_seq_length": 32, "do_lower_case": true})");
  EXPECT_TRUE(ReadAll().ok());
  EXPECT_THAT(RefusalOfAll(/*lowercases=*/false), HasSubstr("do_lower_case: is true"));
  Write("sentence_roberta_config.json", R"({"max_seq_length": 16})");
  EXPECT_THAT(RefusalOfAll(), HasSubstr("sentence_bert_config.json are both there"));
}

TEST_F(SentenceModulesTest, NothingEscapesTheFolderAndNothingIsReadPastTheList) {
  for (const char* path : {"../other", "a/b", ".."}) {
    WriteModules(std::string(R"(, {"idx": 2, "name": "2", "path": ")") + path +
                 R"(", "type": "sentence_transformers.models.Normalize"})");
    EXPECT_THAT(RefusalOfAll(), HasSubstr("name of one folder")) << path;
  }
  Write("modules.json", R"([], "more": [])");
  EXPECT_THAT(RefusalOfAll(), HasSubstr("must be a list"));
  Write("modules.json", "{}");
  EXPECT_THAT(RefusalOfAll(), HasSubstr("must be a list"));
}

}  // namespace
}  // namespace engram::checkpoint
