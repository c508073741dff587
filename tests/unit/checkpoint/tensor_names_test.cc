#include "core/checkpoint/tensor_names.h"

#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checkpoint/model_config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kFamilies[] = {"bert", "roberta", "xlm-roberta", "distilbert"};

EncoderSizes Tiny(const std::string& family) {
  EncoderSizes sizes;
  sizes.family = FindFamily(family);
  sizes.vocab_size = 5, sizes.hidden_size = 4, sizes.layers = 2, sizes.heads = 2, sizes.intermediate_size = 6;
  sizes.max_positions = 7;
  sizes.type_vocab_size = family == "distilbert" ? 0 : 2;
  return sizes;
}

// "name [shape]", a "?" behind it where a file may lack it.
std::vector<std::string> Listed(const std::vector<ExpectedTensor>& tensors) {
  std::vector<std::string> lines;
  for (const ExpectedTensor& tensor : tensors)
    lines.push_back(
        absl::StrCat(tensor.name, " [", absl::StrJoin(tensor.shape, ", "), "]", tensor.required ? "" : "?"));
  return lines;
}

// What transformers calls the tensors of a model of the sizes of Tiny, in the order in which the network keeps them.
const std::vector<std::string>& EmbeddingTensors() {
  static const std::vector<std::string> lines = {"embeddings.word_embeddings.weight [5, 4]",
                                                 "embeddings.position_embeddings.weight [7, 4]",
                                                 "embeddings.token_type_embeddings.weight [2, 4]",
                                                 "embeddings.LayerNorm.weight [4]", "embeddings.LayerNorm.bias [4]"};
  return lines;
}
const std::vector<std::string>& BertLayerTensors() {
  static const std::vector<std::string> lines = {"attention.self.query.weight [4, 4]",
                                                 "attention.self.key.weight [4, 4]",
                                                 "attention.self.value.weight [4, 4]",
                                                 "attention.self.query.bias [4]",
                                                 "attention.self.key.bias [4]",
                                                 "attention.self.value.bias [4]",
                                                 "attention.output.dense.weight [4, 4]",
                                                 "attention.output.dense.bias [4]",
                                                 "attention.output.LayerNorm.weight [4]",
                                                 "attention.output.LayerNorm.bias [4]",
                                                 "intermediate.dense.weight [6, 4]",
                                                 "intermediate.dense.bias [6]",
                                                 "output.dense.weight [4, 6]",
                                                 "output.dense.bias [4]",
                                                 "output.LayerNorm.weight [4]",
                                                 "output.LayerNorm.bias [4]"};
  return lines;
}
const std::vector<std::string>& DistilBertLayerTensors() {
  static const std::vector<std::string> lines = {"attention.q_lin.weight [4, 4]",   "attention.k_lin.weight [4, 4]",
                                                 "attention.v_lin.weight [4, 4]",   "attention.q_lin.bias [4]",
                                                 "attention.k_lin.bias [4]",        "attention.v_lin.bias [4]",
                                                 "attention.out_lin.weight [4, 4]", "attention.out_lin.bias [4]",
                                                 "sa_layer_norm.weight [4]",        "sa_layer_norm.bias [4]",
                                                 "ffn.lin1.weight [6, 4]",          "ffn.lin1.bias [6]",
                                                 "ffn.lin2.weight [4, 6]",          "ffn.lin2.bias [4]",
                                                 "output_layer_norm.weight [4]",    "output_layer_norm.bias [4]"};
  return lines;
}

