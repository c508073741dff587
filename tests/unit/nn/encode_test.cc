// Encoding for inference: cut into groups, on several threads and with packed weights, against one pass over the whole
// batch that keeps its tape.

#include <vector>

#include "ATen/Parallel.h"
#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "c10/core/InferenceMode.h"
#include "c10/util/Exception.h"
#include "core/base/random.h"
#include "core/nn/model.h"
#include "gtest/gtest.h"

namespace engram::nn {
namespace {

std::unique_ptr<Model> WideModel(Precision precision) {
  EncoderConfig config;
  config.family = checkpoint::FindFamily("bert");
  config.vocab_size = 90;
  config.hidden_size = 64;
  config.layers = 2;
  config.heads = 2;
  config.intermediate_size = 4096;  // so wide that a group holds 64 tokens
  config.max_positions = 200;
  config.type_vocab_size = 2;
  config.initializer_range = 0.1;
  auto model = Model::Create(config, at::kCPU, precision);
  EXPECT_TRUE(model.ok()) << model.status();
  (*model)->InitializeEncoder(5);
  (*model)->parameters().RefreshCompute();
  return *std::move(model);
}

std::vector<Sequence> Texts(const std::vector<int>& lengths) {
  std::vector<Sequence> texts;
  RandomStream random(2, RandomPurpose::kSubset, 0);
  for (const int length : lengths) {
    Sequence& text = texts.emplace_back();
    for (int i = 0; i < length; ++i) text.ids.push_back(static_cast<int32_t>(random.NextBelow(90)));
  }
  return texts;
}

class EncodeTest : public ::testing::TestWithParam<Precision> {
 protected:
  double tolerance() const { return GetParam() == Precision::kFloat32 ? 2e-5 : 3e-2; }  // sums in another order
  // The hidden states of one pass over the whole batch on one thread.
  static at::Tensor Whole(const Model& model, const PackedBatch& batch) {
    const auto tape = Model::NewTape();
    return model.Encode(batch, std::nullopt, tape.get());
  }
  static double Distance(const at::Tensor& a, const at::Tensor& b) {
    return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
  }
};

TEST_P(EncodeTest, GroupsThreadsAndPackedWeightsChangeNothing) {
  const auto model = WideModel(GetParam());
  const PackedBatch batch = *Pack(Texts({30, 1, 90, 17, 64, 3, 150, 40, 8, 22}), at::kCPU);
  const at::Tensor whole = Whole(*model, batch);
  at::set_num_threads(2);
  ASSERT_FALSE(BalancedParts(batch, 2).empty());
  EXPECT_LE(Distance(model->Encode(batch, std::nullopt, nullptr), whole), tolerance());
  model->PackForInference();
  EXPECT_LE(Distance(model->Encode(batch, std::nullopt, nullptr), whole), tolerance());
  const c10::InferenceMode inference;
  const at::Tensor two = model->Encode(batch, std::nullopt, nullptr);
  EXPECT_LE(Distance(two, whole), tolerance());
  EXPECT_TRUE(at::equal(two, model->Encode(batch, std::nullopt, nullptr))) << "repeats to the bit";
}

TEST_P(EncodeTest, OneLongTextBesideShortOnesIsNotCutIntoUnequalParts) {
  const auto model = WideModel(GetParam());
  const PackedBatch batch = *Pack(Texts({190, 4, 3}), at::kCPU);
  at::set_num_threads(2);
  EXPECT_TRUE(BalancedParts(batch, 2).empty());
  EXPECT_LE(Distance(model->Encode(batch, std::nullopt, nullptr), Whole(*model, batch)), tolerance());
}

INSTANTIATE_TEST_SUITE_P(Precisions, EncodeTest, ::testing::Values(Precision::kFloat32, Precision::kBFloat16));

TEST(Encode, AnIdPastTheTableIsAnErrorAndNoRead) {
  const auto model = WideModel(Precision::kFloat32);
  std::vector<Sequence> texts = Texts({5});
  texts[0].ids[3] = 90;
  EXPECT_THROW(model->Encode(*Pack(texts, at::kCPU), std::nullopt, nullptr), c10::IndexError);
}

TEST(BalancedParts, AreRunsOfAllSequencesInOrder) {
  const PackedBatch batch = *Pack(Texts({10, 12, 9, 11, 10, 8, 12, 10}), at::kCPU);
  EXPECT_EQ(BalancedParts(batch, 2), (std::vector<int64_t>{0, 4, 8}));
  const PackedBatch part = Part(batch, 4, 3);
  EXPECT_EQ(part.host_cu_seqlens, (std::vector<int32_t>{0, 10, 18, 30}));
  EXPECT_EQ(part.max_seqlen, 12);
  EXPECT_TRUE(at::equal(part.ids, batch.ids.narrow(0, 42, 30)));
  EXPECT_TRUE(BalancedParts(*Pack(Texts({7}), at::kCPU), 2).empty());
}

}  // namespace
}  // namespace engram::nn
