// The low-rank strategies against fp64 algebra on the gradients and weights of every step: W is what its factors say,
// the factors get W's gradient by the chain rule, nothing else of the encoder moves, and what each penalty adds.

#include <cmath>
#include <set>

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "core/continual/importance.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

constexpr double kScale = 3.0 / 2;  // alpha / rank of kOptions

// Keeps what AfterClipping adds to the gradients, and where.
class ClippingProbe final : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status BeginTask(train::TaskSetup& setup) override {
    const absl::Status status = Forwarding::BeginTask(setup);
    slices = setup.model.parameters().slices();
    begun = setup.model.parameters().weights().clone();
    trainable = setup.trainable;
    return status;
  }
  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
    raw.push_back(view.gradients.to(at::kDouble));
    before.push_back(view.weights.to(at::kDouble));
    const absl::Status status = Forwarding::OnGradients(view, info);
    used.push_back(view.gradients.to(at::kDouble));
    return status;
  }
  absl::StatusOr<double> AfterClipping(const train::ParameterView& view, const train::StepInfo& info,
                                       double scale) override {
    const at::Tensor left = view.gradients.to(at::kDouble);
    auto value = Forwarding::AfterClipping(view, info, scale);
    added.push_back((view.gradients.to(at::kDouble) - left) * scale);
    scales.push_back(scale);
    values.push_back(value.ok() ? *value : NAN);
    return value;
  }
  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    before.push_back(setup.model.parameters().weights().to(at::kDouble));
    return Forwarding::EndTask(setup, memory);
  }
  at::Tensor Of(const at::Tensor& flat, const std::string& name) const {
    for (const nn::ParameterSlice& slice : slices) {
      if (slice.name == name) return flat.narrow(0, slice.offset, slice.size).view(slice.shape);
    }
    ADD_FAILURE() << "no parameter " << name;
    return at::zeros({1, 1}, at::kDouble);
  }

  std::vector<nn::ParameterSlice> slices;
  std::vector<nn::SlotId> trainable;
  at::Tensor begun;
  std::vector<at::Tensor> raw, used, before, added;  // before: and the end's
  std::vector<double> scales, values;
};

class LowRank : public StrategyProbe {
 protected:
  // The matrices of the encoder that "query_value" means.
  static std::vector<std::string> Targets() {
    std::vector<std::string> names;
    for (const char* layer : {"0", "1"}) {
      for (const char* part : {"query", "value"})
        names.push_back(absl::StrCat("encoder.layer.", layer, ".attention.self.", part, ".weight"));
    }
    return names;
  }
  train::VersionMemory Run(nn::Model& model, ClippingProbe& probe, const std::string& task,
                           const std::vector<train::TrainingExample>& examples, double max_norm = 1) {
    train::TrainOptions options = RunOptions();
    options.max_grad_norm = max_norm;
    const auto result = train::Train(model, options, Input(task, examples, &probe));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->memory : train::VersionMemory();
  }
  static double Off(const at::Tensor& is, const at::Tensor& expected) {
    return (is - expected).abs().max().item<double>() / expected.abs().max().item<double>();
  }
  const Options options_{{"rank", "2"}, {"alpha", "3"}};
  const std::vector<train::TrainingExample> first_ = TinyExamples(40, kLabels, 1),
                                            second_ = TinyExamples(40, kLabels, 9);
};

TEST_F(LowRank, WeightsAreWhatTheFactorsSayAndFactorsGetTheWeightsGradient) {
  for (const char* name : {"lora", "olora", "ewc_lora"}) {
    const auto strategy = Make(name, options_, {});
    ClippingProbe probe(*strategy);
    const auto model = TinyModel({"a", "b"}, kLabels);
    Run(*model, probe, "a", first_);
    ASSERT_EQ(probe.raw.size(), 10);
    const at::Tensor start = probe.begun.to(at::kDouble);
    for (const std::string& target : Targets()) {
      const std::string a = absl::StrCat("low_rank.", target, ".a"), b = absl::StrCat("low_rank.", target, ".b");
      EXPECT_EQ(probe.Of(start, b).abs().max().item<double>(), 0);
      const at::Tensor drawn = probe.Of(start, a);
      EXPECT_LE(drawn.abs().max().item<double>(), 1 / std::sqrt(32.0));
      EXPECT_NEAR(drawn.pow(2).mean().item<double>(), 1 / 96.0, 0.005) << "uniform in (-1 / sqrt(in), 1 / sqrt(in))";
      for (size_t step = 0; step <= 10; ++step) {
        const at::Tensor& weights = probe.before[step];
        const at::Tensor w = probe.Of(start, target) + kScale * at::mm(probe.Of(weights, b), probe.Of(weights, a));
        EXPECT_LT((probe.Of(weights, target) - w).abs().max().item<double>(), 1e-6) << target << step;
        if (step == 10) continue;
        const at::Tensor g = probe.Of(probe.raw[step], target);
        EXPECT_LT(Off(probe.Of(probe.used[step], b), kScale * at::mm(g, probe.Of(weights, a).t())), 1e-5);
        if (step == 0) continue;  // B is 0
        EXPECT_LT(Off(probe.Of(probe.used[step], a), kScale * at::mm(probe.Of(weights, b).t(), g)), 1e-5);
      }
      EXPECT_GT((probe.Of(probe.before[10], target) - probe.Of(start, target)).abs().max().item<double>(), 1e-4);
    }
  }
}

