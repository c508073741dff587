// K-FAC EWC: the factors against fp64 loops over the tokens of one text at a time, the quadratic against the gradient of a
// text of one token, where it is exact, and what the strategy adds at every step against the formula.

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "ATen/ops/cat.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/zeros.h"
#include "core/continual/encoder_memory.h"
#include "core/continual/importance.h"
#include "core/continual/kronecker.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

// Keeps inputs and output gradients of every linear layer, in fp64.
class KeepRows final : public nn::GradientSink {
 public:
  struct Rows {
    at::Tensor a, g;
    int count;
  };
  void Linear(nn::SlotId weight, nn::SlotId, int count, const at::Tensor& a, const at::Tensor& g,
              const nn::RowOwners&) override {
    rows[weight] = {a.to(at::kDouble), g.to(at::kDouble), count};
  }
  void LayerNorm(nn::SlotId, nn::SlotId, const at::Tensor&, const at::Tensor&, const nn::RowOwners&) override {}
  void Embedding(nn::SlotId, const at::Tensor&, const at::Tensor&, const nn::RowOwners&) override {}
  void Bias(nn::SlotId, const at::Tensor&, const nn::RowOwners&) override {}

  std::map<nn::SlotId, Rows> rows;
};

struct Expected {
  at::Tensor inputs, gradients;
  int64_t terms = 0;
};

// Of the true labels, one text and one token at a time.
std::map<nn::SlotId, Expected> FactorsByLoops(nn::Model& model, const std::vector<train::TrainingExample>& texts,
                                              bool reduce) {
  std::map<nn::SlotId, Expected> factors;
  for (const train::TrainingExample& text : texts) {
    const auto batch = *nn::Pack(std::span(&text.sequence, 1), at::kCPU);
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model.Predict(batch, {"a", at::Tensor()}, std::nullopt, tape.get());
    at::Tensor target = at::zeros({1}, at::kLong);
    target.fill_(text.label);
    KeepRows keep;
    model.Backward(train::CrossEntropyLoss(logits, target, 1.0).grad, *tape, keep);
    for (const nn::SlotId matrix : LayerMatrices(model)) {
      // Query, key and value come as one layer under the query's slot.
      auto layer = keep.rows.upper_bound(matrix);
      --layer;
      const auto& [a, g, count] = layer->second;
      const int64_t height = model.parameters().slice(matrix).shape[0], tokens = a.size(0);
      const at::Tensor own = g.narrow(1, (matrix - layer->first) * height, height);
      Expected& sum = factors[matrix];
      const at::Tensor ones = at::ones({tokens, 1}, at::kDouble), augmented = at::cat({a, ones}, 1);
      if (!sum.inputs.defined()) {
        sum.inputs = at::zeros({augmented.size(1), augmented.size(1)}, at::kDouble);
        sum.gradients = at::zeros({height, height}, at::kDouble);
      }
      for (int64_t t = 0; t < (reduce ? 1 : tokens); ++t) {
        const at::Tensor in = reduce ? augmented.mean(0) : augmented[t], out = reduce ? own.sum(0) : own[t];
        sum.inputs += at::outer(in, in);
        sum.gradients += at::outer(out, out);
        ++sum.terms;
      }
    }
  }
  for (auto& [matrix, sum] : factors) {
    sum.inputs /= static_cast<double>(sum.terms);
    sum.gradients /= static_cast<double>(texts.size());
  }
  return factors;
}

class KfacEwc : public StrategyProbe {};

TEST_F(KfacEwc, FactorsAreThoseOfLoopsOverTextsAndTokens) {
  const auto model = TinyModel({"a"}, kLabels, /*dropout=*/0);
  const auto texts = TinyExamples(12, kLabels, 3);
  for (const bool reduce : {false, true}) {
    KroneckerSink sink(*model, reduce ? TokenSharing::kReduce : TokenSharing::kExpand);
    ImportanceOptions options;
    options.kind = ImportanceKind::kEmpirical;
    options.batch_tokens = 40;  // several batches of several texts
    const auto importance = ComputeImportance(*model, "a", texts, options, nullptr, &sink);
    ASSERT_TRUE(importance.ok()) << importance.status();
    const LayerFactors factors = sink.Finish(importance->samples);
    const auto expected = FactorsByLoops(*model, texts, reduce);
    ASSERT_EQ(factors.size(), static_cast<size_t>(6 * TinyConfig().layers));
    for (const auto& [matrix, own] : factors) {
      const std::string& name = model->parameters().slice(matrix).name;
      const Expected& right = expected.at(matrix);
      ASSERT_EQ(own.inputs.sizes(), right.inputs.sizes()) << name;
      EXPECT_LT((own.inputs - right.inputs).abs().max().item<double>(), 2e-5 * right.inputs.abs().max().item<double>())
          << name;
      // Summed over a text the gradients by the keys are 0 but for rounding: a shift of all keys changes no softmax.
      EXPECT_LT((own.gradients - right.gradients).abs().max().item<double>(),
                2e-4 * right.gradients.abs().max().item<double>() + 1e-20)
          << name;
    }
  }
}

