// The theorem that gives lambda its unit, on streams where it is exact: y = x . w + noise of variance 1, inputs with
// one non-zero entry each, so that the Fisher is diagonal (the mean of x^2) and the posterior Gaussian. One Bayes unit
// must then give the least-squares solution of all data sets together. The penalties are those of the registered
// strategies, the optimizer is the one that trains encoders; only model and loss are replaced.

#include <array>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/continual/penalty_strategy.h"
#include "core/train/adamw.h"
#include "tests/unit/tiny_model.h"

namespace engram::continual {
namespace {

constexpr int64_t kWidth = 6;
using Weights = std::array<double, kWidth>;

// The sufficient statistics of one data set.
struct Data {
  Weights xx{}, xy{};
  int64_t rows = 0;

  Data operator+(const Data& other) const {
    Data sum = *this;
    for (int64_t j = 0; j < kWidth; ++j) {
      sum.xx[j] += other.xx[j];
      sum.xy[j] += other.xy[j];
    }
    sum.rows += other.rows;
    return sum;
  }
  Weights Solution() const {
    Weights w{};
    for (int64_t j = 0; j < kWidth; ++j) w[j] = xy[j] / xx[j];
    return w;
  }
};

Data Draw(int64_t rows, double shift, uint64_t seed) {
  Data data;
  data.rows = rows;
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < rows; ++i) {
    const auto j = random.NextBelow(kWidth);
    const double x = 0.5 + random.NextDouble(), y = x * (0.5 * static_cast<double>(j) + shift) + random.NextNormal();
    data.xx[j] += x * x;
    data.xy[j] += x * y;
  }
  return data;
}

// The regression's weights are the first of an encoder's; all others have no gradient and no importance.
std::unique_ptr<nn::Model> Carrier() { return TinyModel({"b"}, 2); }

at::Tensor ToTensor(const Weights& values) {
  static const int64_t elements = Carrier()->EncoderElements();
  at::Tensor tensor = at::zeros({elements}, at::kFloat);
  for (int64_t j = 0; j < kWidth; ++j) tensor.mutable_data_ptr<float>()[j] = static_cast<float>(values[j]);
  return tensor;
}

Consolidation Consolidate(const std::string& task, const Data& data, const Weights& anchor) {
  Weights fisher{};
  for (int64_t j = 0; j < kWidth; ++j) fisher[j] = data.xx[j] / static_cast<double>(data.rows);
  Consolidation made;
  made.task = task;
  made.training_examples = made.samples = data.rows;
  made.fisher = ToTensor(fisher);
  made.anchor = ToTensor(anchor);
  return made;
}

// Minimises the mean squared error / 2 on `data` with the strategy's penalties, from `start`.
Weights Learn(const Data& data, const std::string& strategy, double gamma, std::vector<Consolidation> consolidations,
              const Weights& start, const char* centre = "own") {
  constexpr int kSteps = 2000;
  std::map<std::string, std::string> options = {
      {"lambda", "1"}, {"penalty_mode", "coupled"}, {"gamma", absl::StrCat(gamma)}, {"centre", centre}};
  std::erase_if(options,
                [&](const auto& option) { return (*FindStrategy(strategy))->options.Find(option.first) == nullptr; });
  const auto made = MakeStrategy(strategy, options, {FromMemory(std::move(consolidations))});
  EXPECT_TRUE(made.ok()) << made.status();
  const auto model = Carrier();
  train::TaskSetup setup(*model);
  setup.training_units = data.rows;
  EXPECT_TRUE((*made)->BeginTask(setup).ok());
  const std::vector<train::QuadraticPenalty> penalties = (*made)->Penalties();

  nn::ParameterBuffer& buffer = model->parameters();
  buffer.EnableGradients();
  const at::Tensor initial = ToTensor(start);
  buffer.weights().narrow(0, 0, initial.numel()).copy_(initial);
  train::AdamWOptions adamw;
  adamw.weight_decay = 0;
  train::AdamW optimizer(&buffer, model->EncoderSlots(), adamw);
  for (int step = 0; step < kSteps; ++step) {
    for (int64_t j = 0; j < kWidth; ++j) {
      const double w = buffer.weights().const_data_ptr<float>()[j];
      buffer.gradients().mutable_data_ptr<float>()[j] =
          static_cast<float>((data.xx[j] * w - data.xy[j]) / static_cast<double>(data.rows));
    }
    optimizer.Step(0.05 * (1 - static_cast<double>(step) / kSteps), 1, penalties);
  }
  Weights learned{};
  for (int64_t j = 0; j < kWidth; ++j) learned[j] = buffer.weights().const_data_ptr<float>()[j];
  return learned;
}

void ExpectNear(const Weights& actual, const Weights& expected) {
  for (int64_t j = 0; j < kWidth; ++j) EXPECT_NEAR(actual[j], expected[j], 1e-4) << "weight " << j;
}

class LinearGaussian : public ::testing::Test {
 protected:
  const Data a_ = Draw(90, 0, 1), b_ = Draw(30, 3, 2), c_ = Draw(60, -2, 3);
  const Weights after_a_ = a_.Solution();
};

TEST_F(LinearGaussian, OneBayesUnitOfEwcIsJointTraining) {
  EXPECT_DOUBLE_EQ(BayesStrength(1, a_.rows, b_.rows), 3);
  ExpectNear(Learn(b_, "ewc", 1, {Consolidate("a", a_, after_a_)}, after_a_), (a_ + b_).Solution());
  // Without it the weights are those of B alone, which are far away: the stream has something to forget.
  const Weights naive = Learn(b_, "naive", 1, {}, after_a_);
  ExpectNear(naive, b_.Solution());
  for (int64_t j = 0; j < kWidth; ++j) EXPECT_GT(std::abs(naive[j] - (a_ + b_).Solution()[j]), 0.5);
}

TEST_F(LinearGaussian, OnlineEwcIsJointTrainingOverThreeTasks) {
  const Consolidation a = Consolidate("a", a_, after_a_);
  const Weights after_b = Learn(b_, "online_ewc", 1, {a}, after_a_);
  ExpectNear(after_b, (a_ + b_).Solution());
  const Weights after_c = Learn(c_, "online_ewc", 1, {a, Consolidate("b", b_, after_b)}, after_b);
  ExpectNear(after_c, (a_ + b_ + c_).Solution());
}

// Two tasks back with gamma: the minimum of the quadratic 1/2 gamma (gamma N_A F_A + N_B F_B) (w - anchor_B)^2 beside
// C.
TEST_F(LinearGaussian, GammaFadesInTheUpdateAndInThePenalty) {
  constexpr double kGamma = 0.5;
  const Weights after_b = (a_ + b_).Solution();
  const Weights after_c =
      Learn(c_, "online_ewc", kGamma, {Consolidate("a", a_, after_a_), Consolidate("b", b_, after_b)}, after_b);
  Weights expected{};
  for (int64_t j = 0; j < kWidth; ++j) {
    const double precision = kGamma * (kGamma * a_.xx[j] + b_.xx[j]);
    expected[j] = (precision * after_b[j] + c_.xy[j]) / (precision + c_.xx[j]);
  }
  ExpectNear(after_c, expected);
}

// One quadratic for each task around its own anchor. As B's anchor already remembers A, A counts twice (Huszar, PNAS
// 2018): this is the original's rule, not joint training.
TEST_F(LinearGaussian, SeparateQuadraticsEachPullToTheirOwnAnchor) {
  const Weights after_b = (a_ + b_).Solution();
  const Weights after_c = Learn(c_, "ewc", 1, {Consolidate("a", a_, after_a_), Consolidate("b", b_, after_b)}, after_b);
  Weights expected{};
  for (int64_t j = 0; j < kWidth; ++j) {
    expected[j] = (a_.xx[j] * after_a_[j] + b_.xx[j] * after_b[j] + c_.xy[j]) / (a_.xx[j] + b_.xx[j] + c_.xx[j]);
  }
  ExpectNear(after_c, expected);
}

// With the quadratics of both around B's anchor A counts once.
TEST_F(LinearGaussian, QuadraticsAroundTheLatestAnchorAreJointTraining) {
  const Weights after_b = (a_ + b_).Solution();
  const Weights after_c =
      Learn(c_, "ewc", 1, {Consolidate("a", a_, after_a_), Consolidate("b", b_, after_b)}, after_b, "latest");
  ExpectNear(after_c, (a_ + b_ + c_).Solution());
}

}  // namespace
}  // namespace engram::continual
