// Models on disk where files and configuration disagree. What agrees is held against transformers by the parity tests.

#include "core/nn/model_io.h"

#include <map>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "core/checkpoint/tensor_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::nn {
namespace {

using checkpoint::Pooling;
using checkpoint::TaskKind;
using ::testing::HasSubstr;

std::string Config(const std::string& type) {
  return R"({"model_type": ")" + type + R"(", "architectures": [")" + (type == "bert" ? "BertModel" : "RobertaModel") +
         R"("], "vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 6, "max_position_embeddings": 9, "type_vocab_size": 2, "pad_token_id": 0})";
}

class ModelIo : public ::testing::Test {
 protected:
  // A model of these numbers as a file that begins to differ where `change` says so: name -> shape, empty: taken out.
  void Write(const std::string& type, const std::map<std::string, std::vector<uint64_t>>& change) {
    const checkpoint::ModelConfig config = checkpoint::ParseModelConfig(Config(type)).value();
    static const std::vector<std::byte> zeros(1 << 16);
    std::map<std::string, std::vector<uint64_t>> shapes;
    for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(config))
      shapes[tensor.name] = {tensor.shape.begin(), tensor.shape.end()};
    for (const auto& [name, shape] : change) shapes[name] = shape;
    std::vector<checkpoint::TensorToWrite> tensors;
    for (const auto& [name, shape] : shapes) {
      if (shape.empty()) continue;
      size_t bytes = sizeof(float);
      for (const uint64_t extent : shape) bytes *= extent;
      tensors.push_back({name, checkpoint::Dtype::kF32, shape, std::span(zeros).first(bytes)});
    }
    ASSERT_TRUE(checkpoint::WriteSafetensors(directory_.Path("model.safetensors"), std::move(tensors), {}).ok());
    ASSERT_TRUE(WriteFileAtomic(directory_.Path("config.json"), Config(type)).ok());
  }

  checkpoint::TemporaryDirectory directory_;
};

TEST_F(ModelIo, APoolerIsKeptWhereAHeadCanStandOnIt) {
  Write("bert", {});
  EXPECT_TRUE(LoadModel(directory_.path(), {})->model->config().has_pooler);
  Write("roberta", {});
  EXPECT_FALSE(LoadModel(directory_.path(), {})->model->config().has_pooler);
}

TEST_F(ModelIo, APoolerThatIsNeededAndNotThereIsDrawn) {
  const std::map<std::string, std::vector<uint64_t>> none = {{"pooler.dense.weight", {}}, {"pooler.dense.bias", {}}};
  Write("bert", none);
  EXPECT_FALSE(LoadModel(directory_.path(), {})->model->config().has_pooler);
  LoadOptions options;
  options.other_heads = {{TaskKind::kSequenceClassification, 2, Pooling::kMean}, {TaskKind::kTokenClassification, 3}};
  EXPECT_FALSE(LoadModel(directory_.path(), options)->model->config().has_pooler);
  options.other_heads.push_back({TaskKind::kSequenceClassification, 2, Pooling::kStandard});
  const LoadedModel loaded = LoadModel(directory_.path(), options).value();
  ASSERT_TRUE(loaded.model->config().has_pooler);
  const ParameterBuffer& parameters = loaded.model->parameters();
  EXPECT_GT(parameters.Weight(parameters.Find("pooler.dense.weight")).abs().max().item<float>(), 0);
  EXPECT_EQ(parameters.Weight(parameters.Find("embeddings.word_embeddings.weight")).abs().max().item<float>(), 0);
}

TEST_F(ModelIo, HalfAPoolerIsRefused) {
  Write("bert", {{"pooler.dense.bias", {}}});
  const absl::Status status = LoadModel(directory_.path(), {}).status();
  EXPECT_EQ(StatusField(status), "model.safetensors");
  EXPECT_THAT(std::string(status.message()), HasSubstr("pooler.dense.bias"));
}

TEST_F(ModelIo, NothingIsAllocatedByAConfigThatTheTensorsContradict) {
  Write("bert", {{"embeddings.word_embeddings.weight", {10, 4}}});
  EXPECT_THAT(std::string(LoadModel(directory_.path(), {}).status().message()),
              HasSubstr("embeddings.word_embeddings.weight [10, 4] instead of [11, 4]"));
  Write("bert", {{"cls.seq_relationship.weight", {2, 4}}});
  EXPECT_THAT(LoadModel(directory_.path(), {})->unused, ::testing::ElementsAre("cls.seq_relationship.weight"));
  LoadOptions options;
  options.head = FileHead{"t", {TaskKind::kTokenClassification, 3}};
  EXPECT_THAT(std::string(LoadModel(directory_.path(), options).status().message()),
              HasSubstr("missing (2): classifier.weight, classifier.bias"));
}

TEST_F(ModelIo, HeadsComeBackAndForeignOnesAreRefused) {
  Write("bert", {});
  const LoadedModel one = LoadModel(directory_.path(), {}).value(), other = LoadModel(directory_.path(), {}).value();
  const HeadConfig head{TaskKind::kTokenClassification, 3};
  ASSERT_TRUE(one.model->AddHead("a", head, 1).ok() && one.model->AddHead("b", head, 2).ok());
  const std::string path = directory_.Path("heads.safetensors");
  ASSERT_TRUE(SaveHeads(*one.model, "", path).ok());
  ASSERT_TRUE(other.model->AddHead("a", head, 3).ok() && other.model->AddHead("b", head, 4).ok());
  ASSERT_TRUE(LoadHeads(path, "", *other.model).ok());
  EXPECT_TRUE(one.model->parameters().weights().equal(other.model->parameters().weights()));

  const LoadedModel fewer = LoadModel(directory_.path(), {}).value();
  ASSERT_TRUE(fewer.model->AddHead("a", head, 1).ok());
  const absl::Status foreign = LoadHeads(path, "", *fewer.model);
  EXPECT_EQ(StatusField(foreign), "heads.safetensors");
  EXPECT_THAT(std::string(foreign.message()), HasSubstr("unexpected (2): \"heads.b.classifier.bias\""));
  ASSERT_TRUE(fewer.model->AddHead("c", head, 1).ok());
  EXPECT_THAT(std::string(LoadHeads(path, "", *fewer.model).message()), HasSubstr("missing (2): heads.c.classifier"));
}

}  // namespace
}  // namespace engram::nn
