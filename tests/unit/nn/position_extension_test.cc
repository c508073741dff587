#include "core/nn/position_extension.h"

#include <cmath>

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/rand.h"
#include "gtest/gtest.h"

namespace engram::nn {
namespace {

constexpr int64_t kRows = 8, kWidth = 3;

class ExtendedPositionsTest : public ::testing::TestWithParam<PositionExtension> {
 protected:
  static double E(int64_t row, int64_t column) { return std::sin(static_cast<double>(1 + 7 * row + 3 * column)); }
  static at::Tensor Table() {
    at::Tensor table = at::rand({kRows, kWidth}, at::kDouble);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kWidth; ++c) table[r][c].fill_(E(r, c));
    }
    return table;
  }
};

// Each kind against its definition, number by number.
TEST_P(ExtendedPositionsTest, AreWhatTheDefinitionSays) {
  const at::Tensor table = Table();
  constexpr int64_t kLength = 29;  // s = ceil(29 / 8) = 4
  const at::Tensor rows = ExtendedPositions(table, GetParam(), kLength, 0, kLength);
  ASSERT_EQ(rows.size(0), kLength);
  const auto shifted = [](int64_t row, int64_t c) { return (E(row, c) - 0.4 * E(0, c)) / 0.6; };
  for (int64_t p = 0; p < kLength; ++p) {
    for (int64_t c = 0; c < kWidth; ++c) {
      double expected = 0;
      switch (GetParam()) {
        case PositionExtension::kHierarchical:
          expected = 0.4 * shifted(p / 8, c) + 0.6 * shifted(p % 8, c);
          break;
        case PositionExtension::kGrouped:
          expected = E(p / 4, c);
          break;
        case PositionExtension::kTiled:
          expected = E(p % 8, c);
          break;
        case PositionExtension::kInterpolated:
          expected = E(p / 4, c) * (1 - static_cast<double>(p % 4) / 4) +
                     E(std::min<int64_t>(p / 4 + 1, 7), c) * static_cast<double>(p % 4) / 4;
          break;
      }
      EXPECT_NEAR(rows[p][c].item<double>(), expected, 1e-14) << p;
    }
  }
  // Any part of them is the same numbers.
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{3, 11}, {8, 9}, {7, 29}, {0, 8}})
    EXPECT_TRUE(
        at::equal(ExtendedPositions(table, GetParam(), kLength, begin, end), rows.narrow(0, begin, end - begin)));
}

TEST_P(ExtendedPositionsTest, AreTheTrainedOnesWhereTheyAreEnough) {
  const at::Tensor table = Table();
  EXPECT_TRUE(at::equal(ExtendedPositions(table, GetParam(), kRows, 0, kRows), table));
  EXPECT_EQ(PositionFactor(GetParam(), kRows, kRows), 1);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ExtendedPositionsTest,
                         ::testing::Values(PositionExtension::kHierarchical, PositionExtension::kGrouped,
                                           PositionExtension::kTiled, PositionExtension::kInterpolated),
                         [](const auto& kind) { return std::string(PositionExtensionName(kind.param)); });

// The golden values of Su's definition: n^2 positions of n rows, the first n as trained, the last one e[n - 1].
TEST(HierarchicalPositions, ReachTheSquareOfTheTable) {
  EXPECT_EQ(LongestExtended(PositionExtension::kHierarchical, 512), 262144);
  EXPECT_GT(LongestExtended(PositionExtension::kTiled, 512), 262144);
  const at::Tensor table = at::rand({512, 4}, at::kDouble);
  const auto e = [&](int64_t row) { return (table[row] - 0.4 * table[0]) / 0.6; };
  const auto at_position = [&](int64_t p) {
    return ExtendedPositions(table, PositionExtension::kHierarchical, 262144, p, p + 1)[0];
  };
  EXPECT_LT((at_position(512) - (0.4 * e(1) + 0.6 * e(0))).abs().max().item<double>(), 1e-14);
  EXPECT_LT((at_position(262143) - e(511)).abs().max().item<double>(), 1e-14);
  EXPECT_TRUE(at::equal(ExtendedPositions(table, PositionExtension::kHierarchical, 262144, 0, 512), table));
}

TEST(PositionFactorOf, IsTheGroupOrTheRatio) {
  EXPECT_EQ(PositionFactor(PositionExtension::kGrouped, 512, 1000), 2);
  EXPECT_EQ(PositionFactor(PositionExtension::kInterpolated, 512, 1025), 3);
  EXPECT_EQ(PositionFactor(PositionExtension::kHierarchical, 512, 768), 1.5);
}

}  // namespace
}  // namespace engram::nn
