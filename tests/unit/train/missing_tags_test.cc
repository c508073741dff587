// The loss where nothing is known of some words, against its definition in fp64: minus the log of the probability of all
// tag sequences that agree with what is known, enumerated.

#include <cmath>
#include <numeric>
#include <vector>

#include "ATen/ops/empty.h"
#include "core/base/random.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/train/micro_batch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::train {
namespace {

constexpr int64_t kIgnored = nn::ops::kIgnored, kTags = 3, kOutside = 0;

TaskSpec Tagger(double share) {
  TaskSpec task;
  task.name = "names";
  task.kind = checkpoint::TaskKind::kTokenClassification;
  task.labels = kTags;
  task.outside = kOutside;
  task.missing_as_outside = share;
  return task;
}

TrainingExample Example(std::vector<int64_t> tags, std::vector<int32_t> missing) {
  TrainingExample example;
  example.sequence.ids.assign(tags.size(), 1);
  example.tags = std::move(tags);
  example.missing = std::move(missing);
  return example;
}

std::vector<int64_t> Values(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<int64_t>();
  return {data, data + tensor.numel()};
}

MicroBatch Batch(const TaskSpec& task, const std::vector<TrainingExample>& examples, uint64_t seed, uint64_t step) {
  std::vector<int64_t> all(examples.size());
  std::iota(all.begin(), all.end(), 0);
  auto batch = MakeMicroBatch(task, examples, all, seed, step, at::kCPU);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

// log sum over all sequences of tags that agree with `targets` (kIgnored: any tag) of the product of the words' softmax
// probabilities.
double LogMarginal(const std::vector<std::vector<double>>& logits, const std::vector<int64_t>& targets) {
  const size_t words = logits.size();
  double sum = 0;
  for (int64_t number = 0; number < std::llround(std::pow(kTags, words)); ++number) {
    int64_t rest = number;
    double product = 1;
    for (size_t t = 0; t < words; ++t, rest /= kTags) {
      const int64_t tag = rest % kTags;
      double z = 0;
      for (const double logit : logits[t]) z += std::exp(logit);
      product *= targets[t] == kIgnored || targets[t] == tag ? std::exp(logits[t][static_cast<size_t>(tag)]) / z : 0;
    }
    sum += product;
  }
  return std::log(sum);
}

TEST(MissingTags, TheLossIsTheMarginalLikelihoodOfWhatIsKnown) {
  const std::vector<int64_t> tags = {1, kIgnored, 2, kIgnored, 0};
  RandomStream random(3, RandomPurpose::kSubset, 0);
  std::vector<std::vector<double>> values(tags.size(), std::vector<double>(kTags));
  at::Tensor logits = at::empty({5, kTags}, at::kFloat);
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t k = 0; k < kTags; ++k) {
      const auto value = static_cast<float>(2 * random.NextNormal());
      logits[t][k] = value;
      values[static_cast<size_t>(t)][static_cast<size_t>(k)] = value;
    }
  }
  const MicroBatch batch = Batch(Tagger(0), {Example(tags, {1, 3})}, 1, 1);
  EXPECT_EQ(Values(batch.targets), tags);
  EXPECT_EQ(batch.units, 3);
  const double weight = 1.0 / 3;
  const LossResult loss = CrossEntropyLoss(logits, batch.targets, weight);
  EXPECT_NEAR(loss.sum, -LogMarginal(values, tags), 1e-5);
  constexpr double kStep = 1e-5;
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t k = 0; k < kTags; ++k) {
      double& value = values[static_cast<size_t>(t)][static_cast<size_t>(k)];
      value += kStep;
      const double up = -LogMarginal(values, tags);
      value -= 2 * kStep;
      const double down = -LogMarginal(values, tags);
      value += kStep;
      EXPECT_NEAR(loss.grad[t][k].item<double>(), weight * (up - down) / (2 * kStep), 1e-5) << t << " " << k;
    }
  }
}

TEST(MissingTags, APartOfThemIsDrawnAnewForEachStep) {
  std::vector<TrainingExample> examples;
  for (int i = 0; i < 40; ++i) {
    std::vector<int64_t> tags(30, kIgnored);
    std::vector<int32_t> missing;
    tags[1] = 1;
    for (int32_t token = 2; token < 27; ++token) missing.push_back(token);
    examples.push_back(Example(std::move(tags), std::move(missing)));
  }
  constexpr int64_t kMissing = 40 * 25;
  for (const double share : {0.0, 0.35, 1.0}) {
    const TaskSpec task = Tagger(share);
    int64_t taken = 0;
    constexpr int kSteps = 20;
    std::vector<int64_t> before;
    for (uint64_t step = 0; step < kSteps; ++step) {
      const MicroBatch batch = Batch(task, examples, 7, step);
      const std::vector<int64_t> targets = Values(batch.targets);
      int64_t now = 0;
      for (size_t row = 0; row < targets.size(); ++row) {
        const size_t token = row % 30;
        if (token == 1) {
          EXPECT_EQ(targets[row], 1);
        } else if (targets[row] != kIgnored) {
          ASSERT_TRUE(token >= 2 && token < 27) << token;
          ASSERT_EQ(targets[row], kOutside);
          ++now;
        }
      }
      EXPECT_EQ(batch.units, 40 + now);
      EXPECT_EQ(targets, Values(Batch(task, examples, 7, step).targets)) << "the same step draws the same words";
      if (share == 0.35) {
        EXPECT_NE(targets, before);
      }
      before = targets;
      taken += now;
    }
    // Five standard deviations.
    const double draws = kSteps * kMissing, deviation = std::sqrt(draws * share * (1 - share));
    EXPECT_NEAR(static_cast<double>(taken), share * draws, 5 * deviation);
    EXPECT_EQ(CountUnits(task, examples), 40 + std::llround(share * kMissing));
  }
}

// n / (k n_c), with 0.25 of 8 words beside one word each of O and of tag 2.
TEST(MissingTags, ClassesAreBalancedByTheirExpectedNumbers) {
  const std::vector<TrainingExample> examples = {
      Example({0, 2, kIgnored, kIgnored, kIgnored, kIgnored, kIgnored, kIgnored, kIgnored, kIgnored},
              {2, 3, 4, 5, 6, 7, 8, 9})};
  const at::Tensor weights = BalancedClassWeights(Tagger(0.25), examples);
  EXPECT_FLOAT_EQ(weights[0].item<float>(), 4.0F / (2 * 3));
  EXPECT_FLOAT_EQ(weights[1].item<float>(), 1);
  EXPECT_FLOAT_EQ(weights[2].item<float>(), 4.0F / (2 * 1));
}

TEST(MissingTags, ExamplesThatContradictThemselvesAreRefused) {
  EXPECT_FALSE(ValidateExamples(Tagger(0.5), std::vector{Example({0, 1}, {1})}, 10).ok());
  EXPECT_FALSE(ValidateExamples(Tagger(0.5), std::vector{Example({0, kIgnored}, {2})}, 10).ok());
  EXPECT_TRUE(ValidateExamples(Tagger(0.5), std::vector{Example({0, kIgnored}, {1})}, 10).ok());
  TaskSpec without = Tagger(0.5);
  without.outside = -1;
  EXPECT_FALSE(ValidateExamples(without, std::vector{Example({0, kIgnored}, {1})}, 10).ok());
}

}  // namespace
}  // namespace engram::train
