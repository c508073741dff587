#include "core/train/abstention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::train {
namespace {

// Two classes, logit difference d where the answer is right and -d where it is wrong: of n texts k are wrong. The
// likelihood is highest where sigmoid(d / T) = (n - k) / n, that is at T = d / log((n - k) / k).
TEST(Abstention, TheTemperatureOfTwoClassesIsKnown) {
  constexpr int64_t kTexts = 100, kWrong = 20;
  for (const double difference : {0.8, 1.0, 6.0}) {
    at::Tensor logits = at::zeros({kTexts, 2});
    logits.select(1, 0).fill_(difference);
    std::vector<int64_t> labels(kTexts, 0);
    std::fill_n(labels.begin(), kWrong, 1);
    const auto chosen = ChooseAbstention(logits, labels);
    ASSERT_TRUE(chosen.ok());
    EXPECT_NEAR(chosen->temperature, static_cast<float>(difference) / std::log(4.0), 1e-4) << difference;
    EXPECT_NEAR(chosen->threshold, 0.8, 1e-5);
    EXPECT_EQ(chosen->answered, 1);  // all are as sure
    EXPECT_DOUBLE_EQ(chosen->accuracy_of_answered, 0.8);
  }
}

TEST(Abstention, AMultipleOfTheLogitsIsAMultipleOfTheTemperature) {
  at::Tensor logits = at::zeros({40, 3});
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < 40; ++i) {
    logits[i][i % 3] = 0.5 + 0.05 * static_cast<double>(i);
    labels.push_back(i % 5 == 0 ? (i + 1) % 3 : i % 3);
  }
  const auto once = ChooseAbstention(logits, labels), thrice = ChooseAbstention(logits.mul(3), labels);
  ASSERT_TRUE(once.ok() && thrice.ok());
  ASSERT_GT(once->temperature, kLowestTemperature * 1.01);
  EXPECT_NEAR(thrice->temperature, 3 * once->temperature, 1e-3);
  EXPECT_NEAR(thrice->threshold, once->threshold, 1e-4);
  // 38 of 40 are answered, those of the highest logits; of the two others text 0 is wrong and text 1 right.
  EXPECT_DOUBLE_EQ(once->answered, 0.95);
  EXPECT_DOUBLE_EQ(once->accuracy_of_answered, 31.0 / 38);
  EXPECT_EQ(once->texts, 40);
  const std::vector<float> first_answered = {0, 0, 0.6F}, last_refused = {0, 0.55F, 0};
  EXPECT_NEAR(Confidence(first_answered, once->temperature), once->threshold, 1e-7);
  EXPECT_LT(Confidence(last_refused, once->temperature), once->threshold);
}

TEST(Abstention, TextsThatAreAllRightStayApart) {
  const at::Tensor logits = at::tensor({9.0F, 0.0F, 8.0F, 0.0F}).reshape({2, 2});
  const auto chosen = ChooseAbstention(logits, std::vector<int64_t>{0, 0});
  ASSERT_TRUE(chosen.ok());
  EXPECT_NEAR(chosen->temperature, kLowestTemperature, 1e-4);
  EXPECT_LT(chosen->threshold, 1);
  EXPECT_NEAR(chosen->threshold, 1 / (1 + std::exp(-8 / chosen->temperature)), 1e-12);
}

TEST(Abstention, NeedsTexts) {
  EXPECT_EQ(ChooseAbstention(at::zeros({0, 3}), {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Abstention, ConfidenceIsTheHighestProbability) {
  const std::vector<float> logits = {1, 3, 2};
  for (const double temperature : {0.5, 1.0, 4.0}) {
    const double sum = std::exp(1 / temperature) + std::exp(3 / temperature) + std::exp(2 / temperature);
    EXPECT_NEAR(Confidence(logits, temperature), std::exp(3 / temperature) / sum, 1e-15);
  }
}

}  // namespace
}  // namespace engram::train
