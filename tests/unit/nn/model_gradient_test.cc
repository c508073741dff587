// The written-out backward pass, with dropout on, against central differences along random directions of all
// parameters.

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "core/base/random.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/model.h"
#include "core/nn/ops/dropout/dropout.h"
#include "gtest/gtest.h"

namespace engram::nn {
namespace {

EncoderConfig TinyConfig(const std::string& family, double dropout) {
  EncoderConfig config;
  config.family = checkpoint::FindFamily(family);
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.layers = 2;
  config.heads = 2;
  config.intermediate_size = 48;
  config.max_positions = 40;
  config.pad_token_id = family == "roberta" ? 1 : 0;
  config.type_vocab_size = family == "distilbert" ? 0 : 2;
  config.hidden_dropout = config.attention_dropout = config.classifier_dropout = dropout;
  config.initializer_range = 0.2;
  config.has_pooler = family == "bert";
  return config;
}

at::Tensor RandomNormal(int64_t count, uint64_t seed) {
  at::Tensor out = at::empty({count}, at::kFloat);
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < count; ++i) out.mutable_data_ptr<float>()[i] = static_cast<float>(random.NextNormal());
  return out;
}

class ModelGradient
    : public ::testing::TestWithParam<std::tuple<std::string, checkpoint::TaskKind, checkpoint::Pooling>> {};

TEST_P(ModelGradient, AgreesWithCentralDifferencesUnderDropout) {
  const auto [family, kind, pooling] = GetParam();
  auto created = Model::Create(TinyConfig(family, 0.2), at::kCPU, Precision::kFloat32);
  ASSERT_TRUE(created.ok()) << created.status();
  Model& model = **created;
  model.InitializeEncoder(1);
  ASSERT_TRUE(model.AddHead("task", {kind, 5, pooling}, 2).ok());
  std::vector<Sequence> sequences(4);
  RandomStream random(3, RandomPurpose::kSubset, 0);
  for (size_t i = 0; i < sequences.size(); ++i) {
    for (size_t t = 0; t < 3 + 7 * i; ++t) sequences[i].ids.push_back(static_cast<int32_t>(random.NextBelow(50)));
  }
  const PackedBatch batch = *Pack(std::span<const Sequence>(sequences), at::kCPU);
  const TrainingMode mode{7, 11};
  ParameterBuffer& parameters = model.parameters();
  parameters.EnableGradients();
  const auto forward = [&](Tape* tape) { return model.Predict(batch, {"task", at::Tensor()}, mode, tape); };

  const auto tape = Model::NewTape();
  const at::Tensor logits = forward(tape.get());
  const at::Tensor weight = RandomNormal(logits.numel(), 5).view_as(logits);
  parameters.ZeroGradients();
  AccumulateSink sink(&parameters);
  model.Backward(weight, *tape, sink);
  // A tape serves again, and moved in for its last pass it gives the same bits.
  const at::Tensor first = parameters.gradients().clone();
  parameters.ZeroGradients();
  model.Backward(weight, std::move(*tape), sink);
  EXPECT_TRUE(at::equal(parameters.gradients(), first));

  const at::Tensor base = parameters.weights().clone();
  for (uint64_t direction_seed = 0; direction_seed < 3; ++direction_seed) {
    const at::Tensor direction = RandomNormal(parameters.size(), 100 + direction_seed);
    const double analytic = (parameters.gradients() * direction).sum(at::kDouble).item<double>();
    // ReLU (DistilBERT's head) has kinks between the two points.
    const double step = 1e-4,
                 tolerance =
                     family == "distilbert" && kind == checkpoint::TaskKind::kSequenceClassification ? 0.05 : 0.03;
    double values[2];
    for (const int side : {0, 1}) {
      parameters.weights().copy_(base + direction * (side == 0 ? -step : step));
      parameters.RefreshCompute();
      values[side] = (forward(nullptr) * weight).sum(at::kDouble).item<double>();
    }
    parameters.weights().copy_(base);
    const double numeric = (values[1] - values[0]) / (2 * step);
    EXPECT_NEAR(numeric, analytic, tolerance * std::max(4.0, std::abs(analytic))) << "direction " << direction_seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ModelGradient,
                         ::testing::Combine(::testing::Values("bert", "roberta", "distilbert"),
                                            ::testing::Values(checkpoint::TaskKind::kSequenceClassification,
                                                              checkpoint::TaskKind::kTokenClassification,
                                                              checkpoint::TaskKind::kMaskedLanguageModel),
                                            ::testing::Values(checkpoint::Pooling::kStandard,
                                                              checkpoint::Pooling::kMean)));

// Two heads of different kinds and widths on one encoder.
std::unique_ptr<Model> TwoHeads(Precision precision) {
  auto model = *Model::Create(TinyConfig("bert", 0.2), at::kCPU, precision);
  model->InitializeEncoder(1);
  EXPECT_TRUE(
      model->AddHead("a", {checkpoint::TaskKind::kSequenceClassification, 5, checkpoint::Pooling::kStandard}, 2).ok());
  EXPECT_TRUE(
      model->AddHead("b", {checkpoint::TaskKind::kTokenClassification, 3, checkpoint::Pooling::kStandard}, 3).ok());
  model->parameters().EnableGradients();
  return model;
}

PackedBatch TwoTexts() {
  const std::vector<Sequence> sequences = {{{1, 2, 3, 4, 5}, {}}, {{6, 7, 8}, {}}};
  return *Pack(std::span<const Sequence>(sequences), at::kCPU);
}

// One pass over two heads has the gradient of the sum of both losses, and each head answers what it answers alone.
TEST(SeveralHeads, OnePassIsTheSumOfOnePassEach) {
  const auto model = TwoHeads(Precision::kFloat32);
  const PackedBatch batch = TwoTexts();
  const TrainingMode mode{7, 11};
  const std::vector<TaskQuery> queries = {{"a", {}}, {"b", {}}};
  at::Tensor sum = at::zeros({model->parameters().size()}, at::kDouble);
  std::vector<HeadGradient> gradients;
  std::vector<at::Tensor> alone;
  for (size_t i = 0; i < queries.size(); ++i) {
    const auto tape = Model::NewTape();
    alone.push_back(model->Predict(batch, queries[i], mode, tape.get()));
    gradients.push_back({i, RandomNormal(alone[i].numel(), 5 + i).view_as(alone[i])});
    GradientBuffer own(model->parameters());
    AccumulateSink sink(&own);
    model->Backward(gradients[i].logits, *tape, sink);
    sum += own.flat();
  }
  EXPECT_FALSE(model->parameters().gradients().any().item<bool>()) << "a buffer of one's own leaves the other alone";

  const auto tape = Model::NewTape();
  const std::vector<at::Tensor> both = model->Predict(batch, queries, mode, tape.get());
  ASSERT_EQ(both.size(), 2);
  for (size_t i = 0; i < both.size(); ++i) EXPECT_TRUE(at::equal(both[i], alone[i]));
  AccumulateSink sink(&model->parameters());
  model->Backward(gradients, *tape, sink);
  const at::Tensor first = model->parameters().gradients().clone();
  EXPECT_LT((first - sum).abs().max().item<double>(), 2e-6 * sum.abs().max().item<double>());
  // One of two: to the bit what it is alone; and the same from a tape that is moved in.
  for (const bool moved : {false, true}) {
    model->parameters().ZeroGradients();
    if (moved) {
      model->Backward(gradients, std::move(*tape), sink);
      EXPECT_TRUE(at::equal(model->parameters().gradients(), first));
      continue;
    }
    model->Backward(std::span(gradients).subspan(1), *tape, sink);
    GradientBuffer own(model->parameters());
    AccumulateSink own_sink(&own);
    const auto single = Model::NewTape();
    model->Predict(batch, queries[1], mode, single.get());
    model->Backward(gradients[1].logits, *single, own_sink);
    EXPECT_TRUE(at::equal(model->parameters().gradients(), own.flat()));
  }
}

TEST(Clone, AnswersTheSameAndStaysWhenTheOtherIsTrained) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    const auto model = TwoHeads(precision);
    const PackedBatch batch = TwoTexts();
    const std::vector<TaskQuery> queries = {{"a", {}}, {"b", {}}};
    const auto before = model->Predict(batch, queries, std::nullopt, nullptr);
    const auto copy = model->Clone();
    model->parameters().weights().mul_(1.5);
    model->parameters().RefreshCompute();
    const auto after = copy->Predict(batch, queries, std::nullopt, nullptr);
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_TRUE(at::equal(after[i], before[i]));
      EXPECT_FALSE(at::equal(model->Predict(batch, queries[i], std::nullopt, nullptr), before[i]));
    }
    EXPECT_FALSE(copy->parameters().gradients().defined());
    EXPECT_EQ(copy->HeadSlots("b"), model->HeadSlots("b"));
    EXPECT_TRUE(copy->heads().contains("a"));
  }
}

// Inverted dropout keeps the mean: over many masks the first layer's inputs average to the undropped ones.
TEST(Dropout, KeepsTheMeanAndDrawsANewMaskEachStepAndSite) {
  const at::Tensor x = at::ones({40, 64}, at::kFloat);
  at::Tensor sum = at::zeros_like(x);
  constexpr int kSteps = 2000;
  for (int step = 0; step < kSteps; ++step) {
    sum += ops::ApplyDropout(x, {0.1, 9, static_cast<uint64_t>(step), 3});
  }
  const at::Tensor mean = sum / kSteps;
  // Standard deviation of one element's mean: sqrt(p / (1 - p) / steps) = 0.0075; 2560 elements stay within 5 of them.
  EXPECT_LT((mean - 1).abs().max().item<float>(), 5 * 0.0075F);
  const auto dropped = [&](uint64_t step, uint32_t site) { return ops::ApplyDropout(x, {0.1, 9, step, site}) == 0; };
  for (const at::Tensor& other : {dropped(1, 3), dropped(0, 4)}) {
    const double both = (dropped(0, 3) & other).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(both, 0.01, 0.006);  // independent masks: 0.1 * 0.1
  }
}

}  // namespace
}  // namespace engram::nn
