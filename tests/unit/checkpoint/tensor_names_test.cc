#include "core/checkpoint/tensor_names.h"

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

ModelConfig Tiny(ModelFamily family) {
  ModelConfig config;
  config.family = family;
  config.model_type = family == ModelFamily::kBert      ? "bert"
                      : family == ModelFamily::kRoberta ? "roberta"
                                                        : "distilbert";
  config.vocab_size = 5, config.hidden_size = 4, config.layers = 2, config.heads = 2, config.intermediate_size = 6;
  config.max_position_embeddings = 7;
  config.type_vocab_size = family == ModelFamily::kDistilBert ? 0 : 2;
  return config;
}

struct Saved {
  Dtype dtype = Dtype::kF32;
  std::vector<uint64_t> shape;
};
using Tensors = std::map<std::string, Saved>;

// A file of zeros with these tensors, and what matching says of it.
class TensorNames : public ::testing::Test {
 protected:
  static Tensors Of(const std::vector<ExpectedTensor>& expected, const std::string& prefix) {
    Tensors tensors;
    for (const ExpectedTensor& tensor : expected)
      tensors[prefix + tensor.name] = {Dtype::kF32, {tensor.shape.begin(), tensor.shape.end()}};
    return tensors;
  }

  SafetensorsFile File(const Tensors& tensors) {
    static const std::vector<std::byte> zeros(4096);
    std::vector<TensorToWrite> list;
    for (const auto& [name, saved] : tensors) {
      size_t bytes = static_cast<size_t>(DtypeBits(saved.dtype)) / 8;
      for (const uint64_t extent : saved.shape) bytes *= extent;
      list.push_back({name, saved.dtype, saved.shape, std::span(zeros).first(bytes)});
    }
    EXPECT_TRUE(WriteSafetensors(directory_.Path("x"), std::move(list), {}).ok());
    return SafetensorsFile::Open(directory_.Path("x")).value();
  }

  std::string Refusal(ModelFamily family, const Tensors& tensors, HeadClass head = HeadClass::kNone) {
    const ModelConfig config = Tiny(family);
    std::vector<ExpectedTensor> expected = EncoderTensors(config);
    for (ExpectedTensor& tensor : HeadTensors(config, head, 3)) expected.push_back(std::move(tensor));
    return std::string(MatchTensors(family, expected, File(tensors)).status().message());
  }

  TemporaryDirectory directory_;
};

TEST_F(TensorNames, ArchitecturesAreTransformersClasses) {
  ModelConfig config = Tiny(ModelFamily::kRoberta);
  EXPECT_EQ(ArchitectureName(config, HeadClass::kTokenClassification), "RobertaForTokenClassification");
  config.model_type = "xlm-roberta";
  EXPECT_EQ(ArchitectureName(config, HeadClass::kNone), "XLMRobertaModel");
  EXPECT_EQ(ArchitectureName(Tiny(ModelFamily::kDistilBert), HeadClass::kMaskedLanguageModel), "DistilBertForMaskedLM");
  EXPECT_EQ(ArchitectureName(Tiny(ModelFamily::kBert), HeadClass::kSequenceClassification),
            "BertForSequenceClassification");
}

TEST_F(TensorNames, CanonicalNamesStripPrefixesAndModernizeLayerNorm) {
  EXPECT_EQ(CanonicalName(ModelFamily::kBert, "bert.embeddings.LayerNorm.gamma"), "embeddings.LayerNorm.weight");
  EXPECT_EQ(CanonicalName(ModelFamily::kBert, "embeddings.LayerNorm.beta"), "embeddings.LayerNorm.bias");
  EXPECT_EQ(CanonicalName(ModelFamily::kRoberta, "roberta.encoder.layer.0.output.dense.bias"),
            "encoder.layer.0.output.dense.bias");
  EXPECT_EQ(CanonicalName(ModelFamily::kRoberta, "bert.pooler.dense.bias"), "bert.pooler.dense.bias");
  EXPECT_EQ(CanonicalName(ModelFamily::kBert, "cls.predictions.bias"), "cls.predictions.bias");
}

TEST_F(TensorNames, MatchesEveryFamilyWithAndWithoutPrefix) {
  for (const ModelFamily family : {ModelFamily::kBert, ModelFamily::kRoberta, ModelFamily::kDistilBert}) {
    const std::vector<ExpectedTensor> expected = EncoderTensors(Tiny(family));
    for (const std::string& prefix : {std::string(), std::string(FamilyPrefix(family))}) {
      const SafetensorsFile file = File(Of(expected, prefix));
      const auto match = MatchTensors(family, expected, file);
      ASSERT_TRUE(match.ok()) << match.status();
      EXPECT_EQ(match->tensors.size(), expected.size());
      EXPECT_EQ(match->tensors.at(expected.back().name), file.Find(prefix + expected.back().name));
    }
  }
}