std::vector<std::string> Concatenated(std::initializer_list<std::vector<std::string>> lists) {
  std::vector<std::string> all;
  for (const std::vector<std::string>& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

std::vector<std::string> Prefixed(const std::string& prefix, std::vector<std::string> lines) {
  for (std::string& line : lines) line = prefix + line;
  return lines;
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

  std::string Refusal(const std::string& family, const Tensors& tensors, std::optional<TaskKind> head = std::nullopt) {
    const EncoderSizes sizes = Tiny(family);
    std::vector<ExpectedTensor> expected = EncoderTensors(sizes);
    if (head) {
      for (ExpectedTensor& tensor : HeadTensors(sizes, *head, Pooling::kStandard, 3))
        expected.push_back(std::move(tensor));
    }
    return std::string(MatchTensors(*sizes.family, expected, File(tensors)).status().message());
  }

  TemporaryDirectory directory_;
};

TEST_F(TensorNames, EncodersHaveTransformersNames) {
  const std::vector<std::string> pooler = {"pooler.dense.weight [4, 4]?", "pooler.dense.bias [4]?"};
  for (const char* family : {"bert", "roberta", "xlm-roberta"}) {
    EXPECT_THAT(Listed(EncoderTensors(Tiny(family))),
                ElementsAreArray(Concatenated({EmbeddingTensors(), Prefixed("encoder.layer.0.", BertLayerTensors()),
                                               Prefixed("encoder.layer.1.", BertLayerTensors()), pooler})))
        << family;
  }
  std::vector<std::string> embeddings = EmbeddingTensors();
  embeddings.erase(embeddings.begin() + 2);  // DistilBERT has no token types
  EXPECT_THAT(Listed(EncoderTensors(Tiny("distilbert"))),
              ElementsAreArray(Concatenated({embeddings, Prefixed("transformer.layer.0.", DistilBertLayerTensors()),
                                             Prefixed("transformer.layer.1.", DistilBertLayerTensors())})));
}

TEST_F(TensorNames, RolesFollowTheOrderOfTheNetwork) {
  using Role = TensorRole;
  const std::vector<Role> layer = {
      Role::kQuery,         Role::kKey,           Role::kValue,           Role::kQuery,
      Role::kKey,           Role::kValue,         Role::kAttentionOutput, Role::kAttentionOutput,
      Role::kAttentionNorm, Role::kAttentionNorm, Role::kIntermediate,    Role::kIntermediate,
      Role::kOutput,        Role::kOutput,        Role::kOutputNorm,      Role::kOutputNorm};
  for (const char* family : kFamilies) {
    std::vector<Role> roles = {Role::kWordEmbeddings, Role::kPositionEmbeddings};
    if (family != std::string("distilbert")) roles.push_back(Role::kTypeEmbeddings);
    roles.insert(roles.end(), 2, Role::kEmbeddingNorm);
    const size_t first_of_layers = roles.size();
    for (int i = 0; i < 2; ++i) roles.insert(roles.end(), layer.begin(), layer.end());
    const size_t end_of_layers = roles.size();
    if (family != std::string("distilbert")) roles.insert(roles.end(), 2, Role::kPooler);
    const std::vector<ExpectedTensor> tensors = EncoderTensors(Tiny(family));
    ASSERT_EQ(tensors.size(), roles.size()) << family;
    for (size_t i = 0; i < roles.size(); ++i) {
      EXPECT_EQ(tensors[i].role, roles[i]) << family << " " << tensors[i].name;
      EXPECT_EQ(tensors[i].bias, tensors[i].name.ends_with(".bias")) << tensors[i].name;
      const bool in_layer = i >= first_of_layers && i < end_of_layers;
      EXPECT_EQ(tensors[i].layer, in_layer ? static_cast<int64_t>((i - first_of_layers) / layer.size()) : -1);
    }
  }
}

TEST_F(TensorNames, HeadsHaveTransformersNames) {
  const auto heads = [](const char* family, TaskKind kind, Pooling pooling = Pooling::kStandard) {
    return Listed(HeadTensors(Tiny(family), kind, pooling, 3));
  };
  const std::vector<std::string> plain = {"classifier.weight [3, 4]", "classifier.bias [3]"};
  EXPECT_EQ(heads("bert", TaskKind::kSequenceClassification), plain);  // it stands on the pooler
  EXPECT_THAT(heads("distilbert", TaskKind::kSequenceClassification),
              ElementsAre("pre_classifier.weight [4, 4]", "pre_classifier.bias [4]", "classifier.weight [3, 4]",
                          "classifier.bias [3]"));
  EXPECT_THAT(heads("bert", TaskKind::kMaskedLanguageModel),
              ElementsAre("cls.predictions.transform.dense.weight [4, 4]", "cls.predictions.transform.dense.bias [4]",
                          "cls.predictions.transform.LayerNorm.weight [4]",
                          "cls.predictions.transform.LayerNorm.bias [4]", "cls.predictions.bias [5]",
                          "cls.predictions.decoder.weight [5, 4]?", "cls.predictions.decoder.bias [5]?"));
  EXPECT_THAT(heads("distilbert", TaskKind::kMaskedLanguageModel),
              ElementsAre("vocab_transform.weight [4, 4]", "vocab_transform.bias [4]", "vocab_layer_norm.weight [4]",
                          "vocab_layer_norm.bias [4]", "vocab_projector.bias [5]", "vocab_projector.weight [5, 4]?"));
  for (const char* family : {"roberta", "xlm-roberta"}) {
    EXPECT_THAT(heads(family, TaskKind::kSequenceClassification),
                ElementsAre("classifier.dense.weight [4, 4]", "classifier.dense.bias [4]",
                            "classifier.out_proj.weight [3, 4]", "classifier.out_proj.bias [3]"));
    EXPECT_THAT(heads(family, TaskKind::kMaskedLanguageModel),
                ElementsAre("lm_head.dense.weight [4, 4]", "lm_head.dense.bias [4]", "lm_head.layer_norm.weight [4]",
                            "lm_head.layer_norm.bias [4]", "lm_head.bias [5]", "lm_head.decoder.weight [5, 4]?",
                            "lm_head.decoder.bias [5]?"));
  }
  for (const char* family : kFamilies) {
    EXPECT_EQ(heads(family, TaskKind::kTokenClassification), plain) << family;
    EXPECT_EQ(heads(family, TaskKind::kSequenceClassification, Pooling::kMean), plain) << family;
  }
}

TEST_F(TensorNames, ClassesAreTransformers) {
  const auto classes = [](const char* family) {
    const FamilySpec& spec = *FindFamily(family);
    return std::vector<std::string>{spec.ClassName(std::nullopt), spec.ClassName(TaskKind::kSequenceClassification),
                                    spec.ClassName(TaskKind::kTokenClassification),
                                    spec.ClassName(TaskKind::kMaskedLanguageModel)};
  };
  EXPECT_THAT(classes("bert"), ElementsAre("BertModel", "BertForSequenceClassification", "BertForTokenClassification",
                                           "BertForMaskedLM"));
  EXPECT_THAT(classes("roberta"), ElementsAre("RobertaModel", "RobertaForSequenceClassification",
                                              "RobertaForTokenClassification", "RobertaForMaskedLM"));
  EXPECT_THAT(classes("xlm-roberta"), ElementsAre("XLMRobertaModel", "XLMRobertaForSequenceClassification",
                                                  "XLMRobertaForTokenClassification", "XLMRobertaForMaskedLM"));
  EXPECT_THAT(classes("distilbert"), ElementsAre("DistilBertModel", "DistilBertForSequenceClassification",
                                                 "DistilBertForTokenClassification", "DistilBertForMaskedLM"));
  EXPECT_EQ(KindOfClass("XLMRobertaForTokenClassification"), TaskKind::kTokenClassification);
  EXPECT_EQ(KindOfClass("BertForPreTraining"), std::nullopt);
  EXPECT_EQ(KindOfClass("BertModel"), std::nullopt);
  EXPECT_THAT(KnownModelTypes(), ElementsAre("bert", "distilbert", "llama", "mistral", "modernbert", "mpnet",
                                             "nomic_bert", "qwen2", "qwen3", "roberta", "xlm-roberta"));
  EXPECT_EQ(FindFamily("gpt2"), nullptr);
}

TEST_F(TensorNames, CanonicalNamesStripPrefixesAndModernizeLayerNorm) {
  const FamilySpec &bert = *FindFamily("bert"), &roberta = *FindFamily("roberta");
  EXPECT_EQ(CanonicalName(bert, "bert.embeddings.LayerNorm.gamma"), "embeddings.LayerNorm.weight");
  EXPECT_EQ(CanonicalName(bert, "embeddings.LayerNorm.beta"), "embeddings.LayerNorm.bias");
  EXPECT_EQ(CanonicalName(roberta, "roberta.encoder.layer.0.output.dense.bias"), "encoder.layer.0.output.dense.bias");
  EXPECT_EQ(CanonicalName(*FindFamily("xlm-roberta"), "roberta.pooler.dense.bias"), "pooler.dense.bias");
  EXPECT_EQ(CanonicalName(*FindFamily("distilbert"), "distilbert.transformer.layer.0.ffn.lin1.bias"),
            "transformer.layer.0.ffn.lin1.bias");
  EXPECT_EQ(CanonicalName(roberta, "bert.pooler.dense.bias"), "bert.pooler.dense.bias");
  EXPECT_EQ(CanonicalName(bert, "cls.predictions.bias"), "cls.predictions.bias");
}

TEST_F(TensorNames, MatchesEveryFamilyWithAndWithoutPrefix) {
  const std::map<std::string, std::string> prefixes = {
      {"bert", "bert."}, {"roberta", "roberta."}, {"xlm-roberta", "roberta."}, {"distilbert", "distilbert."}};
  for (const char* family : kFamilies) {
    const EncoderSizes sizes = Tiny(family);
    const std::vector<ExpectedTensor> expected = EncoderTensors(sizes);
    for (const std::string& prefix : {std::string(), prefixes.at(family)}) {
      const SafetensorsFile file = File(Of(expected, prefix));
      const auto match = MatchTensors(*sizes.family, expected, file);
      ASSERT_TRUE(match.ok()) << match.status();
      EXPECT_EQ(match->tensors.size(), expected.size());
      EXPECT_EQ(match->tensors.at(expected.back().name), file.Find(prefix + expected.back().name));
    }
  }
}

TEST_F(TensorNames, BuffersOldNamesAndForeignHeadsArePassed) {
  Tensors tensors = Of(EncoderTensors(Tiny("bert")), "bert.");
  tensors["bert.embeddings.position_ids"] = {Dtype::kI64, {1, 7}};
  tensors["cls.seq_relationship.weight"] = {Dtype::kF32, {2, 4}};
  tensors["bert.embeddings.LayerNorm.gamma"] = std::move(tensors.extract("bert.embeddings.LayerNorm.weight").mapped());
  tensors.erase("bert.pooler.dense.weight");
  tensors.erase("bert.pooler.dense.bias");
  const SafetensorsFile file = File(tensors);
  const auto match = MatchTensors(*FindFamily("bert"), EncoderTensors(Tiny("bert")), file);
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_THAT(match->unused, ElementsAre("cls.seq_relationship.weight"));
  EXPECT_FALSE(match->tensors.contains("pooler.dense.weight"));
  EXPECT_TRUE(match->tensors.contains("embeddings.LayerNorm.weight"));
}

TEST_F(TensorNames, OneErrorListsEverythingThatIsWrong) {
  Tensors tensors = Of(EncoderTensors(Tiny("bert")), "");
  tensors.erase("encoder.layer.0.attention.self.query.bias");
  tensors.erase("encoder.layer.1.output.dense.weight");
  tensors["embeddings.word_embeddings.weight"].shape = {6, 4};
  tensors["encoder.layer.1.output.LayerNorm.bias"].dtype = Dtype::kI8;
  tensors["bert.pooler.dense.bias"] = {Dtype::kF32, {4}};
  tensors["decoder.surprise"] = {Dtype::kF32, {1}};
  const std::string refusal = Refusal("bert", tensors);
  EXPECT_THAT(refusal,
              HasSubstr("missing (2): encoder.layer.0.attention.self.query.bias, encoder.layer.1.output.dense.weight"));
  EXPECT_THAT(refusal, HasSubstr("of another shape (1): embeddings.word_embeddings.weight [6, 4] instead of [5, 4]"));
  EXPECT_THAT(refusal, HasSubstr("F16 and BF16 (1): encoder.layer.1.output.LayerNorm.bias (I8)"));
  EXPECT_THAT(refusal, HasSubstr("saved under two names (1): \"pooler.dense.bias\""));
  EXPECT_THAT(refusal, HasSubstr("unexpected (1): \"decoder.surprise\""));
}

TEST_F(TensorNames, ListsAreBounded) {
  Tensors tensors = Of(EncoderTensors(Tiny("bert")), "");
  for (int i = 0; i < 50; ++i) tensors["surprise." + std::to_string(100 + i)] = {Dtype::kF32, {1}};
  const std::string refusal = Refusal("bert", tensors);
  EXPECT_THAT(refusal, HasSubstr("unexpected (50): "));
  EXPECT_THAT(refusal, HasSubstr("surprise.119"));
  EXPECT_THAT(refusal, Not(HasSubstr("surprise.120")));
}

TEST_F(TensorNames, AConfigThatLiesAboutItsSizesIsRefused) {
  const Tensors tensors = Of(EncoderTensors(Tiny("bert")), "");
  for (const auto& lie : std::vector<std::function<void(EncoderSizes&)>>{
           [](EncoderSizes& c) { c.vocab_size = kMaxVocabulary; }, [](EncoderSizes& c) { c.hidden_size = 8; },
           [](EncoderSizes& c) { c.layers = 3; }, [](EncoderSizes& c) { c.layers = 1; },
           [](EncoderSizes& c) { c.intermediate_size = kMaxWidth; }, [](EncoderSizes& c) { c.max_positions = 8; },
           [](EncoderSizes& c) { c.type_vocab_size = 1; }}) {
    EncoderSizes sizes = Tiny("bert");
    lie(sizes);
    EXPECT_EQ(MatchTensors(*sizes.family, EncoderTensors(sizes), File(tensors)).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(TensorNames, AHeadThatIsPromisedMustBeThere) {
  for (const char* family : kFamilies) {
    const EncoderSizes sizes = Tiny(family);
    for (const TaskKind kind :
         {TaskKind::kSequenceClassification, TaskKind::kTokenClassification, TaskKind::kMaskedLanguageModel}) {
      Tensors tensors = Of(EncoderTensors(sizes), sizes.family->prefix);
      EXPECT_THAT(Refusal(family, tensors, kind), HasSubstr("missing ("));
      tensors.merge(Of(HeadTensors(sizes, kind, Pooling::kStandard, 3), ""));
      EXPECT_EQ(Refusal(family, tensors, kind), "");
    }
  }
}

TEST_F(TensorNames, ErrorsNameTheFile) {
  const auto match =
      MatchTensors(*FindFamily("bert"), {{"heads.a.classifier.bias", {2}}}, File({}), "heads.safetensors");
  EXPECT_EQ(StatusField(match.status()), "heads.safetensors");
  EXPECT_THAT(std::string(match.status().message()), HasSubstr("missing (1): heads.a.classifier.bias"));
}

}  // namespace
}  // namespace engram::checkpoint
