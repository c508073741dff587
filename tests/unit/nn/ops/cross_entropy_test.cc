#include "core/nn/ops/cross_entropy/cross_entropy.h"

#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using CrossEntropyTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, CrossEntropyTest, ::testing::ValuesIn(Fp32Cases()), OpCaseName);

TEST_P(CrossEntropyTest, LossAndGradientAreTheDefinitionAndIgnoredRowsCountForNothing) {
  const at::Tensor logits = Normal({6, 5}, 3);
  const std::vector<int64_t> targets = {2, -100, 0, 4, 1, -100};
  const std::vector<float> weights = {1, 2, 0.25F, 3, 0, 5};
  const Matrix z = ToMatrix(logits);
  for (const bool weighted : {false, true}) {
    Matrix loss(1, 6), gradient(6, 5);
    for (int64_t r = 0; r < 6; ++r) {
      if (targets[r] == ops::kIgnored) continue;
      const double weight = weighted ? weights[r] : 1;
      double sum = 0;
      for (int64_t c = 0; c < 5; ++c) sum += std::exp(z(r, c));
      loss(0, r) = weight * (std::log(sum) - z(r, targets[r]));
      for (int64_t c = 0; c < 5; ++c) gradient(r, c) = weight * (std::exp(z(r, c)) / sum - (c == targets[r] ? 1 : 0));
    }
    const auto result = ops::CrossEntropy(logits, at::tensor(targets, at::kLong).to(device()),
                                          weighted ? at::tensor(weights).to(device()) : at::Tensor());
    EXPECT_LE(Distance(result.loss, loss), 1e-6);
    EXPECT_LE(Distance(result.grad, gradient), 1e-6);
  }
}

TEST_P(CrossEntropyTest, KeepsTheDigitsOfASmallGradient) {
  const at::Tensor logits = at::tensor({16.0F, 0.5F, -1.25F}).unsqueeze(0).to(device());  // p of the target: 1 - 2e-7
  const double others = std::exp(0.5 - 16) + std::exp(-1.25 - 16);
  const auto result =
      ops::CrossEntropy(logits, at::tensor(std::vector<int64_t>{0}, at::kLong).to(device()), at::Tensor());
  EXPECT_NEAR(result.grad[0][0].item<double>() / (-others / (1 + others)), 1, 1e-5);
}

}  // namespace
}  // namespace engram::nn
