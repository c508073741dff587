// What the blocks of other families than BERT are made of: rotary positions, RMSNorm, LayerNorm without a shift, gates.

#include "ATen/ops/zeros.h"
#include "core/nn/ops/gated_activation/gated_activation.h"
#include "core/nn/ops/layer_norm/layer_norm.h"
#include "core/nn/ops/rms_norm/rms_norm.h"
#include "core/nn/ops/rotary/rotary.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using BlockOpTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, BlockOpTest, ::testing::ValuesIn(OpCases()), OpCaseName);

constexpr int64_t kRows = 23;

TEST_P(BlockOpTest, RotationTurnsEachPairAndLeavesTheRest) {
  // Heads of 12 of which 8 dimensions turn; three heads of five, as queries and keys beside values.
  const int64_t heads = 3, width = 12, pairs = 4;
  const at::Tensor rows = Normal({kRows, 5 * width}), table = Normal32({7, 2 * pairs});
  std::vector<int32_t> index;
  for (int32_t t = 0; t < kRows; ++t) index.push_back(t * 5 % 7);
  for (const bool transposed : {false, true}) {
    Matrix expected = ToMatrix(rows);
    const Matrix angles = ToMatrix(table);
    for (int64_t t = 0; t < kRows; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t j = 0; j < pairs; ++j) {
          const double c = angles(index[t], j), s = angles(index[t], pairs + j) * (transposed ? -1 : 1);
          double &x = expected(t, h * width + j), &y = expected(t, h * width + pairs + j);
          const double before = x;
          x = before * c - y * s;
          y = y * c + before * s;
        }
      }
    }
    const at::Tensor turned = rows.clone();
    ops::Rotate(turned, heads, width, table, Ints(index), transposed);
    EXPECT_LE(Distance(turned, expected), tolerance());
  }
}

TEST_P(BlockOpTest, RmsNormAndItsGradientAreTheDefinition) {
  const int64_t width = 97;
  const double eps = 1e-2;
  const at::Tensor x = Normal({kRows, width}, 2), gamma = Normal({width}), g = Normal({kRows, width});
  const Matrix x64 = ToMatrix(x), gamma64 = ToMatrix(gamma), g64 = ToMatrix(g);
  const auto norm = [&](const Matrix& in, int64_t t) {  // y of one row
    double squares = 0;
    for (int64_t i = 0; i < width; ++i) squares += in(t, i) * in(t, i);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(width) + eps);
    std::vector<double> y;
    for (int64_t i = 0; i < width; ++i) y.push_back(in(t, i) * rstd * gamma64(0, i));
    return y;
  };
  Matrix y(kRows, width), gradient(kRows, width);
  for (int64_t t = 0; t < kRows; ++t) {
    const std::vector<double> row = norm(x64, t);
    for (int64_t i = 0; i < width; ++i) y(t, i) = row[static_cast<size_t>(i)];
    Matrix moved = x64;  // by central differences
    for (int64_t i = 0; i < width; ++i) {
      const double h = 1e-5;
      const auto loss = [&](double at) {
        moved(t, i) = at;
        const std::vector<double> out = norm(moved, t);
        double sum = 0;
        for (int64_t c = 0; c < width; ++c) sum += out[static_cast<size_t>(c)] * g64(t, c);
        return sum;
      };
      gradient(t, i) = (loss(x64(t, i) + h) - loss(x64(t, i) - h)) / (2 * h);
      moved(t, i) = x64(t, i);
    }
  }
  const ops::LayerNormResult got = ops::RmsNorm(x, gamma, eps, true);
  EXPECT_LE(Distance(got.y, y), tolerance());
  EXPECT_LE(Distance(ops::RmsNormGradient(g, got.normalized, got.rstd, gamma), gradient), tolerance(2));
}

TEST_P(BlockOpTest, ANormWithoutAShiftAddsNothingAndHasNoGradientOfIt) {
  const int64_t width = 32;
  const at::Tensor x = Normal({kRows, width}), gamma = Normal({width}), g = Normal({kRows, width});
  const ops::LayerNormResult got = ops::AddLayerNorm(x, at::Tensor(), {}, gamma, at::Tensor(), 1e-5, true);
  const Matrix normalized = ToMatrix(got.normalized), gamma64 = ToMatrix(gamma), g64 = ToMatrix(g);
  Matrix y(kRows, width), grad(1, width);
  for (int64_t t = 0; t < kRows; ++t) {
    for (int64_t i = 0; i < width; ++i) {
      y(t, i) = normalized(t, i) * gamma64(0, i);
      grad(0, i) += normalized(t, i) * g64(t, i);
    }
  }
  EXPECT_LE(Distance(got.y, y), tolerance(2));
  const at::Tensor total = at::zeros({width}, at::TensorOptions(at::kFloat).device(device()));
  ops::LayerNormWeightGradient(g, got.normalized, total, at::Tensor());
  EXPECT_LE(Distance(total, grad), fp32() ? 2e-6 : 1e-4);
}

TEST_P(BlockOpTest, GateMultipliesTheActivatedHalfWithTheOther) {
  const int64_t inner = 19;
  const at::Tensor rows = Normal({kRows, 2 * inner}), g = Normal({kRows, inner});
  const Matrix in = ToMatrix(rows), g64 = ToMatrix(g);
  const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
  const auto slope = [](double x) {
    const double s = 1 / (1 + std::exp(-x));
    return s + x * s * (1 - s);
  };
  const auto gelu = [](double x) { return x * 0.5 * std::erfc(-x * M_SQRT1_2); };
  Matrix y(kRows, inner), exact(kRows, inner), gradient(kRows, 2 * inner);
  for (int64_t t = 0; t < kRows; ++t) {
    for (int64_t i = 0; i < inner; ++i) {
      y(t, i) = silu(in(t, i)) * in(t, inner + i);
      exact(t, i) = gelu(in(t, i)) * in(t, inner + i);
      gradient(t, i) = g64(t, i) * in(t, inner + i) * slope(in(t, i));
      gradient(t, inner + i) = g64(t, i) * silu(in(t, i));
    }
  }
  EXPECT_LE(Distance(ops::GatedActivation(rows, Activation::kSilu), y), tolerance(2));
  EXPECT_LE(Distance(ops::GatedActivation(rows, Activation::kGelu), exact), tolerance(2));
  EXPECT_LE(Distance(ops::GatedActivationGradient(g, rows, Activation::kSilu), gradient), tolerance(2));
}

}  // namespace
}  // namespace engram::nn
