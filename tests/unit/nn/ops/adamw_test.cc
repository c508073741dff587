#include "core/nn/ops/adamw/adamw.h"

#include <functional>
#include <limits>

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/zeros_like.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using AdamWTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, AdamWTest, ::testing::ValuesIn(Fp32Cases()), OpCaseName);

// Several of the CPU kernel's chunks (65,536) and blocks (4,096), none of them whole; two frozen gaps.
constexpr int64_t kSize = 71'003;
const std::vector<ops::ElementRange> kRanges = {{5, 66'000, true}, {66'017, 71'000, false}};

bool Trains(int64_t i) { return (i >= 5 && i < 66'000) || (i >= 66'017 && i < 71'000); }

// Penalties on parts of the weights, importances spread so that k = lr * strength * importance lies on both sides of 2.
class AdamWCase {
 public:
  explicit AdamWCase(std::function<at::Tensor(double)> normal) : normal_(std::move(normal)) {
    a_.weights = normal_(1);
    a_.gradients = normal_(1);
    a_.first_moment = at::zeros_like(a_.weights);
    a_.second_moment = at::zeros_like(a_.weights);
    a_.compute = a_.weights.to(at::kBFloat16);
    a_.ranges = kRanges;
    a_.lr = 1e-3;
    a_.gradient_scale = 0.7;
    a_.beta1 = 0.8;
    a_.beta2 = 0.99;
    a_.epsilon = 1e-3;  // large enough to show where it stands
    a_.weight_decay = 0.3;
  }
  void AddPenalty(int64_t begin, int64_t end, double strength, double proximal_above) {
    const at::Tensor importance = normal_(1).square().mul_(normal_(1).square()).narrow(0, begin, end - begin);
    penalties_.push_back({importance.contiguous(), normal_(1).narrow(0, begin, end - begin).contiguous(), begin, end,
                          strength, proximal_above});
  }
  // Some steps of the op and of the header's formulas in fp64, with new gradients each.
  void Run(int64_t steps) {
    a_.penalties = penalties_;
    const at::Tensor before = a_.weights.clone(), compute_before = a_.compute.clone();
    Matrix w = ToMatrix(a_.weights), m(1, kSize), v(1, kSize);
    for (a_.step = 1; a_.step <= steps; ++a_.step) {
      a_.gradients.copy_(normal_(1));
      std::vector<double> expected(penalties_.size());
      DefineStep(w, m, v, expected);
      const std::vector<double> values = ops::AdamWStep(a_);
      ASSERT_EQ(values.size(), expected.size());
      for (size_t p = 0; p < values.size(); ++p) EXPECT_NEAR(values[p], expected[p], 1e-5 * expected[p]) << p;
    }
    const Matrix got = ToMatrix(a_.weights);
    for (int64_t i = 0; i < kSize; ++i) {
      ASSERT_NEAR(got(0, i), w(0, i), 1e-5 * std::max(1.0, std::abs(w(0, i)))) << i;
    }
    CheckFrozen(before, compute_before);
    EXPECT_LE(Distance(a_.compute.narrow(0, 5, 65'995), ToMatrix(a_.weights.narrow(0, 5, 65'995).to(at::kBFloat16))),
              0);
    EXPECT_LE(
        Distance(a_.compute.narrow(0, 66'017, 4'983), ToMatrix(a_.weights.narrow(0, 66'017, 4'983).to(at::kBFloat16))),
        0);
  }
  const ops::AdamWArguments& arguments() const { return a_; }

 private:
  void DefineStep(Matrix& w, Matrix& m, Matrix& v, std::vector<double>& values) const {
    const Matrix g32 = ToMatrix(a_.gradients);
    std::vector<Matrix> importance, anchor;
    for (const ops::AdamWPenalty& penalty : penalties_) {
      importance.push_back(ToMatrix(penalty.importance));
      anchor.push_back(ToMatrix(penalty.anchor));
    }
    for (int64_t i = 0; i < kSize; ++i) {
      if (!Trains(i)) continue;
      double& theta = w(0, i);
      double g = a_.gradient_scale * g32(0, i), weighted = 0, total = 0;
      for (size_t p = 0; p < penalties_.size(); ++p) {
        const ops::AdamWPenalty& penalty = penalties_[p];
        if (penalty.strength == 0 || i < penalty.begin || i >= penalty.end) continue;
        const double f = importance[p](0, i - penalty.begin), a = anchor[p](0, i - penalty.begin);
        const double k = a_.lr * penalty.strength * f;
        values[p] += 0.5 * penalty.strength * f * (theta - a) * (theta - a);
        if (k > penalty.proximal_above) {
          weighted += k * a;
          total += k;
        } else {
          g += penalty.strength * f * (theta - a);
        }
      }
      const auto t = static_cast<double>(a_.step);
      m(0, i) = a_.beta1 * m(0, i) + (1 - a_.beta1) * g;
      v(0, i) = a_.beta2 * v(0, i) + (1 - a_.beta2) * g * g;
      if (i < 66'000) theta -= a_.lr * a_.weight_decay * theta;
      theta -= a_.lr / (1 - std::pow(a_.beta1, t)) * m(0, i) /
               (std::sqrt(v(0, i)) / std::sqrt(1 - std::pow(a_.beta2, t)) + a_.epsilon);
      theta = (theta + weighted) / (1 + total);
    }
  }
  void CheckFrozen(const at::Tensor& before, const at::Tensor& compute_before) const {
    for (const ops::ElementRange& gap :
         {ops::ElementRange{0, 5}, ops::ElementRange{66'000, 66'017}, ops::ElementRange{71'000, kSize}}) {
      const auto part = [&](const at::Tensor& all) { return all.narrow(0, gap.begin, gap.end - gap.begin); };
      EXPECT_TRUE(at::equal(part(a_.weights), part(before)));
      EXPECT_TRUE(at::equal(part(a_.compute), part(compute_before)));
      EXPECT_TRUE(part(a_.first_moment).eq(0).all().item<bool>());
      EXPECT_TRUE(part(a_.second_moment).eq(0).all().item<bool>());
    }
  }

  std::function<at::Tensor(double)> normal_;
  std::vector<ops::AdamWPenalty> penalties_;
  ops::AdamWArguments a_;
};

constexpr double kNever = std::numeric_limits<double>::infinity();

TEST_P(AdamWTest, WithoutPenalties) {
  AdamWCase test([this](double scale) { return Normal32({kSize}, scale); });
  test.Run(4);
}

TEST_P(AdamWTest, WithACoupledPenalty) {
  AdamWCase test([this](double scale) { return Normal32({kSize}, scale); });
  test.AddPenalty(0, kSize, 500, kNever);
  test.Run(4);
}

TEST_P(AdamWTest, WithAProximalPenalty) {
  AdamWCase test([this](double scale) { return Normal32({kSize}, scale); });
  test.AddPenalty(100, 70'000, 5000, -1);
  test.Run(4);
}

TEST_P(AdamWTest, WithAPenaltyThatChoosesForEachWeight) {
  AdamWCase test([this](double scale) { return Normal32({kSize}, scale); });
  test.AddPenalty(0, kSize, 3000, 2);
  test.Run(4);
}

// Of every kind, on ranges that overlap and cross the frozen gap; one of strength 0 takes no part at all, whatever it
// holds.
TEST_P(AdamWTest, WithSeveralPenaltiesAtOnce) {
  AdamWCase test([this](double scale) { return Normal32({kSize}, scale); });
  test.AddPenalty(0, 40'000, 800, kNever);
  test.AddPenalty(30'001, 70'900, 2500, 2);
  test.AddPenalty(3'000, 5'000, 900, -1);
  test.AddPenalty(4'500, 69'000, 4000, -1);
  test.AddPenalty(0, kSize, 0, 2);
  test.Run(3);
}

TEST_P(AdamWTest, AnImportanceWithoutBoundPinsTheWeightToItsAnchor) {
  AdamWCase test([this](double scale) { return Normal32({kSize}, scale); });
  ops::AdamWArguments a = test.arguments();
  const at::Tensor anchor = Normal32({kSize});
  const std::vector<ops::AdamWPenalty> penalties = {{Filled32({kSize}, 3e38), anchor, 0, kSize, 1e6, 2}};
  a.penalties = penalties;
  ops::AdamWStep(a);
  const Matrix w = ToMatrix(a.weights), pinned = ToMatrix(anchor);
  for (int64_t i = 0; i < kSize; ++i) {
    if (!Trains(i)) continue;
    ASSERT_NEAR(w(0, i), pinned(0, i), 1e-6 * std::max(1.0, std::abs(pinned(0, i)))) << i;
  }
}

TEST_P(AdamWTest, GradientNormCoversTheRangesAlone) {
  const at::Tensor g = Normal32({kSize});
  const Matrix g64 = ToMatrix(g);
  double sum = 0;
  for (int64_t i = 0; i < kSize; ++i) sum += Trains(i) ? g64(0, i) * g64(0, i) : 0;
  EXPECT_NEAR(ops::GradientNorm(g, kRanges) / std::sqrt(sum), 1, 1e-12);
  g.narrow(0, 2, 1).fill_(NAN);
  g.narrow(0, 66'003, 1).fill_(INFINITY);
  EXPECT_NEAR(ops::GradientNorm(g, kRanges) / std::sqrt(sum), 1, 1e-12) << "frozen elements";
  g.narrow(0, 70'999, 1).fill_(INFINITY);
  EXPECT_TRUE(std::isinf(ops::GradientNorm(g, kRanges)));
  g.narrow(0, 5, 1).fill_(NAN);
  EXPECT_TRUE(std::isnan(ops::GradientNorm(g, kRanges)));
  EXPECT_EQ(ops::GradientNorm(g, {}), 0);
  EXPECT_NEAR(ops::GradientNorm(Filled32({kSize}, 1e30), kRanges) / (1e30 * std::sqrt(70'978.0)), 1, 1e-7)
      << "squares beyond fp32's range";
}

}  // namespace
}  // namespace engram::nn
