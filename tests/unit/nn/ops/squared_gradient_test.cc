#include "core/nn/ops/squared_gradient/squared_gradient.h"

#include <functional>
#include <utility>

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

void CheckLinear(const at::Tensor& g, const at::Tensor& x,
                 const std::function<at::Tensor(at::IntArrayRef, double)>& filled) {
  const Matrix x64 = ToMatrix(x), g64 = ToMatrix(g);
  const int64_t out = g.size(1), in = x.size(1);
  for (const bool absolute : {false, true}) {
    const Matrix w =
        Define(out, in, 1, absolute, [&](int64_t t, int64_t o, int64_t i) { return g64(t, o) * x64(t, i); });
    const Matrix b = Define(1, out, 2, absolute, [&](int64_t t, int64_t, int64_t o) { return g64(t, o); });
    const at::Tensor square_w = filled({out, in}, 1), square_b = filled({out}, 2);
    ops::SquaredLinearGradient(g, x, kRows, kWeights, absolute, square_w, square_b);
    EXPECT_LE(Distance(square_w, w), 2e-6);
    EXPECT_LE(Distance(square_b, b), 2e-6);
    const at::Tensor alone_w = filled({out, in}, 1), alone_b = filled({out}, 2);
    ops::SquaredLinearGradient(g, x, kRows, kWeights, absolute, alone_w, at::Tensor());
    ops::SquaredLinearGradient(g, at::Tensor(), kRows, kWeights, absolute, at::Tensor(), alone_b);
    EXPECT_LE(Distance(alone_w, w), 2e-6);
    EXPECT_LE(Distance(alone_b, b), 2e-6);
  }
}

TEST_P(SquaredGradientTest, OfALinearLayer) {
  // More than one of the CPU kernel's blocks; rows that begin at 16 bytes and such that do not.
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{230, 300}, {72, 136}}) {
    CheckLinear(Normal({23, out}), Normal({23, in}),
                [this](at::IntArrayRef shape, double value) { return Filled32(shape, value); });
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
