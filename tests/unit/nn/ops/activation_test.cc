#include "core/nn/ops/activation/activation.h"

#include <bit>
#include <functional>
#include <map>

#include "ATen/ops/ones_like.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using ActivationTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, ActivationTest, ::testing::ValuesIn(OpCases()), OpCaseName);

// Every activation that a config.json may name, as its paper has it.
const std::map<Activation, std::function<double(double)>>& Definitions() {
  static const std::map<Activation, std::function<double(double)>> definitions = {
      {Activation::kGelu, [](double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }},
      {Activation::kGeluTanh,
       [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {Activation::kRelu, [](double x) { return std::max(x, 0.0); }},
      {Activation::kSilu, [](double x) { return x / (1 + std::exp(-x)); }},
      {Activation::kTanh, [](double x) { return std::tanh(x); }}};
  return definitions;
}

// The derivative by central differences of fourth order: good to 1e-11, and no formula of ours is in it.
double Derivative(const std::function<double(double)>& f, double x) {
  const double h = 1e-3;
  return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h);
}

// fp32: a fine grid. bf16: every number there is from 2^-10 to 16, and 0.
at::Tensor Points(bool fp32) {
  std::vector<float> points = {0};
  if (fp32) {
    for (int i = 1; i <= 1600; ++i) points.push_back(static_cast<float>(0.0099 * i));
  } else {
    for (uint32_t bits = 0x3A80; bits <= 0x4180; ++bits) points.push_back(std::bit_cast<float>(bits << 16));
  }
  const size_t positive = points.size();
  for (size_t i = 1; i < positive; ++i) points.push_back(-points[i]);
  return at::tensor(points);
}

// Half a unit in the last place, and what a kernel's own exp and erf may be off.
double Bar(double expected, bool fp32) {
  return fp32 ? 1e-6 * std::abs(expected) + 2e-6 : std::abs(expected) / 256 + 2e-6;
}

TEST_P(ActivationTest, EveryActivationIsItsDefinition) {
  const at::Tensor x = Points(fp32()).unsqueeze(1).to(device(), dtype());
  const at::Tensor one = Filled32({1, 1}, 1).to(dtype());
  const Matrix x64 = ToMatrix(x);
  for (const auto& [activation, f] : Definitions()) {
    const Matrix y = ToMatrix(ops::LinearActivation(x, one, at::Tensor(), activation, nullptr));
    for (int64_t i = 0; i < y.rows; ++i) {
      ASSERT_NEAR(y(i, 0), f(x64(i, 0)), Bar(f(x64(i, 0)), fp32())) << static_cast<int>(activation) << " " << x64(i, 0);
    }
  }
}

TEST_P(ActivationTest, EveryGradientIsTheDerivativeOfTheDefinition) {
  const at::Tensor x = Points(fp32()).to(device(), dtype());
  const Matrix x64 = ToMatrix(x);
  for (const double factor : {1.0, -0.5}) {  // exact in both dtypes
    const at::Tensor g = at::ones_like(x) * factor;
    for (const auto& [activation, f] : Definitions()) {
      const Matrix gradient = ToMatrix(ops::ActivationGradient(g, x, activation));
      for (int64_t i = 0; i < x64.width; ++i) {
        const double at_x = x64(0, i);
        double expected = factor * Derivative(f, at_x);
        if (activation == Activation::kRelu) expected = at_x > 0 ? factor : 0;  // the kink: no differences across it
        ASSERT_NEAR(gradient(0, i), expected, Bar(expected, fp32())) << static_cast<int>(activation) << " " << at_x;
      }
    }
  }
}

TEST_P(ActivationTest, BehindALinearLayerKeepsWhatTheGradientNeeds) {
  const at::Tensor x = Normal({21, 33}), w = Normal({18, 33}), b = Normal({18});
  const Matrix x64 = ToMatrix(x), w64 = ToMatrix(w), b64 = ToMatrix(b);
  Matrix pre(21, 18);
  for (int64_t t = 0; t < pre.rows; ++t) {
    for (int64_t o = 0; o < pre.width; ++o) {
      pre(t, o) = b64(0, o);
      for (int64_t i = 0; i < x64.width; ++i) pre(t, o) += x64(t, i) * w64(o, i);
    }
  }
  for (const auto& [activation, f] : Definitions()) {
    Matrix y = pre;
    for (double& value : y.values) value = f(value);
    at::Tensor kept;
    EXPECT_LE(Distance(ops::LinearActivation(x, w, b, activation, &kept), y), tolerance(3));
    EXPECT_LE(Distance(kept, pre), tolerance());
    EXPECT_LE(Distance(ops::LinearActivation(x, w, b, activation, nullptr), y), tolerance(3));
  }
}

}  // namespace
}  // namespace engram::nn
