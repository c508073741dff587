// The parts of training that have closed forms.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "core/train/adamw.h"
#include "core/train/batches.h"
#include "core/train/divergence.h"
#include "core/train/evaluate.h"
#include "core/train/schedule.h"
#include "core/train/train_options.h"
#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

TEST(Schedule, ClosedForms) {
  EXPECT_EQ(WarmupSteps(0.06, 100), 6);
  EXPECT_EQ(WarmupSteps(0.061, 100), 7);
  EXPECT_DOUBLE_EQ(ScheduleFactor(ScheduleKind::kLinear, 0, 4, 20), 0);
  EXPECT_DOUBLE_EQ(ScheduleFactor(ScheduleKind::kLinear, 2, 4, 20), 0.5);
  EXPECT_DOUBLE_EQ(ScheduleFactor(ScheduleKind::kLinear, 12, 4, 20), 0.5);
  EXPECT_DOUBLE_EQ(ScheduleFactor(ScheduleKind::kCosine, 12, 4, 20), 0.5);
  EXPECT_DOUBLE_EQ(ScheduleFactor(ScheduleKind::kCosine, 8, 4, 20), 0.5 * (1 + std::cos(M_PI / 4)));
  EXPECT_DOUBLE_EQ(ScheduleFactor(ScheduleKind::kConstant, 19, 4, 20), 1);
}

TEST(Batches, EveryExampleOnceWithinTheBudgetAndTheSameForTheSameSeed) {
  std::vector<int32_t> lengths;
  RandomStream random(1, RandomPurpose::kSubset, 0);
  for (int i = 0; i < 203; ++i) lengths.push_back(static_cast<int32_t>(2 + random.NextBelow(60)));
  for (const BatchOrder order : {BatchOrder::kLengthGrouped, BatchOrder::kRandom, BatchOrder::kArrival}) {
    const BatchOptions options{16, 300, order, 5};
    const auto batches = MakeBatches(lengths, options, 0);
    std::vector<int64_t> seen;
    for (const auto& batch : batches) {
      int64_t tokens = 0;
      for (const int64_t i : batch) tokens += lengths[i];
      EXPECT_LE(batch.size(), 16);
      EXPECT_TRUE(tokens <= 300 || batch.size() == 1);
      seen.insert(seen.end(), batch.begin(), batch.end());
    }
    EXPECT_EQ(batches, MakeBatches(lengths, options, 0));
    EXPECT_EQ(batches == MakeBatches(lengths, options, 1), order == BatchOrder::kArrival);
    std::sort(seen.begin(), seen.end());
    std::vector<int64_t> all(203);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(seen, all);
  }
}

TEST(ValidationSplit, HoldsOutWholeTexts) {
  // 40 texts of 1 to 5 windows each, as a tagger's long sentences have them.
  std::vector<int64_t> texts;
  for (int64_t text = 0; text < 40; ++text) texts.insert(texts.end(), static_cast<size_t>(1 + text % 5), text);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const ValidationSplit split = SplitValidation(texts, 0.2, seed);
    std::set<int64_t> training, validation;
    for (const int64_t i : split.training) training.insert(texts[static_cast<size_t>(i)]);
    for (const int64_t i : split.validation) validation.insert(texts[static_cast<size_t>(i)]);
    EXPECT_EQ(validation.size(), 8U);
    EXPECT_EQ(split.validation_texts, 8);
    EXPECT_EQ(training.size(), 32U);
    for (const int64_t text : validation) EXPECT_FALSE(training.contains(text)) << text << " stands on both sides";
    EXPECT_EQ(split.training.size() + split.validation.size(), texts.size());
    EXPECT_TRUE(std::is_sorted(split.training.begin(), split.training.end()));
    EXPECT_TRUE(std::is_sorted(split.validation.begin(), split.validation.end()));
  }
  EXPECT_NE(SplitValidation(texts, 0.2, 1).validation, SplitValidation(texts, 0.2, 2).validation);
  // Texts that nobody knows are one each; a single text cannot be split.
  EXPECT_EQ(SplitValidation(std::vector<int64_t>(10, -1), 0.3, 1).validation.size(), 3U);
  EXPECT_TRUE(SplitValidation(std::vector<int64_t>(10, 4), 0.3, 1).validation.empty());
  EXPECT_EQ(SplitValidation(std::vector<int64_t>{0, 1}, 0.01, 1).validation.size(), 1U);
}

