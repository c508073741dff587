// Texts in windows against passes over each window alone: a text's logits, and their gradients, are sums by the windows'
// shares.

#include "core/nn/text_windows.h"

#include <cmath>
#include <memory>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/zeros.h"
#include "core/base/random.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/model.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

constexpr int64_t kLabels = 3;

std::unique_ptr<Model> TinyModel(double dropout, checkpoint::Pooling pooling) {
  EncoderConfig config;
  config.family = checkpoint::FindFamily("bert");
  config.vocab_size = 50;
  config.hidden_size = 16;
  config.layers = 2;
  config.heads = 2;
  config.intermediate_size = 24;
  config.max_positions = 100;
  config.type_vocab_size = 2;
  config.hidden_dropout = config.attention_dropout = config.classifier_dropout = dropout;
  config.initializer_range = 0.2;
  config.has_pooler = true;
  auto model = *Model::Create(config, at::kCPU, Precision::kFloat32);
  model->InitializeEncoder(1);
  EXPECT_TRUE(model->AddHead("text", {checkpoint::TaskKind::kSequenceClassification, kLabels, pooling}, 2).ok());
  EXPECT_TRUE(
      model->AddHead("tags", {checkpoint::TaskKind::kTokenClassification, 2, checkpoint::Pooling::kStandard}, 3).ok());
  model->parameters().EnableGradients();
  return model;
}

// A text of `windows` windows of `length` tokens, each of which counts another number of them.
Sequence Text(int32_t windows, int32_t length, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  Sequence text;
  for (int32_t i = 0; i < windows * length; ++i) text.ids.push_back(static_cast<int32_t>(random.NextBelow(50)));
  for (int32_t i = 0; i < windows; ++i) text.windows.push_back({length, 1 + i % length});
  return text;
}

// Logits [texts, labels] by one pass for each window; with `gradient` also the gradient of sum(gradient x logits).
at::Tensor WindowByWindow(const Model& model, const std::vector<Sequence>& texts, const at::Tensor& gradient,
                          GradientBuffer* into) {
  at::Tensor logits = at::zeros({static_cast<int64_t>(texts.size()), kLabels}, at::kDouble);
  for (size_t t = 0; t < texts.size(); ++t) {
    double counted = 0;
    for (const TextWindow& window : texts[t].windows) counted += window.counted;
    auto id = texts[t].ids.begin();
    for (const TextWindow& window : texts[t].windows) {
      std::vector<Sequence> alone(1);
      alone[0].ids.assign(id, id + window.tokens);
      id += window.tokens;
      const auto tape = Model::NewTape();
      const at::Tensor own = model.Predict(*Pack(alone, at::kCPU), {"text", {}}, std::nullopt, tape.get());
      logits[static_cast<int64_t>(t)].add_(own[0].to(at::kDouble), window.counted / counted);
      if (into == nullptr) continue;
      AccumulateSink sink(into);
      const auto row = gradient.narrow(0, static_cast<int64_t>(t), 1);
      model.Backward(row * (window.counted / counted), *tape, sink);
    }
  }
  return logits;
}

void ExpectSumOfWindows(checkpoint::Pooling pooling, const std::vector<Sequence>& texts) {
  const auto model = TinyModel(0, pooling);
  const PackedBatch batch = *Pack(texts, at::kCPU);
  at::Tensor gradient = at::zeros({batch.texts(), kLabels}, at::kFloat);
  for (int64_t i = 0; i < gradient.numel(); ++i) gradient.view(-1)[i] = 0.3 * static_cast<double>(i % 5) - 0.5;
  GradientBuffer expected(model->parameters()), own(model->parameters());
  const at::Tensor logits = WindowByWindow(*model, texts, gradient, &expected);
  const auto tape = Model::NewTape();
  const at::Tensor answer = model->Predict(batch, {"text", {}}, std::nullopt, tape.get());
  ASSERT_EQ(answer.sizes(), logits.sizes());
  EXPECT_LT((answer - logits).abs().max().item<double>(), 2e-6);
  const at::Tensor served = model->Predict(batch, {"text", {}}, std::nullopt, nullptr);
  EXPECT_LT((served - logits).abs().max().item<double>(), 2e-6);
  AccumulateSink sink(&own);
  model->Backward(gradient, *tape, sink);
  const double largest = expected.flat().abs().max().item<double>();
  EXPECT_GT(largest, 0.01);
  EXPECT_LT((own.flat() - expected.flat()).abs().max().item<double>(), 1e-5 * largest);
  // A tape serves again, and moved in for its last pass it gives the same bits.
  GradientBuffer again(model->parameters());
  AccumulateSink last(&again);
  model->Backward(gradient, std::move(*tape), last);
  EXPECT_TRUE(at::equal(again.flat(), own.flat()));
}

TEST(TextWindows, LogitsAndGradientsAreThoseOfTheWindowsByTheirShares) {
  for (const auto pooling : {checkpoint::Pooling::kStandard, checkpoint::Pooling::kMean})
    ExpectSumOfWindows(pooling, {Text(3, 7, 1), Text(1, 5, 2), Text(2, 9, 3)});
}

