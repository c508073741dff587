// Positions beyond what a model was trained with: a scale belongs to a sequence, and what is computed for a text depends
// neither on its neighbours nor on what was computed before.

#include "core/nn/layers/positions.h"

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "core/nn/model.h"
#include "core/nn/ops/attention/attention.h"
#include "gtest/gtest.h"
#include "tests/unit/tiny_model.h"

namespace engram::nn {
namespace {

using checkpoint::RopeKind;

EncoderConfig BertConfig() {
  EncoderConfig config = TinyConfig();
  config.max_positions = 16;
  return config;
}

EncoderConfig LlamaConfig(RopeKind kind) {
  EncoderConfig config = BertConfig();
  config.family = checkpoint::FindFamily("llama");
  config.type_vocab_size = 0;
  config.norm_bias = config.attention_input_bias = config.attention_output_bias = config.feed_forward_bias = false;
  config.ropes = {{.kind = kind, .head_dim = 16, .factor = 2, .max_positions = 16, .original_positions = 8}};
  return config;
}

std::unique_ptr<Model> MakeModel(const EncoderConfig& config) {
  auto model = Model::Create(config, at::kCPU, Precision::kFloat32);
  EXPECT_TRUE(model.ok()) << model.status();
  (*model)->InitializeEncoder(1);
  at::Tensor weights = (*model)->parameters().weights();
  weights.mul_(5);  // away from the small numbers that training starts at
  return *std::move(model);
}

Sequence Text(int length, PositionPlan plan, int seed = 0) {
  Sequence text;
  for (int i = 0; i < length; ++i) text.ids.push_back((i * 7 + seed) % 60);
  text.positions = plan;
  return text;
}

at::Tensor Encode(const Model& model, const std::vector<Sequence>& texts) {
  const auto tape = Model::NewTape();  // in one piece, whatever the number of threads
  return model.Encode(*Pack(texts, at::kCPU), std::nullopt, tape.get());
}

// Every way of placing a text that is longer than the training's 16 tokens.
struct Case {
  EncoderConfig config;
  PositionPlan plan;
};
std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const PositionMode mode :
       {PositionMode::kHierarchical, PositionMode::kGrouped, PositionMode::kTiled, PositionMode::kInterpolated}) {
    cases.push_back({BertConfig(), {mode}});
  }
  for (const PositionMode mode : {PositionMode::kTrained, PositionMode::kLinear, PositionMode::kNtkAware,
                                  PositionMode::kDynamic, PositionMode::kYarn, PositionMode::kDynamicYarn}) {
    cases.push_back({LlamaConfig(RopeKind::kDefault), {mode}});
  }
  cases.push_back({LlamaConfig(RopeKind::kDynamic), {}});  // the model's own scaling follows the length
  cases.push_back({LlamaConfig(RopeKind::kDynamicYarn), {}});
  return cases;
}

TEST(Positions, AShortTextHasTheSameBitsBeforeAfterAndBesideALongOne) {
  for (const Case& test : Cases()) {
    SCOPED_TRACE(PositionModeName(test.plan.mode));
    const auto model = MakeModel(test.config);
    const Sequence text = Text(9, test.plan), longer = Text(50, test.plan, 3);
    const at::Tensor before = Encode(*model, {text});
    Encode(*model, {longer});
    EXPECT_TRUE(at::equal(before, Encode(*model, {text}))) << "after a long text";
    // Products of matrices round by how many rows there are: with as many rows the bits are the same, whoever they are.
    std::vector<Sequence> short_neighbours(5, Text(10, test.plan, 3));
    short_neighbours.push_back(text);
    const at::Tensor beside_long = Encode(*model, {longer, text}).narrow(0, 50, 9);
    EXPECT_TRUE(at::equal(beside_long, Encode(*model, short_neighbours).narrow(0, 50, 9))) << "beside a long text";
    EXPECT_LE((beside_long - before).abs().max().item<double>(), 2e-5 * before.abs().max().item<double>());
  }
}

TEST(Positions, AStretchChangesALongTextAndLeavesOneOfTheTrainedLengthAsItIs) {
  for (const Case& test : Cases()) {
    if (test.plan.mode == PositionMode::kTrained) continue;
    SCOPED_TRACE(PositionModeName(test.plan.mode));
    const auto model = MakeModel(test.config);
    // A model without scaling of its own; yarn and its like begin at the original length of 8.
    EXPECT_TRUE(at::equal(Encode(*model, {Text(8, test.plan)}), Encode(*model, {Text(8, {})})));
    if (test.config.family->rotary()) {
      EXPECT_FALSE(at::equal(Encode(*model, {Text(50, test.plan)}), Encode(*model, {Text(50, {})})));
    }
  }
}