TEST(Divergence, NotANumberAtOnceAndExplosionsAfterThreeSteps) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(StatusReason(DivergenceDetector(1).Check(4, nan, 1)), "TRAINING_DIVERGED");
  EXPECT_EQ(StatusReason(DivergenceDetector(1).Check(4, 1, infinity)), "TRAINING_DIVERGED");
  DivergenceDetector detector(std::log(3.0));
  for (int step = 1; step <= 20; ++step) ASSERT_TRUE(detector.Check(step, 1.0, 1).ok());
  ASSERT_TRUE(detector.Check(21, 50, 1).ok());  // one bad batch is none of its business
  ASSERT_TRUE(detector.Check(22, 1, 1).ok());
  DivergenceDetector resumed(std::log(3.0));
  resumed.Restore(detector.State());
  ASSERT_TRUE(resumed.Check(23, 50, 1).ok());
  ASSERT_TRUE(resumed.Check(24, 50, 1).ok());
  EXPECT_EQ(StatusReason(resumed.Check(25, 50, 1)), "TRAINING_DIVERGED");
}

// AdamW with penalties in fp64, as the header has the formulas.
struct Reference {
  std::vector<double> w, m, v;
  void Step(const std::vector<double>& g0, double lr, double scale, int64_t t, const AdamWOptions& o,
            const std::vector<bool>& decay, const std::vector<double>& f, const std::vector<double>& a, double strength,
            PenaltyMode mode) {
    for (size_t i = 0; i < w.size(); ++i) {
      const double k = lr * strength * f[i];
      const bool proximal = mode == PenaltyMode::kProximal || (mode == PenaltyMode::kAuto && k > 2);
      const double g = scale * g0[i] + (proximal ? 0 : strength * f[i] * (w[i] - a[i]));
      if (decay[i]) w[i] -= lr * o.weight_decay * w[i];
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
      w[i] -=
          lr / (1 - std::pow(o.beta1, t)) * m[i] / (std::sqrt(v[i]) / std::sqrt(1 - std::pow(o.beta2, t)) + o.epsilon);
      if (proximal) w[i] = (w[i] + k * a[i]) / (1 + k);
    }
  }
};

// Two earlier tasks that pull a weight with equal force to 0 and to 1, and nothing else: it comes to rest where the sum
// of the penalties is smallest.
TEST(AdamW, ProximalStepsOfTwoTasksMeetInTheMiddle) {
  nn::ParameterBuffer buffer(at::kCPU, nn::Precision::kFloat32);
  const auto slots = *buffer.Append({{"a.weight", {3}, false}});
  buffer.EnableGradients();
  std::vector<QuadraticPenalty> penalties(2);
  for (size_t task = 0; task < 2; ++task) {
    penalties[task].end = 3;
    penalties[task].importance = at::ones({3}, at::kFloat);
    penalties[task].anchor = at::full({3}, static_cast<double>(task), at::kFloat);
    penalties[task].strength = 10'000;  // k = 10
  }
  buffer.weights().fill_(7);
  AdamW optimizer(&buffer, slots, {});
  for (int64_t t = 1; t <= 20; ++t) optimizer.Step(1e-3, 1, penalties);
  EXPECT_NEAR(buffer.weights()[1].item<double>(), 0.5, 1e-5);
}

