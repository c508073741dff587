#include "core/nn/ops/layer_norm/layer_norm.h"

#include <array>

#include "ATen/ops/equal.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using LayerNormTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, LayerNormTest, ::testing::ValuesIn(OpCases()), OpCaseName);

// No multiple of any vector's width; and rows that several warps of a GPU share.
struct Shape {
  int64_t rows, width;
};
constexpr std::array<Shape, 2> kShapes = {Shape{23, 97}, Shape{3, 700}};
constexpr double kEps = 1e-2;  // large enough to show where it stands

struct Row {
  std::vector<double> normalized, y;
  double rstd = 0;
};

// One row of the definition.
Row Normalize(const std::vector<double>& s, const Matrix& gamma, const Matrix& beta) {
  double mean = 0, variance = 0;
  for (const double value : s) mean += value / static_cast<double>(s.size());
  for (const double value : s) variance += (value - mean) * (value - mean) / static_cast<double>(s.size());
  Row row;
  row.rstd = 1 / std::sqrt(variance + kEps);
  for (size_t i = 0; i < s.size(); ++i) {
    row.normalized.push_back((s[i] - mean) * row.rstd);
    row.y.push_back(row.normalized.back() * gamma(0, static_cast<int64_t>(i)) + beta(0, static_cast<int64_t>(i)));
  }
  return row;
}

struct Inputs {
  at::Tensor x, residual, gamma, beta, g;
  ops::Dropout dropout;

  // Row t of s = dropout(x) + residual.
  std::vector<double> Sum(int64_t t) const {
    const int64_t width = x.size(1);
    const Matrix x64 = ToMatrix(x), residual64 = residual.defined() ? ToMatrix(residual) : Matrix(x64.rows, width);
    std::vector<double> s;
    for (int64_t i = 0; i < width; ++i) {
      s.push_back(x64(t, i) * Keep(dropout, static_cast<uint64_t>(t * width + i)) + residual64(t, i));
    }
    return s;
  }
};

std::vector<ops::Dropout> Dropouts() { return {{}, {0.1, 17, 3, 5}, {0.5, 1, 2, 65535}}; }

TEST_P(LayerNormTest, ForwardIsTheDefinition) {
  for (const Shape& shape : kShapes) {
    const int64_t rows = shape.rows, width = shape.width;
    for (const ops::Dropout& dropout : Dropouts()) {
      for (const bool has_residual : {true, false}) {
        const Inputs in = {Normal({rows, width}, 2),
                           has_residual ? Normal({rows, width}) : at::Tensor(),
                           Normal({width}),
                           Normal({width}),
                           at::Tensor(),
                           dropout};
        Matrix y(rows, width), normalized(rows, width), rstd(1, rows);
        for (int64_t t = 0; t < rows; ++t) {
          const Row row = Normalize(in.Sum(t), ToMatrix(in.gamma), ToMatrix(in.beta));
          for (int64_t i = 0; i < width; ++i) {
            y(t, i) = row.y[static_cast<size_t>(i)];
            normalized(t, i) = row.normalized[static_cast<size_t>(i)];
          }
          rstd(0, t) = row.rstd;
        }
        const auto result = ops::AddLayerNorm(in.x, in.residual, dropout, in.gamma, in.beta, kEps, true);
        EXPECT_LE(Distance(result.y, y), tolerance());
        EXPECT_LE(Distance(result.normalized, normalized), tolerance());
        EXPECT_EQ(result.rstd.scalar_type(), at::kFloat);
        EXPECT_LE(Distance(result.rstd, rstd), 2e-6);
        const auto forgotten = ops::AddLayerNorm(in.x, in.residual, dropout, in.gamma, in.beta, kEps, false);
        EXPECT_TRUE(at::equal(forgotten.y, result.y)) << "keeping changes no bit";
        EXPECT_FALSE(forgotten.normalized.defined() || forgotten.rstd.defined());
      }
    }
  }
}

// Of the sum of g * y, by central differences of the definition: no formula of ours is in it.
TEST_P(LayerNormTest, GradientIsTheDerivativeOfTheDefinition) {
  for (const Shape& shape : kShapes) {
    const int64_t rows = shape.rows, width = shape.width;
    for (const ops::Dropout& dropout : Dropouts()) {
      const Inputs in = {Normal({rows, width}, 2), Normal({rows, width}), Normal({width}),
                         Normal({width}),          Normal({rows, width}), dropout};
      const Matrix g = ToMatrix(in.g), gamma = ToMatrix(in.gamma), beta = ToMatrix(in.beta);
      Matrix ds(rows, width), dx(rows, width);
      for (int64_t t = 0; t < rows; ++t) {
        std::vector<double> s = in.Sum(t);
        const auto loss = [&] {
          const Row row = Normalize(s, gamma, beta);
          double sum = 0;
          for (int64_t i = 0; i < width; ++i) sum += g(t, i) * row.y[static_cast<size_t>(i)];
          return sum;
        };
        for (int64_t i = 0; i < width; ++i) {
          double& value = s[static_cast<size_t>(i)];
          const double before = value, h = 1e-4;
          value = before + h;
          const double up = loss();
          value = before - h;
          ds(t, i) = (up - loss()) / (2 * h);
          value = before;
          dx(t, i) = ds(t, i) * Keep(dropout, static_cast<uint64_t>(t * width + i));
        }
      }
      const auto kept = ops::AddLayerNorm(in.x, in.residual, dropout, in.gamma, in.beta, kEps, true);
      const auto result = ops::AddLayerNormGradient(in.g, kept.normalized, kept.rstd, in.gamma, dropout);
      EXPECT_LE(Distance(result.residual, ds), tolerance(2));
      EXPECT_LE(Distance(result.x, dx), tolerance(2));
      EXPECT_EQ(result.x.is_same(result.residual), !dropout.active());
    }
  }
}

TEST_P(LayerNormTest, WeightGradientsAddSumsOverRows) {
  for (const Shape& shape : kShapes) {
    const int64_t rows = shape.rows, width = shape.width;
    const at::Tensor g = Normal({rows, width}), normalized = Normal({rows, width});
    const at::Tensor grad_gamma = Filled32({width}, 1), grad_beta = Filled32({width}, -2);
    ops::LayerNormWeightGradient(g, normalized, grad_gamma, grad_beta);
    const Matrix g64 = ToMatrix(g), n64 = ToMatrix(normalized);
    Matrix gamma(1, width, 1), beta(1, width, -2);
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t i = 0; i < width; ++i) {
        gamma(0, i) += g64(t, i) * n64(t, i);
        beta(0, i) += g64(t, i);
      }
    }
    EXPECT_LE(Distance(grad_gamma, gamma), 2e-6);
    EXPECT_LE(Distance(grad_beta, beta), 2e-6);
  }
}

}  // namespace
}  // namespace engram::nn
