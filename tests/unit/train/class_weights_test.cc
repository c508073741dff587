#include <cmath>
#include <vector>

#include "ATen/ops/softmax.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/train/micro_batch.h"
#include "core/train/trainer.h"
#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

TrainingExample Labelled(int64_t label) {
  TrainingExample example;
  example.label = label;
  return example;
}

// n / (k n_c): six texts of three classes that occur, one twice and one three times.
TEST(ClassWeights, EveryClassThatOccursCountsAlike) {
  TaskSpec task;
  task.labels = 4;
  std::vector<TrainingExample> texts;
  for (const int64_t label : {0, 2, 2, 3, 3, 3}) texts.push_back(Labelled(label));
  const at::Tensor weights = BalancedClassWeights(task, texts);
  const std::vector<float> expected = {2, 1, 1, 2.0F / 3};
  for (int64_t c = 0; c < 4; ++c) EXPECT_FLOAT_EQ(weights[c].item<float>(), expected[static_cast<size_t>(c)]) << c;
}

TEST(ClassWeights, TagsCountByTheirWords) {
  TaskSpec task;
  task.kind = checkpoint::TaskKind::kTokenClassification;
  task.labels = 2;
  TrainingExample sentence;
  sentence.tags = {nn::ops::kIgnored, 0, 0, 0, 1, nn::ops::kIgnored};
  const at::Tensor weights = BalancedClassWeights(task, std::vector{sentence});
  EXPECT_FLOAT_EQ(weights[0].item<float>(), 4.0F / 6);
  EXPECT_FLOAT_EQ(weights[1].item<float>(), 2);
}

TEST(ClassWeights, TheLossAndItsGradientAreWeighted) {
  at::Tensor logits = at::zeros({3, 2}), targets = at::empty({3}, at::kLong), weights = at::empty({2});
  logits[0][1] = 2;
  logits[2][0] = -1;
  targets[0] = 1;
  targets[1] = nn::ops::kIgnored;
  targets[2] = 0;
  weights[0] = 3;
  weights[1] = 0.5;
  const LossResult loss = CrossEntropyLoss(logits, targets, 0.25, weights);
  const double first = std::log(1 + std::exp(-2.0)), last = std::log(1 + std::exp(1.0));  // -log softmax
  EXPECT_NEAR(loss.sum, 0.5 * first + 3 * last, 1e-6);
  EXPECT_NEAR(loss.grad[0][1].item<double>(), 0.25 * 0.5 * (1 / (1 + std::exp(-2.0)) - 1), 1e-6);
  EXPECT_NEAR(loss.grad[2][0].item<double>(), 0.25 * 3 * (1 / (1 + std::exp(1.0)) - 1), 1e-6);
  EXPECT_EQ(loss.grad[1][0].item<double>(), 0);
  EXPECT_NEAR(CrossEntropyLoss(logits, targets, 0.25).sum, first + last, 1e-6);
}

// A rare class is found where it was lost: one text in twenty, which the others' words nearly hide.
TEST(ClassWeights, ATrainingTakesThem) {
  auto texts = TinyExamples(120, 2, 3);
  std::erase_if(texts, [kept = 0](const TrainingExample& text) mutable { return text.label == 1 && ++kept > 3; });
  const auto run = [&](ClassWeights weights) {
    const auto model = TinyModel({"a"}, 2, /*dropout=*/0);
    TrainOptions options;
    options.lr = 1e-3;
    options.epochs = 1;
    options.batch_size = 8;
    options.class_weights = weights;
    TrainInput input;
    input.task = {"a", checkpoint::TaskKind::kSequenceClassification, 2, std::nullopt};
    input.training = texts;
    EXPECT_TRUE(Train(*model, options, input).ok());
    double rare = 0;
    const auto logits = *PredictLogits(*model, input.task, texts, {});
    for (size_t i = 0; i < texts.size(); ++i) {
      if (texts[i].label == 1) rare += at::softmax(logits[i], 0)[1].item<double>();
    }
    return rare;
  };
  EXPECT_GT(run(ClassWeights::kBalanced), 1.5 * run(ClassWeights::kNone));
}

}  // namespace
}  // namespace engram::train
