// The expansions against their definitions: the kernels that random features stand for, the winners of each text, and
// gradients against central differences through a head.

#include "core/nn/fixed_expansion.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/mm.h"
#include "tests/unit/tiny_model.h"

namespace engram::nn {
namespace {

using checkpoint::Expansion;
using checkpoint::ExpansionKind;

constexpr int64_t kFeatures = 12;

at::Tensor Features(int64_t rows, uint64_t seed) {
  at::Tensor out = at::empty({rows, kFeatures}, at::kFloat);
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < out.numel(); ++i) out.mutable_data_ptr<float>()[i] = static_cast<float>(random.NextNormal());
  return out;
}

at::Tensor Expand(const Expansion& expansion, const at::Tensor& h) {
  const auto made = FixedExpansion::Create(expansion, h.size(1), at::kCPU);
  EXPECT_TRUE(made.ok()) << made.status();
  return made->Forward(h, nullptr);
}

// Cosines of the angles between rows, in fp64.
at::Tensor Cosines(const at::Tensor& h) {
  const at::Tensor x = h.to(at::kDouble), unit = x / (x * x).sum(1, /*keepdim=*/true).sqrt();
  return at::mm(unit, unit.t());
}

// Inner products of M random features are within some 1 / sqrt(M) of the kernel that they stand for.
TEST(FixedExpansion, FourierFeaturesStandForTheGaussianKernel) {
  const at::Tensor h = Features(20, 1), phi = Expand({ExpansionKind::kRff, 16384, 3}, h).to(at::kDouble);
  const at::Tensor kernel = (Cosines(h) - 1).exp();  // |x - x'|^2 / 2 = 1 - cos
  EXPECT_LT((at::mm(phi, phi.t()) - kernel).abs().max().item<double>(), 0.04);
}

// E max(0, u) max(0, v) of two standard normals with correlation cos t is (sin t + (pi - t) cos t) / 2 pi (Cho and Saul,
// NeurIPS 2009).
TEST(FixedExpansion, ReluFeaturesStandForTheArcCosineKernel) {
  const at::Tensor h = Features(20, 2), phi = Expand({ExpansionKind::kRelu, 16384, 3}, h).to(at::kDouble);
  const at::Tensor cosine = Cosines(h).clamp(-1, 1), angle = cosine.acos();
  const at::Tensor kernel = (angle.sin() + (std::numbers::pi - angle) * cosine) / (2 * std::numbers::pi);
  EXPECT_LT((at::mm(phi, phi.t()) - kernel).abs().max().item<double>(), 0.04);
}

// The winners are those whose ReLU features are largest, and have the same value: both see the same projections.
TEST(FixedExpansion, OfTwentyUnitsOneWins) {
  constexpr int64_t kWidth = 100;
  const at::Tensor h = Features(30, 4), relu = Expand({ExpansionKind::kRelu, kWidth, 5}, h),
                   phi = Expand({ExpansionKind::kKwta, kWidth, 5}, h);
  for (int64_t row = 0; row < h.size(0); ++row) {
    const float *active = relu[row].const_data_ptr<float>(), *kept = phi[row].const_data_ptr<float>();
    std::vector<float> sorted(active, active + kWidth);
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    ASSERT_GT(sorted[5], 0);
    for (int64_t unit = 0; unit < kWidth; ++unit)
      EXPECT_FLOAT_EQ(kept[unit], active[unit] >= sorted[4] ? active[unit] : 0) << row << " " << unit;
  }
}

TEST(FixedExpansion, LooksAtTheDirectionAlone) {
  const at::Tensor h = Features(5, 6);
  for (const ExpansionKind kind :
       {ExpansionKind::kUnit, ExpansionKind::kRelu, ExpansionKind::kRff, ExpansionKind::kKwta}) {
    const Expansion expansion{kind, kind == ExpansionKind::kUnit ? kFeatures : 64, 1};
    const at::Tensor phi = Expand(expansion, h);
    EXPECT_LT((phi - Expand(expansion, h * 7)).abs().max().item<double>(), 1e-6);
    if (kind != ExpansionKind::kUnit) continue;
    EXPECT_LT(((phi * phi).sum(1) - 1).abs().max().item<double>(), 1e-6);
  }
}

TEST(FixedExpansion, IsDrawnAgainFromItsSeed) {
  const at::Tensor h = Features(5, 7);
  for (const ExpansionKind kind : {ExpansionKind::kRelu, ExpansionKind::kRff, ExpansionKind::kKwta}) {
    EXPECT_TRUE(at::equal(Expand({kind, 64, 1}, h), Expand({kind, 64, 1}, h)));
    EXPECT_FALSE(at::equal(Expand({kind, 64, 1}, h), Expand({kind, 64, 2}, h)));
  }
}

TEST(FixedExpansion, RefusesWhatItCannotBe) {
  for (const Expansion& wrong : {Expansion{ExpansionKind::kRelu, 0, 0}, Expansion{ExpansionKind::kRff, 16385, 0},
                                 Expansion{ExpansionKind::kUnit, kFeatures + 1, 0}}) {
    EXPECT_EQ(FixedExpansion::Create(wrong, kFeatures, at::kCPU).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

// Whoever trains on through such a head needs its gradient: the encoder's and the linear layer's, with dropout.
TEST(FixedExpansion, GradientsThroughAHeadAgreeWithCentralDifferences) {
  for (const ExpansionKind kind :
       {ExpansionKind::kUnit, ExpansionKind::kRelu, ExpansionKind::kRff, ExpansionKind::kKwta}) {
    const auto model = TinyModel({}, 3, /*dropout=*/0.2);
    const Expansion expansion{kind, kind == ExpansionKind::kUnit ? 32 : 40, 1};
    ASSERT_TRUE(
        model
            ->AddHead("t", {checkpoint::TaskKind::kSequenceClassification, 3, checkpoint::Pooling::kMean, expansion}, 2)
            .ok());
    ParameterBuffer& parameters = model->parameters();
    // Larger weights than are drawn, so that the logits depend on the encoder.
    for (const SlotId slot : model->HeadSlots("t")) parameters.Weight(slot).mul_(20);
    const auto examples = TinyExamples(6, 3, 4);
    std::vector<Sequence> sequences;
    for (const auto& example : examples) sequences.push_back(example.sequence);
    const PackedBatch batch = *Pack(std::span<const Sequence>(sequences), at::kCPU);
    const TrainingMode mode{7, 11};
    const auto tape = Model::NewTape();
    const at::Tensor logits = model->Predict(batch, {"t", at::Tensor()}, mode, tape.get());
    at::Tensor weight = at::empty({6, 3}, at::kFloat);
    RandomStream draw(9, RandomPurpose::kSubset, 0);
    for (int64_t i = 0; i < 18; ++i) weight.mutable_data_ptr<float>()[i] = static_cast<float>(draw.NextNormal());
    parameters.EnableGradients();
    AccumulateSink sink(&parameters);
    model->Backward(weight, *tape, sink);
    const at::Tensor base = parameters.weights().clone();
    for (uint64_t seed = 0; seed < 3; ++seed) {
      at::Tensor direction = at::empty({parameters.size()}, at::kFloat);
      RandomStream random(100 + seed, RandomPurpose::kSubset, 0);
      for (int64_t i = 0; i < parameters.size(); ++i)
        direction.mutable_data_ptr<float>()[i] = static_cast<float>(random.NextNormal());
      const double analytic = (parameters.gradients() * direction).sum(at::kDouble).item<double>();
      const double step = 2e-5;
      double values[2];
      for (const int side : {0, 1}) {
        parameters.weights().copy_(base + direction * (side == 0 ? -step : step));
        const at::Tensor out = model->Predict(batch, {"t", at::Tensor()}, mode, nullptr);
        values[side] = (out * weight).sum(at::kDouble).item<double>();
      }
      parameters.weights().copy_(base);
      EXPECT_NEAR((values[1] - values[0]) / (2 * step), analytic, 0.05 * std::max(1.0, std::abs(analytic)))
          << checkpoint::ExpansionKindName(kind) << " " << seed;
    }
  }
}

TEST(FixedExpansion, AHeadIsReplacedUnderTheSameName) {
  const auto model = TinyModel({"a", "b"}, 3);
  const auto other = model->HeadSlots("b"), old = model->HeadSlots("a");
  const at::Tensor kept = model->parameters().Weight(other[0]).clone();
  const HeadConfig head{
      checkpoint::TaskKind::kSequenceClassification, 5, checkpoint::Pooling::kMean, {ExpansionKind::kRelu, 48, 1}};
  EXPECT_EQ(model->ReplaceHead("c", head, 1).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(model->ReplaceHead("a", head, 1).ok());
  const auto slots = model->HeadSlots("a");
  ASSERT_EQ(slots.size(), 2);
  EXPECT_EQ(model->parameters().slice(slots[0]).name, "heads.a.classifier.weight");
  EXPECT_EQ(model->parameters().slice(slots[0]).shape, (std::vector<int64_t>{5, 48}));
  EXPECT_NE(slots[0], old[0]);
  EXPECT_EQ(model->HeadSlots("b"), other);
  EXPECT_TRUE(at::equal(model->parameters().Weight(other[0]), kept));
  const auto copy = model->Clone();
  EXPECT_EQ(copy->heads().at("a").expansion, head.expansion);
  const auto examples = TinyExamples(2, 3, 1);
  const PackedBatch batch = *Pack(std::span<const Sequence>(&examples[0].sequence, 1), at::kCPU);
  EXPECT_TRUE(at::equal(model->Predict(batch, {"a", at::Tensor()}, std::nullopt, nullptr),
                        copy->Predict(batch, {"a", at::Tensor()}, std::nullopt, nullptr)));
}

}  // namespace
}  // namespace engram::nn