// More tokens than are held at once, cut in the middle of a text.
TEST(TextWindows, AreTheSameInGroups) {
  const std::vector<Sequence> texts = {Text(30, 90, 1), Text(1, 20, 2), Text(31, 90, 3)};
  ASSERT_EQ(GroupWindows(*Pack(texts, at::kCPU), kWindowTokens).size(), 2U);
  ExpectSumOfWindows(checkpoint::Pooling::kStandard, texts);
}

TEST(TextWindows, GroupsHoldWhatTheyMayAndAtLeastOneWindow) {
  const PackedBatch batch = MakeBatch(at::kCPU, {4, 3, 9, 2, 2, 1});
  std::vector<std::pair<int64_t, int64_t>> groups;
  for (const WindowGroup& group : GroupWindows(batch, 7)) groups.emplace_back(group.first, group.count);
  EXPECT_EQ(groups, (std::vector<std::pair<int64_t, int64_t>>{{0, 2}, {2, 1}, {3, 3}}));
}

// A text that fits has the bits that it has without windows, whatever lies beside it; a tagger's rows are the tokens'.
TEST(TextWindows, LeaveOtherTextsAndOtherHeadsAlone) {
  const auto model = TinyModel(0, checkpoint::Pooling::kStandard);
  std::vector<Sequence> texts(1);
  texts[0].ids = {4, 5, 6};
  std::vector<Sequence> windows = texts;
  texts.push_back(Text(3, 7, 1));
  for (int64_t i = 0; i < 3; ++i) {
    windows.emplace_back();
    windows.back().ids.assign(texts[1].ids.begin() + 7 * i, texts[1].ids.begin() + 7 * (i + 1));
  }
  const std::vector<TaskQuery> queries = {{"text", {}}, {"tags", {}}};
  const auto in_windows = model->Predict(*Pack(texts, at::kCPU), queries, std::nullopt, nullptr);
  const auto alone = model->Predict(*Pack(windows, at::kCPU), queries, std::nullopt, nullptr);
  EXPECT_TRUE(at::equal(in_windows[0][0], alone[0][0]));
  EXPECT_TRUE(at::equal(in_windows[1], alone[1]));
}

// Each group drops other elements, and on the way back the same ones as on the way there.
TEST(TextWindows, GroupsRunBackUnderTheDropoutThatTheyRanUnder) {
  const auto model = TinyModel(0.2, checkpoint::Pooling::kStandard);
  ParameterBuffer& parameters = model->parameters();
  // The two groups hold the same tokens.
  Sequence text = Text(40, 100, 1);
  text.ids.insert(text.ids.end(), text.ids.begin(), text.ids.end());
  text.windows.insert(text.windows.end(), text.windows.begin(), text.windows.end());
  for (TextWindow& window : text.windows) window.counted = 1;
  const std::vector<Sequence> texts = {text};
  const PackedBatch batch = *Pack(texts, at::kCPU);
  ASSERT_EQ(GroupWindows(batch, kWindowTokens).size(), 2U);
  const TrainingMode mode{7, 11};
  const auto tape = Model::NewTape();
  const auto weighted = [&](Tape* kept) {
    const at::Tensor logits = model->Predict(batch, {"text", {}}, mode, kept)[0];
    return logits[0].item<double>() - 2 * logits[1].item<double>();
  };
  const double value = weighted(tape.get());
  EXPECT_EQ(weighted(nullptr), value);
  at::Tensor gradient = at::zeros({1, kLabels}, at::kFloat);
  gradient[0][0] = 1;
  gradient[0][1] = -2;
  AccumulateSink sink(&parameters);
  model->Backward(gradient, *tape, sink);
  RandomStream random(5, RandomPurpose::kSubset, 0);
  at::Tensor direction = at::empty({parameters.size()}, at::kFloat);
  for (int64_t i = 0; i < direction.numel(); ++i)
    direction.mutable_data_ptr<float>()[i] = static_cast<float>(random.NextNormal());
  const double analytic = (parameters.gradients() * direction).sum(at::kDouble).item<double>();
  const at::Tensor base = parameters.weights().clone();
  constexpr double kStep = 1e-4;
  double sides[2];
  for (const int side : {0, 1}) {
    parameters.weights().copy_(base + direction * (side == 0 ? -kStep : kStep));
    parameters.RefreshCompute();
    sides[side] = weighted(nullptr);
  }
  EXPECT_NEAR((sides[1] - sides[0]) / (2 * kStep), analytic, 0.03 * std::max(1.0, std::abs(analytic)));
  const auto first = *ModeOfGroup(mode, 0), second = *ModeOfGroup(mode, 1);
  EXPECT_EQ(first.seed, mode.seed);
  EXPECT_NE(second.seed, mode.seed);
  EXPECT_EQ(second.step, mode.step);
  EXPECT_FALSE(ModeOfGroup(std::nullopt, 1));
}

}  // namespace
}  // namespace engram::nn