TEST_F(TensorNames, BuffersOldNamesAndForeignHeadsArePassed) {
  Tensors tensors = Of(EncoderTensors(Tiny(ModelFamily::kBert)), "bert.");
  tensors["bert.embeddings.position_ids"] = {Dtype::kI64, {1, 7}};
  tensors["cls.seq_relationship.weight"] = {Dtype::kF32, {2, 4}};
  tensors["bert.embeddings.LayerNorm.gamma"] = std::move(tensors.extract("bert.embeddings.LayerNorm.weight").mapped());
  tensors.erase("bert.pooler.dense.weight");
  tensors.erase("bert.pooler.dense.bias");
  const SafetensorsFile file = File(tensors);
  const auto match = MatchTensors(ModelFamily::kBert, EncoderTensors(Tiny(ModelFamily::kBert)), file);
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_THAT(match->unused, ElementsAre("cls.seq_relationship.weight"));
  EXPECT_FALSE(match->tensors.contains("pooler.dense.weight"));
  EXPECT_TRUE(match->tensors.contains("embeddings.LayerNorm.weight"));
}

TEST_F(TensorNames, OneErrorListsEverythingThatIsWrong) {
  Tensors tensors = Of(EncoderTensors(Tiny(ModelFamily::kBert)), "");
  tensors.erase("encoder.layer.0.attention.self.query.bias");
  tensors.erase("encoder.layer.1.output.dense.weight");
  tensors["embeddings.word_embeddings.weight"].shape = {6, 4};
  tensors["encoder.layer.1.output.LayerNorm.bias"].dtype = Dtype::kI8;
  tensors["bert.pooler.dense.bias"] = {Dtype::kF32, {4}};
  tensors["decoder.surprise"] = {Dtype::kF32, {1}};
  const std::string refusal = Refusal(ModelFamily::kBert, tensors);
  EXPECT_THAT(refusal,
              HasSubstr("missing (2): encoder.layer.0.attention.self.query.bias, encoder.layer.1.output.dense.weight"));
  EXPECT_THAT(refusal, HasSubstr("of another shape (1): embeddings.word_embeddings.weight [6, 4] instead of [5, 4]"));
  EXPECT_THAT(refusal, HasSubstr("F16 and BF16 (1): encoder.layer.1.output.LayerNorm.bias (I8)"));
  EXPECT_THAT(refusal, HasSubstr("saved under two names (1): \"pooler.dense.bias\""));
  EXPECT_THAT(refusal, HasSubstr("unexpected (1): \"decoder.surprise\""));
}

TEST_F(TensorNames, ListsAreBounded) {
  Tensors tensors = Of(EncoderTensors(Tiny(ModelFamily::kBert)), "");
  for (int i = 0; i < 50; ++i) tensors["surprise." + std::to_string(100 + i)] = {Dtype::kF32, {1}};
  const std::string refusal = Refusal(ModelFamily::kBert, tensors);
  EXPECT_THAT(refusal, HasSubstr("unexpected (50): "));
  EXPECT_THAT(refusal, HasSubstr("surprise.119"));
  EXPECT_THAT(refusal, Not(HasSubstr("surprise.120")));
}

TEST_F(TensorNames, AConfigThatLiesAboutItsSizesIsRefused) {
  const Tensors tensors = Of(EncoderTensors(Tiny(ModelFamily::kBert)), "");
  for (const auto& lie : std::vector<std::function<void(ModelConfig&)>>{
           [](ModelConfig& c) { c.vocab_size = kMaxVocabulary; }, [](ModelConfig& c) { c.hidden_size = 8; },
           [](ModelConfig& c) { c.layers = 3; }, [](ModelConfig& c) { c.layers = 1; },
           [](ModelConfig& c) { c.intermediate_size = kMaxWidth; },
           [](ModelConfig& c) { c.max_position_embeddings = 8; }, [](ModelConfig& c) { c.type_vocab_size = 1; }}) {
    ModelConfig config = Tiny(ModelFamily::kBert);
    lie(config);
    EXPECT_EQ(MatchTensors(config.family, EncoderTensors(config), File(tensors)).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(TensorNames, StandardHeadsOfEachFamily) {
  for (const ModelFamily family : {ModelFamily::kBert, ModelFamily::kRoberta, ModelFamily::kDistilBert}) {
    const ModelConfig config = Tiny(family);
    for (const HeadClass head :
         {HeadClass::kSequenceClassification, HeadClass::kTokenClassification, HeadClass::kMaskedLanguageModel}) {
      Tensors tensors = Of(EncoderTensors(config), std::string(FamilyPrefix(family)));
      EXPECT_THAT(Refusal(family, tensors, head), HasSubstr("missing ("));
      tensors.merge(Of(HeadTensors(config, head, 3), ""));
      EXPECT_EQ(Refusal(family, tensors, head), "");
    }
  }
}

}  // namespace
}  // namespace engram::checkpoint