TEST(AdamW, EqualsAnFp64LoopWithEachPenaltyMode) {
  for (const PenaltyMode mode : {PenaltyMode::kAuto, PenaltyMode::kCoupled, PenaltyMode::kProximal}) {
    nn::ParameterBuffer buffer(at::kCPU, nn::Precision::kFloat32);
    const auto slots = *buffer.Append({{"a.weight", {37, 5}, true}, {"a.bias", {23}, false}});
    buffer.EnableGradients();
    const auto n = static_cast<size_t>(buffer.size());
    RandomStream random(3, RandomPurpose::kSubset, 0);
    Reference reference;
    std::vector<double> importance(n), anchor(n);
    std::vector<bool> decay(n);
    QuadraticPenalty penalty;
    penalty.end = buffer.size();
    penalty.importance = at::empty({penalty.end}, at::kFloat);
    penalty.anchor = at::empty({penalty.end}, at::kFloat);
    penalty.strength = 900;
    penalty.mode = mode;
    for (size_t i = 0; i < n; ++i) {
      const auto index = static_cast<int64_t>(i);
      const auto w = static_cast<float>(random.NextNormal()), a = static_cast<float>(random.NextNormal());
      const auto f = static_cast<float>(random.NextDouble() * (i % 3 == 0 ? 5 : 0.01));
      buffer.weights()[index].fill_(w);
      penalty.importance[index].fill_(f);
      penalty.anchor[index].fill_(a);
      reference.w.push_back(w);
      importance[i] = f;
      anchor[i] = a;
      decay[i] = i < 37 * 5;
    }
    reference.m.assign(n, 0);
    reference.v.assign(n, 0);
    AdamWOptions options;
    AdamW optimizer(&buffer, slots, options);
    for (int64_t t = 1; t <= 5; ++t) {
      std::vector<double> gradient(n);
      for (size_t i = 0; i < n; ++i) {
        const auto g = static_cast<float>(random.NextNormal());
        buffer.gradients()[static_cast<int64_t>(i)].fill_(g);
        gradient[i] = g;
      }
      double expected_penalty = 0;
      for (size_t i = 0; i < n; ++i) {
        expected_penalty += 0.5 * 900 * importance[i] * (reference.w[i] - anchor[i]) * (reference.w[i] - anchor[i]);
      }
      const std::vector<double> values = optimizer.Step(1e-3, 0.7, std::span(&penalty, 1));
      EXPECT_NEAR(values[0], expected_penalty, 1e-4 * expected_penalty);
      reference.Step(gradient, 1e-3, 0.7, t, options, decay, importance, anchor, 900, mode);
      for (size_t i = 0; i < n; ++i) {
        ASSERT_NEAR(buffer.weights()[static_cast<int64_t>(i)].item<float>(), reference.w[i], 2e-5)
            << "element " << i << " step " << t;
      }
    }
  }
}

TEST(AdamW, AStrengthOfZeroIsNoPenaltyToTheBit) {
  at::Tensor results[2];
  for (const int with : {0, 1}) {
    const auto model = TinyModel({"a"}, 2);
    nn::ParameterBuffer& buffer = model->parameters();
    buffer.EnableGradients();
    buffer.gradients().fill_(0.25);
    QuadraticPenalty penalty;
    penalty.end = buffer.size();
    penalty.importance = at::ones({penalty.end}, at::kFloat);
    penalty.anchor = at::zeros({penalty.end}, at::kFloat);
    AdamW optimizer(&buffer, model->EncoderSlots(), {});
    const auto penalties =
        with == 1 ? std::span<const QuadraticPenalty>(&penalty, 1) : std::span<const QuadraticPenalty>();
    for (int step = 0; step < 3; ++step) optimizer.Step(1e-2, 1, penalties);
    results[with] = buffer.weights().clone();
  }
  EXPECT_TRUE(at::equal(results[0], results[1]));
}