// With one text of one token the Fisher information of a layer is the outer product of its gradient with itself.
TEST_F(KfacEwc, TheQuadraticOfOneTokenIsTheSquareOfTheMoveAlongItsGradient) {
  const auto model = TinyModel({"a"}, kLabels, /*dropout=*/0);
  std::vector<train::TrainingExample> texts = TinyExamples(1, kLabels, 3);
  texts[0].sequence.ids.resize(1);
  const at::Tensor gradient = GradientOf(*model, "a", texts[0]);
  ImportanceOptions options;
  options.kind = ImportanceKind::kEmpirical;
  const nn::ParameterBuffer& parameters = model->parameters();
  const at::Tensor anchor = EncoderWeights(*model);
  at::Tensor weights = anchor.clone();
  RandomStream random(8, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < weights.numel(); ++i)
    weights.mutable_data_ptr<float>()[i] += static_cast<float>(random.NextNormal());
  for (const TokenSharing sharing : {TokenSharing::kExpand, TokenSharing::kReduce}) {
    KroneckerSink sink(*model, sharing);
    ASSERT_TRUE(ComputeImportance(*model, "a", texts, options, nullptr, &sink).ok());
    int64_t checked = 0;
    for (const auto& [matrix, factors] : sink.Finish(1)) {
      const nn::ParameterSlice &w = parameters.slice(matrix), &b = parameters.slice(BiasOf(parameters, matrix));
      const auto along = [&](const nn::ParameterSlice& slice) {
        const at::Tensor moved = (weights - anchor).narrow(0, slice.offset, slice.size).to(at::kDouble);
        return (moved * gradient.narrow(0, slice.offset, slice.size)).sum().item<double>();
      };
      const double move = along(w) + along(b);
      at::Tensor added = at::zeros({anchor.numel()}, at::kFloat);
      const double value = AddKroneckerGradient(parameters, matrix, factors, weights, anchor, 3, added);
      EXPECT_NEAR(value, move * move, 1e-3 * move * move + 1e-9) << w.name;
      for (const nn::ParameterSlice& slice : {w, b}) {
        const at::Tensor own = added.narrow(0, slice.offset, slice.size).to(at::kDouble),
                         right = 3 * 2 * move * gradient.narrow(0, slice.offset, slice.size);
        EXPECT_LT((own - right).abs().max().item<double>(), 2e-3 * right.abs().max().item<double>() + 1e-9)
            << slice.name;
        added.narrow(0, slice.offset, slice.size).zero_();
      }
      EXPECT_EQ(added.abs().max().item<double>(), 0) << "nothing beside the layer";
      checked += move * move > 1e-6 ? 1 : 0;
    }
    EXPECT_GT(checked, 6) << "layers that one token reaches";
  }
}

// What AfterClipping adds to the gradients, times the scale that AdamW takes of them.
class ClippingProbe final : public Forwarding {
 public:
  using Forwarding::Forwarding;
  absl::Status BeginTask(train::TaskSetup& setup) override {
    units = setup.training_units;
    return Forwarding::BeginTask(setup);
  }
  std::vector<train::QuadraticPenalty> Penalties() override { return penalties = Forwarding::Penalties(); }
  absl::StatusOr<double> AfterClipping(const train::ParameterView& view, const train::StepInfo& info,
                                       double scale) override {
    const at::Tensor left = view.gradients.to(at::kDouble);
    auto value = Forwarding::AfterClipping(view, info, scale);
    weights.push_back(view.weights.clone());
    added.push_back((view.gradients.to(at::kDouble) - left) * scale);
    values.push_back(value.value_or(NAN));
    return value;
  }
  int64_t units = 0;
  std::vector<at::Tensor> weights, added;
  std::vector<double> values;
  std::vector<train::QuadraticPenalty> penalties;
};