// The gradient that the factors get is that of the loss: along a direction of all factors, by central differences of a
// loss that is computed with W formed in this test.
TEST_F(LowRank, TheFactorsGradientIsThatOfTheLoss) {
  const auto strategy = Make("lora", options_, {});
  ClippingProbe probe(*strategy);
  const auto model = TinyModel({"a"}, kLabels, /*dropout=*/0);
  Run(*model, probe, "a", first_);
  constexpr size_t kStep = 4;
  const auto loss = [&](double along) {
    const auto other = TinyModel({"a"}, kLabels, 0);
    at::Tensor weights = probe.before[kStep].clone();
    RandomStream random(5, RandomPurpose::kSubset, 0);
    for (const std::string& target : Targets()) {
      at::Tensor factors[2];
      for (const int i : {0, 1}) {
        factors[i] = probe.Of(weights, absl::StrCat("low_rank.", target, i == 0 ? ".a" : ".b")).clone();
        for (int64_t k = 0; k < factors[i].numel(); ++k) factors[i].view({-1})[k] += along * random.NextNormal();
      }
      probe.Of(weights, target)
          .copy_(probe.Of(probe.begun.to(at::kDouble), target) + kScale * at::mm(factors[1], factors[0]));
    }
    other->parameters().weights().copy_(weights.narrow(0, 0, other->parameters().size()));
    other->parameters().RefreshCompute();
    double sum = 0;
    for (size_t i = 8 * kStep; i < 8 * kStep + 8; ++i) {
      const auto batch = *train::MakeMicroBatch(TinyTask("a", kLabels), std::span(&first_[i], 1),
                                                std::vector<int64_t>{0}, 0, 0, at::kCPU);
      sum += train::CrossEntropyLoss(other->Predict(batch.batch, {"a", at::Tensor()}, std::nullopt, nullptr),
                                     batch.targets, 1)
                 .sum;
    }
    return sum / 8;
  };
  double analytic = 0;
  RandomStream random(5, RandomPurpose::kSubset, 0);
  for (const std::string& target : Targets()) {
    for (const char* factor : {".a", ".b"}) {
      const at::Tensor g = probe.Of(probe.used[kStep], absl::StrCat("low_rank.", target, factor)).contiguous();
      for (int64_t k = 0; k < g.numel(); ++k) analytic += g.const_data_ptr<double>()[k] * random.NextNormal();
    }
  }
  EXPECT_NEAR((loss(1e-3) - loss(-1e-3)) / 2e-3, analytic, 0.02 * std::abs(analytic) + 1e-3);
  EXPECT_GT(std::abs(analytic), 1e-2);
}

TEST_F(LowRank, NothingElseOfTheEncoderMoves) {
  for (const char* name : {"lora", "olora", "ewc_lora"}) {
    const auto strategy = Make(name, options_, {});
    const auto start = TinyModel({"a", "b"}, kLabels), model = TinyModel({"a", "b"}, kLabels);
    ASSERT_TRUE(train::Train(*model, RunOptions(), Input("a", first_, strategy.get())).ok());
    std::set<std::string> moved;
    for (size_t i = 0; i < start->parameters().slices().size(); ++i) {
      const auto slot = static_cast<nn::SlotId>(i);
      if (!at::equal(model->parameters().Weight(slot), start->parameters().Weight(slot)))
        moved.insert(start->parameters().slice(slot).name);
    }
    std::set<std::string> expected{"heads.a.classifier.weight", "heads.a.classifier.bias"};
    for (const std::string& target : Targets()) expected.insert(target);
    EXPECT_EQ(moved, expected) << name;
  }
}

TEST_F(LowRank, MoreMatricesWhereMoreAreAskedFor) {
  for (const auto& [targets, count] : std::map<std::string, int>{{"query_value", 4}, {"attention", 8}, {"all", 12}}) {
    Options options = options_;
    options["targets"] = targets;
    const auto strategy = Make("lora", options, {});
    ClippingProbe probe(*strategy);
    const auto model = TinyModel({"a"}, kLabels);
    Run(*model, probe, "a", first_);
    EXPECT_EQ(probe.trainable.size(), 3 * count + 2) << targets;
  }
}

