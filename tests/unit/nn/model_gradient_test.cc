// The written-out backward pass, with dropout on, against central differences along random directions of all
// parameters.

#include <cmath>
#include <memory>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros_like.h"
#include "core/base/random.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/model.h"
#include "gtest/gtest.h"

namespace engram::nn {
namespace {

EncoderConfig TinyConfig(Family family, double dropout) {
  EncoderConfig config;
  config.family = family;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.layers = 2;
  config.heads = 2;
  config.intermediate_size = 48;
  config.max_positions = 40;
  config.first_position = family == Family::kRoberta ? 2 : 0;
  config.type_vocab_size = family == Family::kDistilBert ? 0 : 2;
  config.hidden_dropout = config.attention_dropout = config.classifier_dropout = dropout;
  config.initializer_range = 0.2;
  config.has_pooler = family == Family::kBert;
  return config;
}

at::Tensor RandomNormal(int64_t count, uint64_t seed) {
  at::Tensor out = at::empty({count}, at::kFloat);
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < count; ++i) out.mutable_data_ptr<float>()[i] = static_cast<float>(random.NextNormal());
  return out;
}

class ModelGradient : public ::testing::TestWithParam<std::tuple<Family, HeadKind, Pooling>> {};

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
  const auto forward = [&](Tape* tape) {
    return model.Head("task", model.Encode(batch, mode, tape), batch, at::Tensor(), mode, tape);
  };

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
                 tolerance = family == Family::kDistilBert && kind == HeadKind::kSequenceClassification ? 0.05 : 0.03;
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
                         ::testing::Combine(::testing::Values(Family::kBert, Family::kRoberta, Family::kDistilBert),
                                            ::testing::Values(HeadKind::kSequenceClassification,
                                                              HeadKind::kTokenClassification,
                                                              HeadKind::kMaskedLanguageModel),
                                            ::testing::Values(Pooling::kStandard, Pooling::kMean)));

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
