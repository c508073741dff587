#include "core/nn/ops/squared_gradient/squared_gradient.h"

#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using SquaredGradientTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, SquaredGradientTest, ::testing::ValuesIn(OpCases()), OpCaseName);

// Sequences of 3, 1, 0, 17 and 2 rows.
const std::vector<int32_t> kRows = {0, 3, 4, 4, 21, 23};
const std::vector<float> kWeights = {0.5F, 2, 100, 1, 0.25F};

double Power(double sum, bool absolute) { return absolute ? std::abs(sum) : sum * sum; }

// total [1, d] = before + sum_n weight_n power(sum of f(t) over the rows of n), column by column.
template <typename Summand>
Matrix Define(int64_t rows, int64_t width, double before, bool absolute, const Summand& summand) {
  Matrix total(rows, width, before);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      for (size_t n = 0; n < kWeights.size(); ++n) {
        double sum = 0;
        for (int64_t t = kRows[n]; t < kRows[n + 1]; ++t) sum += summand(t, r, c);
        total(r, c) += kWeights[n] * Power(sum, absolute);
      }
    }
  }
  return total;
}

TEST_P(SquaredGradientTest, OfALinearLayer) {
  const int64_t out = 230, in = 300;  // more than one of the CPU kernel's blocks
  const at::Tensor x = Normal({23, in}), g = Normal({23, out});
  const Matrix x64 = ToMatrix(x), g64 = ToMatrix(g);
  for (const bool absolute : {false, true}) {
    const Matrix w =
        Define(out, in, 1, absolute, [&](int64_t t, int64_t o, int64_t i) { return g64(t, o) * x64(t, i); });
    const Matrix b = Define(1, out, 2, absolute, [&](int64_t t, int64_t, int64_t o) { return g64(t, o); });
    const at::Tensor square_w = Filled32({out, in}, 1), square_b = Filled32({out}, 2);
    ops::SquaredLinearGradient(g, x, kRows, kWeights, absolute, square_w, square_b);
    EXPECT_LE(Distance(square_w, w), 2e-6);
    EXPECT_LE(Distance(square_b, b), 2e-6);
    const at::Tensor alone_w = Filled32({out, in}, 1), alone_b = Filled32({out}, 2);
    ops::SquaredLinearGradient(g, x, kRows, kWeights, absolute, alone_w, at::Tensor());
    ops::SquaredLinearGradient(g, at::Tensor(), kRows, kWeights, absolute, at::Tensor(), alone_b);
    EXPECT_LE(Distance(alone_w, w), 2e-6);
    EXPECT_LE(Distance(alone_b, b), 2e-6);
  }
}

TEST_P(SquaredGradientTest, OfALayerNorm) {
  const at::Tensor normalized = Normal({23, 37}), g = Normal({23, 37});
  const Matrix n64 = ToMatrix(normalized), g64 = ToMatrix(g);
  for (const bool absolute : {false, true}) {
    const at::Tensor gamma = Filled32({37}, 1), beta = Filled32({37}, 2);
    ops::SquaredLayerNormGradient(g, normalized, kRows, kWeights, absolute, gamma, beta);
    EXPECT_LE(Distance(gamma, Define(1, 37, 1, absolute,
                                     [&](int64_t t, int64_t, int64_t c) { return g64(t, c) * n64(t, c); })),
              2e-6);
    EXPECT_LE(Distance(beta, Define(1, 37, 2, absolute, [&](int64_t t, int64_t, int64_t c) { return g64(t, c); })),
              2e-6);
  }
}

TEST_P(SquaredGradientTest, OfAnEmbeddingTableSumsRepeatedIdsOfOneSequenceFirst) {
  const at::Tensor g = Normal({23, 19});
  const Matrix g64 = ToMatrix(g);
  std::vector<int32_t> index;
  for (int32_t t = 0; t < 23; ++t) index.push_back(t * t % 7);
  for (const bool absolute : {false, true}) {
    const at::Tensor table = Filled32({9, 19}, 1);
    ops::SquaredEmbeddingGradient(g, Ints(index), kRows, kWeights, absolute, table);
    EXPECT_LE(Distance(table, Define(9, 19, 1, absolute,
                                     [&](int64_t t, int64_t v, int64_t c) { return index[t] == v ? g64(t, c) : 0; })),
              2e-6);
  }
}

}  // namespace
}  // namespace engram::nn