// Families that keep query, key and value in one matrix: one update of it, by the same algebra.
TEST_F(LowRank, OneUpdateWhereQueryKeyAndValueAreOneMatrix) {
  nn::EncoderConfig config = TinyConfig();
  config.family = checkpoint::FindFamily("modernbert");
  config.type_vocab_size = 0;
  config.attention_input_bias = config.attention_output_bias = config.feed_forward_bias = config.norm_bias = false;
  config.ropes = {{.head_dim = 16, .max_positions = 32}, {.head_dim = 16, .max_positions = 32}};
  for (const char* name : {"lora", "olora", "ewc_lora"}) {
    auto model = nn::Model::Create(config, at::kCPU, nn::Precision::kFloat32);
    ASSERT_TRUE(model.ok()) << model.status();
    (*model)->InitializeEncoder(1);
    ASSERT_TRUE(
        (*model)
            ->AddHead("a", {checkpoint::TaskKind::kSequenceClassification, kLabels, checkpoint::Pooling::kMean}, 2)
            .ok());
    const auto strategy = Make(name, options_, {});
    ClippingProbe probe(*strategy);
    Run(**model, probe, "a", first_);
    EXPECT_EQ(probe.trainable.size(), 3 * 2 + 2) << name;
    for (const char* const target : {"layers.0.attn.Wqkv.weight", "layers.1.attn.Wqkv.weight"}) {
      const std::string a = absl::StrCat("low_rank.", target, ".a"), b = absl::StrCat("low_rank.", target, ".b");
      const at::Tensor &start = probe.begun.to(at::kDouble), &weights = probe.before[10], &used = probe.used[9];
      const at::Tensor w = probe.Of(start, target) + kScale * at::mm(probe.Of(weights, b), probe.Of(weights, a));
      EXPECT_EQ(w.size(0), 96);
      EXPECT_LT((probe.Of(weights, target) - w).abs().max().item<double>(), 1e-6) << name << target;
      EXPECT_GT((probe.Of(weights, target) - probe.Of(start, target)).abs().max().item<double>(), 1e-4);
      const at::Tensor g = probe.Of(probe.raw[9], target);
      EXPECT_LT(Off(probe.Of(used, b), kScale * at::mm(g, probe.Of(probe.before[9], a).t())), 1e-5);
      EXPECT_LT(Off(probe.Of(used, a), kScale * at::mm(probe.Of(probe.before[9], b).t(), g)), 1e-5);
    }
  }
}

// lambda sum_k sum_ij (sum_c A_ic A_k,jc)^2 and its gradient, of two earlier tasks; not clipped.
TEST_F(LowRank, OrthogonalUpdatesArePulledAwayFromEarlierOnes) {
  Options options = options_;
  options["lambda"] = "0.7";
  const auto model = TinyModel({"a", "b", "c"}, kLabels);
  train::VersionMemory memory;
  std::vector<std::map<std::string, at::Tensor>> earlier;
  for (const char* task : {"a", "b"}) {
    const auto strategy = Make("olora", options, memory);
    ClippingProbe probe(*strategy);
    const auto fresh = TinyModel({"a", "b", "c"}, kLabels);
    fresh->parameters().weights().copy_(model->parameters().weights().narrow(0, 0, fresh->parameters().size()));
    memory = Run(*fresh, probe, task, task[0] == 'a' ? first_ : second_);
    model->parameters().weights().copy_(fresh->parameters().weights().narrow(0, 0, model->parameters().size()));
    auto& factors = earlier.emplace_back();
    for (const std::string& target : Targets())
      factors[target] = probe.Of(probe.before.back(), absl::StrCat("low_rank.", target, ".a")).clone();
  }
  const auto strategy = Make("olora", options, memory);
  ClippingProbe probe(*strategy);
  Run(*model, probe, "c", second_, /*max_norm=*/0.05);
  for (size_t step = 0; step < probe.added.size(); ++step) {
    EXPECT_LT(probe.scales[step], 1);
    double value = 0;
    for (const std::string& target : Targets()) {
      const std::string name = absl::StrCat("low_rank.", target, ".a");
      const at::Tensor a = probe.Of(probe.before[step], name);
      at::Tensor gradient = at::zeros_like(a);
      for (const auto& factors : earlier) {
        const at::Tensor& other = factors.at(target);
        for (int64_t i = 0; i < 2; ++i) {
          for (int64_t j = 0; j < 2; ++j) {
            const double product = (a[i] * other[j]).sum().item<double>();
            value += 0.7 * product * product;
            gradient[i] += 2 * 0.7 * product * other[j];
          }
        }
      }
      EXPECT_LT(Off(probe.Of(probe.added[step], name), gradient), 1e-3) << target << " " << step;
      EXPECT_EQ(probe.Of(probe.added[step], absl::StrCat("low_rank.", target, ".b")).abs().max().item<double>(), 0);
    }
    EXPECT_NEAR(probe.values[step], value, 1e-4 * value) << step;
  }
}