// The gradient of the position table through extended positions, by central differences of the loss.
TEST(Positions, GradientOfTheTableIsTheDerivative) {
  for (const PositionMode mode :
       {PositionMode::kHierarchical, PositionMode::kGrouped, PositionMode::kTiled, PositionMode::kInterpolated}) {
    SCOPED_TRACE(PositionModeName(mode));
    const auto model = MakeModel(BertConfig());
    ASSERT_TRUE(
        model->AddHead("task", {checkpoint::TaskKind::kSequenceClassification, 3, checkpoint::Pooling::kMean}, 2).ok());
    const std::vector<Sequence> texts = {Text(12, {mode}), Text(41, {mode}, 5)};
    const PackedBatch batch = *Pack(texts, at::kCPU);
    ParameterBuffer& parameters = model->parameters();
    parameters.EnableGradients();
    const auto tape = Model::NewTape();
    const at::Tensor logits = model->Predict(batch, {"task", {}}, std::nullopt, tape.get());
    const at::Tensor g = logits * 2;  // of the sum of squares
    AccumulateSink sink(&parameters);
    model->Backward(g, *tape, sink);
    const SlotId slot = parameters.Find("embeddings.position_embeddings.weight");
    const at::Tensor gradient = parameters.gradient_buffer()->Of(slot);
    at::Tensor table = parameters.Weight(slot);
    const auto loss = [&] {
      return model->Predict(batch, {"task", {}}, std::nullopt, nullptr).to(at::kDouble).square().sum().item<double>();
    };
    const double largest = gradient.abs().max().item<double>();
    for (const auto& [row, column] : {std::pair{0, 3}, {1, 0}, {2, 7}, {8, 31}, {15, 4}}) {
      at::Tensor cell = table.select(0, row).select(0, column);
      const float kept = cell.item<float>(), h = 0.01F;
      cell.fill_(kept + h);
      const double up = loss();
      cell.fill_(kept - h);
      const double down = loss();
      cell.fill_(kept);
      EXPECT_NEAR((up - down) / (2 * h), gradient[row][column].item<double>(), 0.02 * largest) << row << " " << column;
    }
  }
}

TEST(Positions, PlansAreRefusedByName) {
  const EncoderConfig bert = BertConfig(), llama = LlamaConfig(RopeKind::kDefault);
  EXPECT_TRUE(CheckPositions(bert, {PositionMode::kHierarchical}, 256).ok());
  EXPECT_EQ(StatusField(CheckPositions(bert, {PositionMode::kHierarchical}, 257)), "length");
  EXPECT_EQ(StatusField(CheckPositions(bert, {}, 17)), "length");
  EXPECT_EQ(StatusField(CheckPositions(bert, {PositionMode::kYarn}, 17)), "positions");
  EXPECT_EQ(StatusField(CheckPositions(llama, {PositionMode::kTiled}, 17)), "positions");
  EXPECT_EQ(StatusField(CheckPositions(llama, {PositionMode::kLinear, 0.5}, 17)), "factor");
  EXPECT_EQ(StatusField(CheckPositions(bert, {PositionMode::kGrouped, 2}, 17)), "factor");
  EXPECT_TRUE(CheckPositions(llama, {PositionMode::kLinear, 4}, 1000).ok());
  EXPECT_EQ(StatusField(CheckPositions(llama, {}, 0)), "length");
}

TEST(Positions, FactorsAreThoseOfTheSequence) {
  const EncoderConfig llama = LlamaConfig(RopeKind::kDefault);
  EXPECT_EQ(PositionFactor(llama, {PositionMode::kLinear}, 40), 5) << "40 tokens by the original 8";
  EXPECT_EQ(PositionFactor(llama, {PositionMode::kLinear, 3}, 40), 3);
  EXPECT_EQ(PositionFactor(llama, {PositionMode::kNtkAware}, 4), 1);
  EXPECT_EQ(PositionFactor(LlamaConfig(RopeKind::kDynamic), {}, 32), 3) << "2 * 32 / 16 - 1";
  EXPECT_EQ(PositionFactor(BertConfig(), {PositionMode::kGrouped}, 40), 3);
  EXPECT_EQ(PositionFactor(BertConfig(), {}, 16), 1);
}

TEST(Positions, EveryModeHasANameThatIsRead) {
  for (int mode = 0; mode <= static_cast<int>(PositionMode::kDynamicYarn); ++mode) {
    const auto known = static_cast<PositionMode>(mode);
    EXPECT_EQ(ParsePositionMode(PositionModeName(known)), known);
  }
  EXPECT_EQ(ParsePositionMode("alibi"), std::nullopt);
}

}  // namespace
}  // namespace engram::nn