// Each slot as an optimizer of its own at its own rate would move it; one at 0 not at all, moments included.
TEST(AdamW, LearningRateScalesAreRatesOfTheirOwn) {
  const auto make = [](const nn::Model& model, const std::vector<nn::SlotId>& slots) {
    auto buffer = std::make_unique<nn::ParameterBuffer>(model.parameters());
    buffer->EnableGradients();
    buffer->gradients().copy_(at::arange(buffer->size(), at::kFloat).sin());
    auto optimizer = std::make_unique<AdamW>(buffer.get(), slots, AdamWOptions{});
    return std::pair(std::move(buffer), std::move(optimizer));
  };
  const auto model = TinyModel({"a"}, 2);
  const std::vector<nn::SlotId> slots = model->EncoderSlots();
  const nn::SlotId frozen = slots[0], slow = slots[3];
  const auto [buffer, optimizer] = make(*model, slots);
  const auto [at_rate, plain] = make(*model, slots);
  const auto [at_tenth, tenth] = make(*model, slots);
  optimizer->SetLearningRateScales({{frozen, 0}, {slow, 0.1}});
  const double norm = GradientNorm(*buffer, optimizer->ranges());
  EXPECT_NEAR(norm * norm,
              std::pow(GradientNorm(*buffer, plain->ranges()), 2) -
                  buffer->gradient_buffer()->Of(frozen).square().sum().item<double>(),
              1e-2);
  for (int step = 0; step < 3; ++step) {
    optimizer->Step(1e-2, 1, {});
    plain->Step(1e-2, 1, {});
    tenth->Step(1e-3, 1, {});
  }
  for (const nn::SlotId slot : slots) {
    const nn::ParameterSlice& slice = buffer->slice(slot);
    const at::Tensor expected = slot == frozen ? model->parameters().Weight(slot)
                                : slot == slow ? at_tenth->Weight(slot)
                                               : at_rate->Weight(slot);
    EXPECT_TRUE(at::equal(buffer->Weight(slot), expected)) << slice.name;
  }
  const nn::ParameterSlice& still = buffer->slice(frozen);
  EXPECT_EQ(optimizer->first_moment().narrow(0, still.offset, still.size).abs().max().item<double>(), 0);
  // Once it thaws it moves.
  optimizer->SetLearningRateScales({});
  optimizer->Step(1e-2, 1, {});
  EXPECT_FALSE(at::equal(buffer->Weight(frozen), model->parameters().Weight(frozen)));
}

TEST(Metrics, ByHand) {
  // Three classes; predictions 0 0 1 2 1, labels 0 1 1 2 2.
  const at::Tensor logits =
      at::tensor({2.F, 0.F, 0.F, 2.F, 0.F, 0.F, 0.F, 2.F, 0.F, 0.F, 0.F, 2.F, 0.F, 2.F, 0.F}).view({5, 3});
  const ClassificationMetrics m = ComputeClassificationMetrics(logits, std::vector<int64_t>{0, 1, 1, 2, 2});
  EXPECT_DOUBLE_EQ(m.accuracy, 0.6);
  EXPECT_EQ(m.confusion, (std::vector<int64_t>{1, 0, 0, 1, 1, 0, 0, 1, 1}));
  EXPECT_DOUBLE_EQ(m.classes[0].f1, 2.0 / 3);
  EXPECT_DOUBLE_EQ(m.classes[1].f1, 0.5);
  EXPECT_DOUBLE_EQ(m.classes[2].f1, 2.0 / 3);
  EXPECT_NEAR(m.macro_f1, (2.0 / 3 + 0.5 + 2.0 / 3) / 3, 1e-12);
  const double p = std::exp(2.0) / (std::exp(2.0) + 2), q = 1 / (std::exp(2.0) + 2);
  EXPECT_NEAR(m.negative_log_likelihood, -(3 * std::log(p) + 2 * std::log(q)) / 5, 1e-9);
  EXPECT_NEAR(m.expected_calibration_error, std::abs(p - 0.6), 1e-9);  // all in one bin
  const double right = (1 - p) * (1 - p) + 2 * q * q, wrong = p * p + (1 - q) * (1 - q) + q * q;
  EXPECT_NEAR(m.brier, (3 * right + 2 * wrong) / 5, 1e-9);
}