// The penalty of the matrices in full, its gradient carried to the factors; P_t = gamma P_{t-1} + N_t F_t.
TEST_F(LowRank, ElasticUpdatesArePulledBackInTheSpaceOfTheMatrices) {
  Options options = options_;
  options["lambda"] = "50";
  options["gamma"] = "0.5";
  options["fisher_samples"] = "0";
  const auto model = TinyModel({"a", "b"}, kLabels);
  const auto strategy = Make("ewc_lora", options, {});
  ClippingProbe probe(*strategy);
  const train::VersionMemory memory = Run(*model, probe, "a", first_);
  ImportanceOptions importance;
  importance.samples = 0;
  importance.seed = RunOptions().seed;
  const auto fisher = ComputeImportance(*model, "a", first_, importance);
  ASSERT_TRUE(fisher.ok()) << fisher.status();
  for (const std::string& target : Targets()) {
    const at::Tensor expected = 40 * probe.Of(fisher->fisher, target);
    EXPECT_LT(Off(memory.tensors.at(target + ".precision"), expected), 1e-5) << target;
    EXPECT_EQ(probe.values.front(), 0) << "nothing was learned before";
  }

  const auto again = TinyModel({"a", "b"}, kLabels);
  again->parameters().weights().copy_(model->parameters().weights().narrow(0, 0, again->parameters().size()));
  const at::Tensor start = again->parameters().weights().clone();
  const auto next = Make("ewc_lora", options, memory);
  ClippingProbe second(*next);
  const train::VersionMemory later = Run(*again, second, "b", second_, /*max_norm=*/0.05);
  EXPECT_TRUE(at::equal(second.begun.narrow(0, 0, start.numel()), start)) << "beginning moves nothing";
  for (size_t step = 1; step < second.added.size(); ++step) {
    double value = 0;
    for (const std::string& target : Targets()) {
      const std::string a = absl::StrCat("low_rank.", target, ".a"), b = absl::StrCat("low_rank.", target, ".b");
      const at::Tensor p = memory.tensors.at(target + ".precision").to(at::kDouble),
                       moved = second.Of(second.before[step], target) - second.Of(start.to(at::kDouble), target),
                       pull = 50.0 / 40 * p * moved;
      value += 0.5 * (pull * moved).sum().item<double>();
      // A product of the factors, of which the start's is taken off.
      const at::Tensor product =
          at::mm(second.Of(second.before[step], b), second.Of(second.before[step], a)) -
          at::mm(second.Of(second.begun.to(at::kDouble), b), second.Of(second.begun.to(at::kDouble), a));
      EXPECT_LT((moved - kScale * product).abs().max().item<double>(), 1e-6);
      const at::Tensor to_b = kScale * at::mm(pull, second.Of(second.before[step], a).t()),
                       to_a = kScale * at::mm(second.Of(second.before[step], b).t(), pull);
      EXPECT_LT(Off(second.Of(second.added[step], b), to_b), 1e-2) << target << " " << step;
      EXPECT_LT(Off(second.Of(second.added[step], a), to_a), 1e-2) << target << " " << step;
    }
    EXPECT_NEAR(second.values[step], value, 1e-3 * value) << step;
  }
  const auto fisher_b = ComputeImportance(*again, "b", second_, importance);
  for (const std::string& target : Targets()) {
    const at::Tensor expected =
        40 * second.Of(fisher_b->fisher, target) + 0.5 * memory.tensors.at(target + ".precision");
    EXPECT_LT(Off(later.tensors.at(target + ".precision"), expected), 1e-5) << target;
  }
}

TEST_F(LowRank, RefusesAnUpdateOfAnotherShape) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const auto strategy = Make("ewc_lora", options_, {});
  ClippingProbe probe(*strategy);
  const train::VersionMemory memory = Run(*model, probe, "a", first_);
  for (const auto& [option, value] : Options{{"rank", "3"}, {"alpha", "4"}, {"targets", "all"}}) {
    Options other = options_;
    other[option] = value;
    const auto refused = Make("ewc_lora", other, memory);
    EXPECT_EQ(
        train::Train(*TinyModel({"a", "b"}, kLabels), RunOptions(), Input("b", second_, refused.get())).status().code(),
        absl::StatusCode::kFailedPrecondition)
        << option;
  }
}

}  // namespace
}  // namespace engram::continual
