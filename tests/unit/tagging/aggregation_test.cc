#include "core/tagging/aggregation.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

std::vector<double> Softmax(const std::vector<float>& logits) {
  const double high = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  std::vector<double> p;
  for (const float value : logits) p.push_back(std::exp(static_cast<double>(value) - high)), total += p.back();
  for (double& value : p) value /= total;
  return p;
}

// What the word's own values come to.
std::vector<double> Word(Aggregation aggregation, const std::vector<float>& tokens, size_t tags) {
  std::vector<float> word(tags);
  AggregateTokens(aggregation, tokens, word);
  return Softmax(word);
}

void ExpectNear(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6) << i;
}

// Three tokens of three tags. The third has the highest logit and the second the highest probability, so that a maximum
// over logits, or over the first tag alone, gives another token.
const std::vector<float> kTokens = {1, 0.5F, 0, -4, 1, -4, 5, 4.5F, 4.8F};

TEST(Aggregation, FirstMeanAndSurestToken) {
  const std::vector<double> a = Softmax({1, 0.5F, 0}), b = Softmax({-4, 1, -4}), c = Softmax({5, 4.5F, 4.8F});
  ExpectNear(Word(Aggregation::kFirst, kTokens, 3), a);
  ExpectNear(Word(Aggregation::kMax, kTokens, 3), b);
  ExpectNear(Word(Aggregation::kAverage, kTokens, 3),
             {(a[0] + b[0] + c[0]) / 3, (a[1] + b[1] + c[1]) / 3, (a[2] + b[2] + c[2]) / 3});
}

TEST(Aggregation, OneTokenIsItself) {
  for (const auto aggregation : {Aggregation::kFirst, Aggregation::kAverage, Aggregation::kMax})
    ExpectNear(Word(aggregation, {2, -1}, 2), Softmax({2, -1}));
}

TEST(Aggregation, OfEquallySureTokensTheFirst) {
  ExpectNear(Word(Aggregation::kMax, {0, 3, 3, 0}, 2), Softmax({0, 3}));
}

TEST(Aggregation, LargeLogitsStayFinite) {
  ExpectNear(Word(Aggregation::kAverage, {1000, 0, 0, 1000}, 2), {0.5, 0.5});
  ExpectNear(Word(Aggregation::kMax, {1000, 999, -1000, -1010}, 2),
             {1 / (1 + std::exp(-10.0)), 1 / (1 + std::exp(10.0))});
}

}  // namespace
}  // namespace engram::tagging