TEST(TrainOptions, RoundTripAndRefusals) {
  TrainOptions options;
  options.lr = 1.0 / 3;
  options.dropout = 0.05;
  TrainOptions back;
  for (const auto& [key, value] : TrainOptionsToMap(options)) ASSERT_TRUE(SetTrainOption(back, key, value).ok()) << key;
  EXPECT_EQ(TrainOptionsToMap(back), TrainOptionsToMap(options));
  EXPECT_EQ(ShowTrainOptions(options).at("warmup_ratio"), "0.06");
  EXPECT_EQ(StatusField(SetTrainOption(back, "lerning_rate", "1")), "lerning_rate");
  EXPECT_EQ(StatusField(SetTrainOption(back, "epochs", "three")), "epochs");
  options.lr = -1;
  EXPECT_EQ(StatusField(ValidateTrainOptions(options)), "lr");
  options = {};
  options.batch_size = 0;
  EXPECT_EQ(StatusField(ValidateTrainOptions(options)), "batch_size");
  options.batch_tokens = 15;
  EXPECT_EQ(StatusField(ValidateTrainOptions(options)), "batch_tokens");
  options.batch_tokens = 16;
  EXPECT_TRUE(ValidateTrainOptions(options).ok());
  EXPECT_EQ(ParseTrainOptions({{"dropout", "model"}, {"precision", "bf16"}})->precision, PrecisionChoice::kBFloat16);
}

// Every option may take both ends of its range and nothing beyond: the ranges as they were published.
TEST(TrainOptions, Ranges) {
  struct Case {
    const char *name, *lowest, *highest, *below, *above;
  };
  for (const Case& c : std::vector<Case>{{"lr", "1e-12", "1", "0", "1.001"},
                                         {"epochs", "1", "1000", "0", "1001"},
                                         {"batch_size", "0", "4096", "-1", "4097"},
                                         {"batch_tokens", "0", "1048576", "-1", "1048577"},
                                         {"accumulation", "1", "1024", "0", "1025"},
                                         {"warmup_ratio", "0", "1", "-0.1", "1.1"},
                                         {"warmup_steps", "0", "1000000000", "-1", "1000000001"},
                                         {"weight_decay", "0", "1", "-0.1", "1.1"},
                                         {"beta1", "0", "0.999999", "-0.1", "1"},
                                         {"beta2", "0", "0.999999", "-0.1", "1"},
                                         {"epsilon", "1e-12", "1", "0", "1.1"},
                                         {"max_grad_norm", "0", "1e6", "-1", "1e7"},
                                         {"dropout", "0", "0.9", "-0.1", "0.91"},
                                         {"seed", "0", "18446744073709551615", "-1", "18446744073709551616"},
                                         {"max_length", "8", "1048576", "7", "1048577"},
                                         {"validation_fraction", "0", "0.5", "-0.1", "0.51"},
                                         {"early_stopping_patience", "0", "1000", "-1", "1001"},
                                         {"checkpoint_every_steps", "0", "1000000000", "-1", "1000000001"}}) {
    TrainOptions options;
    EXPECT_TRUE(SetTrainOption(options, c.name, c.lowest).ok()) << c.name;
    EXPECT_TRUE(SetTrainOption(options, c.name, c.highest).ok()) << c.name;
    EXPECT_EQ(StatusField(SetTrainOption(options, c.name, c.below)), c.name);
    EXPECT_EQ(StatusField(SetTrainOption(options, c.name, c.above)), c.name);
  }
  for (const auto& [name, choice] : std::vector<std::pair<const char*, const char*>>{{"order", "length_grouped"},
                                                                                     {"order", "random"},
                                                                                     {"order", "arrival"},
                                                                                     {"schedule", "constant"},
                                                                                     {"schedule", "linear"},
                                                                                     {"schedule", "cosine"},
                                                                                     {"precision", "auto"},
                                                                                     {"precision", "fp32"}}) {
    TrainOptions options;
    ASSERT_TRUE(SetTrainOption(options, name, choice).ok()) << choice;
    EXPECT_EQ(TrainOptionsToMap(options).at(name), choice);
    EXPECT_EQ(StatusField(SetTrainOption(options, name, "other")), name);
  }
}

}  // namespace
}  // namespace engram::train
