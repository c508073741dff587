#include "core/nn/ops/linear/linear.h"

#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using LinearTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, LinearTest, ::testing::ValuesIn(OpCases()), OpCaseName);

// a [n, k] b [k, m]
Matrix Product(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.width);
  for (int64_t n = 0; n < a.rows; ++n) {
    for (int64_t k = 0; k < a.width; ++k) {
      for (int64_t m = 0; m < b.width; ++m) c(n, m) += a(n, k) * b(k, m);
    }
  }
  return c;
}
Matrix Transposed(const Matrix& a) {
  Matrix t(a.width, a.rows);
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.width; ++c) t(c, r) = a(r, c);
  }
  return t;
}

constexpr int64_t kRows = 37, kIn = 90, kOut = 50;

TEST_P(LinearTest, IsXTimesWTransposedPlusB) {
  const at::Tensor x = Normal({kRows, kIn}), w = Normal({kOut, kIn}), b = Normal({kOut});
  Matrix y = Product(ToMatrix(x), Transposed(ToMatrix(w)));
  EXPECT_LE(Distance(ops::Linear(x, w, at::Tensor()), y), tolerance());
  EXPECT_LE(Distance(ops::Linear(x, w.t().contiguous().t(), at::Tensor()), y), tolerance()) << "a transposed view";
  const Matrix bias = ToMatrix(b);
  for (int64_t t = 0; t < kRows; ++t) {
    for (int64_t o = 0; o < kOut; ++o) y(t, o) += bias(0, o);
  }
  EXPECT_LE(Distance(ops::Linear(x, w, b), y), tolerance());
  const at::Tensor packed = ops::PackWeight(w);
  EXPECT_LE(Distance(ops::Linear(x, packed.defined() ? packed : w, b), y), tolerance());
  EXPECT_EQ(ops::Linear(x.narrow(0, 0, 0), w, b).sizes(), at::IntArrayRef({0, kOut}));
}

TEST_P(LinearTest, InputGradientIsGTimesW) {
  const at::Tensor g = Normal({kRows, kOut}), w = Normal({kOut, kIn});
  EXPECT_LE(Distance(ops::LinearInputGradient(g, w), Product(ToMatrix(g), ToMatrix(w))), tolerance());
}

TEST_P(LinearTest, WeightGradientAddsGTransposedTimesXAndTheSumOfG) {
  const at::Tensor g = Normal({kRows, kOut}), x = Normal({kRows, kIn});
  const at::Tensor grad_w = Filled32({kOut, kIn}, 2), grad_b = Filled32({kOut}, 3);
  ops::LinearWeightGradient(g, x, grad_w, grad_b);
  Matrix w = Product(Transposed(ToMatrix(g)), ToMatrix(x)), b(1, kOut, 3);
  for (double& value : w.values) value += 2;
  const Matrix g64 = ToMatrix(g);
  for (int64_t t = 0; t < kRows; ++t) {
    for (int64_t o = 0; o < kOut; ++o) b(0, o) += g64(t, o);
  }
  EXPECT_LE(Distance(grad_w, w), tolerance());
  EXPECT_LE(Distance(grad_b, b), 2e-6);
  ops::LinearWeightGradient(g, at::Tensor(), at::Tensor(), grad_b);  // the bias alone
  ops::LinearWeightGradient(g, x, grad_w, at::Tensor());             // the weight alone
  for (int64_t t = 0; t < kRows; ++t) {
    for (int64_t o = 0; o < kOut; ++o) b(0, o) += g64(t, o);
  }
  for (double& value : w.values) value = 2 * value - 2;
  EXPECT_LE(Distance(grad_b, b), 2e-6);
  EXPECT_LE(Distance(grad_w, w), tolerance());
}

}  // namespace
}  // namespace engram::nn