TEST_F(KfacEwc, EachTaskAddsItsFactorsAroundOneCentre) {
  const auto model = TinyModel({"a", "b", "c"}, kLabels);
  const Options options = {{"lambda", "200"}, {"samples", "0"}};
  train::VersionMemory memory;
  std::vector<std::pair<double, LayerFactors>> learned;  // texts and factors of each task
  at::Tensor diagonal;
  const std::map<std::string, int64_t> sizes = {{"a", 20}, {"b", 28}, {"c", 16}};
  for (const auto& [task, size] : sizes) {
    const auto strategy = Make("kfac_ewc", options, memory);
    ClippingProbe probe(*strategy);
    const auto training = TinyExamples(size, kLabels, static_cast<uint64_t>(size));
    const at::Tensor anchor = EncoderWeights(*model);
    const auto result = train::Train(*model, RunOptions(), Input(task, training, &probe));
    ASSERT_TRUE(result.ok()) << result.status();
    const nn::ParameterBuffer& parameters = model->parameters();
    if (learned.empty()) {
      EXPECT_TRUE(probe.penalties.empty());
      EXPECT_EQ(probe.values.back(), 0);
    } else {
      ASSERT_EQ(probe.penalties.size(), 1U);
      EXPECT_DOUBLE_EQ(probe.penalties[0].strength, 200.0 / static_cast<double>(probe.units));
      EXPECT_TRUE(at::equal(probe.penalties[0].anchor, anchor));
      EXPECT_LT((probe.penalties[0].importance - diagonal).abs().max().item<double>(),
                1e-5 * diagonal.max().item<double>());
      const double strength = 200.0 / static_cast<double>(probe.units);
      for (size_t step = 0; step < probe.added.size(); ++step) {
        double value = 0;
        at::Tensor right = at::zeros({parameters.size()}, at::kDouble);
        for (const auto& [texts, factors] : learned) {
          for (const auto& [matrix, of_layer] : factors) {
            const nn::ParameterSlice &w = parameters.slice(matrix), &b = parameters.slice(BiasOf(parameters, matrix));
            const auto moved = [&](const nn::ParameterSlice& slice) {
              return (probe.weights[step].narrow(0, slice.offset, slice.size) -
                      anchor.narrow(0, slice.offset, slice.size))
                  .to(at::kDouble);
            };
            const at::Tensor d = at::cat({moved(w).view(w.shape), moved(b).unsqueeze(1)}, 1);
            const at::Tensor pull =
                at::mm(at::mm(of_layer.gradients.to(at::kDouble), d), of_layer.inputs.to(at::kDouble));
            value += 0.5 * strength * texts * (pull * d).sum().item<double>();
            right.narrow(0, w.offset, w.size).view(w.shape) += strength * texts * pull.narrow(1, 0, w.shape[1]);
            right.narrow(0, b.offset, b.size) += strength * texts * pull.select(1, w.shape[1]);
          }
        }
        EXPECT_NEAR(probe.values[step], value, 1e-3 * value + 1e-12) << task << step;
        EXPECT_LT((probe.added[step] - right).abs().max().item<double>(),
                  1e-3 * right.abs().max().item<double>() + 1e-6)
            << task << step;
        EXPECT_EQ(value > 0, step > 0);
      }
    }
    // What the task leaves, taken anew with the draws of the strategy.
    ImportanceOptions taken;
    taken.kind = ImportanceKind::kSampled;
    taken.seed = RunOptions().seed;
    taken.samples = 0;
    KroneckerSink sink(*model, TokenSharing::kExpand);
    const auto own = *ComputeImportance(*model, task, training, taken, nullptr, &sink);
    learned.push_back({static_cast<double>(size), sink.Finish(own.samples)});
    at::Tensor rest = own.fisher * static_cast<double>(size);
    for (const auto& [matrix, unused] : learned.back().second) {
      for (const nn::SlotId slot : {matrix, BiasOf(parameters, matrix)})
        rest.narrow(0, parameters.slice(slot).offset, parameters.slice(slot).size).zero_();
    }
    diagonal = diagonal.defined() ? diagonal + rest : rest;
    memory = result->memory;
    EXPECT_EQ(memory.values.at("tasks"), std::to_string(learned.size()));
    for (size_t t = 0; t < learned.size(); ++t) {
      const auto recalled = RecallFactors(*model, std::to_string(t), memory);
      ASSERT_TRUE(recalled.ok()) << recalled.status();
      for (const auto& [matrix, factors] : learned[t].second)
        EXPECT_TRUE(at::equal(recalled->at(matrix).gradients, factors.gradients));
    }
  }
}

TEST_F(KfacEwc, MemoryThatIsNotWhatItWroteIsRefused) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const auto training = TinyExamples(16, kLabels, 1);
  const auto first = Make("kfac_ewc", {}, {});
  const auto result = train::Train(*model, RunOptions(), Input("a", training, first.get()));
  ASSERT_TRUE(result.ok()) << result.status();
  const auto status_with = [&](const std::function<void(train::VersionMemory&)>& damage) {
    train::VersionMemory memory = result->memory;
    damage(memory);
    const auto strategy = Make("kfac_ewc", {}, memory);
    const auto copy = model->Clone();
    return train::Train(*copy, RunOptions(), Input("b", training, strategy.get())).status();
  };
  EXPECT_TRUE(status_with([](train::VersionMemory&) {}).ok());
  const std::string layer = "encoder.layer.1.output.dense.weight";
  EXPECT_EQ(StatusReason(status_with([&](auto& m) { m.tensors.erase("0.gradients." + layer); })), "MEMORY_DAMAGED");
  EXPECT_EQ(StatusReason(status_with([&](auto& m) { m.tensors.erase("0.inputs." + layer); })), "MEMORY_DAMAGED");
  EXPECT_EQ(StatusReason(status_with([](auto& m) { m.values["tasks"] = "2"; })), "MEMORY_DAMAGED");
  EXPECT_EQ(StatusReason(status_with([](auto& m) { m.values["texts.0"] = "many"; })), "MEMORY_DAMAGED");
}

}  // namespace
}  // namespace engram::continual
