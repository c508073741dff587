#pragma once

// A strategy seen from outside: what it makes of a run's gradients and weights, for tests that hold it against a loop
// of their own.

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/continual/registry.h"
#include "core/train/trainer.h"
#include "tests/unit/tiny_model.h"

namespace engram::continual {

// Does what `inner` does. The base of strategies that look on or interfere.
class Forwarding : public train::Strategy {
 public:
  explicit Forwarding(train::Strategy& inner) : inner_(inner) {}
  std::string_view name() const override { return inner_.name(); }
  absl::Status BeginTask(train::TaskSetup& setup) override { return inner_.BeginTask(setup); }
  std::vector<train::QuadraticPenalty> Penalties() override { return inner_.Penalties(); }
  absl::Status OnTargets(train::MicroBatch& batch) override { return inner_.OnTargets(batch); }
  std::vector<nn::TaskQuery> FurtherQueries(const train::MicroBatch& batch) override {
    return inner_.FurtherQueries(batch);
  }
  absl::StatusOr<double> FurtherGradients(const train::MicroBatch& batch, std::span<const at::Tensor> logits,
                                          const train::StepInfo& info,
                                          std::vector<nn::HeadGradient>& gradients) override {
    return inner_.FurtherGradients(batch, logits, info, gradients);
  }
  absl::StatusOr<double> ExtraPasses(nn::Model& model, const train::MicroBatch& batch, const train::StepInfo& info,
                                     nn::GradientSink& sink) override {
    return inner_.ExtraPasses(model, batch, info, sink);
  }
  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
    return inner_.OnGradients(view, info);
  }
  absl::StatusOr<double> AfterClipping(const train::ParameterView& view, const train::StepInfo& info,
                                       double scale) override {
    return inner_.AfterClipping(view, info, scale);
  }
  std::map<nn::SlotId, double> LearningRateScales(const train::StepInfo& info) override {
    return inner_.LearningRateScales(info);
  }
  absl::StatusOr<bool> AfterStep(const train::ParameterView& view, const train::StepInfo& info) override {
    return inner_.AfterStep(view, info);
  }
  absl::StatusOr<bool> AfterTraining(const train::TaskSetup& setup) override { return inner_.AfterTraining(setup); }
  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    return inner_.EndTask(setup, memory);
  }
  absl::Status SaveState(train::StrategyState& state) const override { return inner_.SaveState(state); }
  absl::Status LoadState(const train::StrategyState& state) override { return inner_.LoadState(state); }

 private:
  train::Strategy& inner_;
};

// Keeps weights and gradients of every step in fp64.
class Recorder final : public Forwarding {
 public:
  struct Step {
    at::Tensor gradient;       // as the trainer made it
    at::Tensor used;           // as the strategy left it
    at::Tensor before, after;  // weights before the step, and as the optimizer left them: before AfterStep
  };
  using Forwarding::Forwarding;
  std::vector<train::QuadraticPenalty> Penalties() override { return penalties = Forwarding::Penalties(); }
  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
    steps.push_back({view.gradients.to(at::kDouble), {}, view.weights.to(at::kDouble), {}});
    const absl::Status status = Forwarding::OnGradients(view, info);
    steps.back().used = view.gradients.to(at::kDouble);
    return status;
  }
  absl::StatusOr<bool> AfterStep(const train::ParameterView& view, const train::StepInfo& info) override {
    steps.back().after = view.weights.to(at::kDouble);
    return Forwarding::AfterStep(view, info);
  }

  std::vector<Step> steps;
  std::vector<train::QuadraticPenalty> penalties;
};

class StrategyProbe : public ::testing::Test {
 protected:
  static constexpr int64_t kLabels = 3;
  using Options = std::map<std::string, std::string>;

  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-strategy-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  static std::unique_ptr<train::Strategy> Make(const std::string& name, const Options& options,
                                               const train::VersionMemory& memory) {
    StrategyInputs inputs;
    inputs.memory = train::MemorySource(memory);
    auto made = MakeStrategy(name, options, std::move(inputs));
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  // Examples of several tasks as a memory.
  static train::VersionMemory Held(const std::map<std::string, std::vector<train::TrainingExample>>& of_task) {
    train::VersionMemory memory;
    for (const auto& [task, examples] : of_task) {
      for (const train::TrainingExample& example : examples) memory.examples.push_back({task, example});
    }
    return memory;
  }

  static train::TrainOptions RunOptions() {
    train::TrainOptions options;
    options.lr = 2e-3;
    options.epochs = 2;
    options.batch_size = 8;
    options.warmup_ratio = 0;
    options.order = train::BatchOrder::kArrival;
    return options;
  }
  static train::TrainInput Input(const std::string& task, const std::vector<train::TrainingExample>& training,
                                 train::Strategy* strategy) {
    train::TrainInput input;
    input.task = TinyTask(task, kLabels);
    input.training = training;
    input.strategy = strategy;
    return input;
  }

  // The gradient of the cross-entropy of one example at the model's weights, without dropout, by a pass of its own.
  static at::Tensor GradientOf(nn::Model& model, const std::string& task, const train::TrainingExample& example) {
    const auto batch = *train::MakeMicroBatch(TinyTask(task, kLabels), std::span(&example, 1), std::vector<int64_t>{0},
                                              0, 0, at::kCPU);
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model.Predict(batch.batch, {task, at::Tensor()}, std::nullopt, tape.get());
    nn::GradientBuffer own(model.parameters());
    nn::AccumulateSink sink(&own);
    model.Backward(train::CrossEntropyLoss(logits, batch.targets, 1.0).grad, *tape, sink);
    return own.flat().to(at::kDouble);
  }

  // Stops runs of the strategy after each of `steps` optimizer steps and lets another process go on: the same weights
  // and the same memory as without a stop, to the bit. Dropout is on.
  void ExpectResumesToTheBit(const std::string& name, const Options& options, const train::VersionMemory& memory,
                             const std::vector<train::TrainingExample>& training, std::vector<int64_t> steps) {
    struct StopAt final : train::TrainObserver {
      void OnProgress(const train::Progress& progress) override {
        if (progress.step == step) stop.store(train::StopRequest::kCheckpoint);
      }
      int64_t step = 0;
      std::atomic<train::StopRequest> stop{train::StopRequest::kNone};
    };
    const auto run = [&](nn::Model& model, StopAt* observer, const std::string& path) {
      const auto strategy = Make(name, options, memory);
      train::TrainInput input = Input("b", training, strategy.get());
      input.checkpoint_path = path;
      input.observer = observer;
      if (observer != nullptr) input.stop = &observer->stop;
      const auto result = train::Train(model, RunOptions(), input);
      EXPECT_TRUE(result.ok()) << result.status();
      return *result;
    };
    const auto whole = TinyModel({"a", "b", "c"}, kLabels);
    const train::TrainResult expected = run(*whole, nullptr, "");
    for (const int64_t step : steps) {
      StopAt observer;
      observer.step = step;
      const std::string path = absl::StrCat(directory_, "/", step);
      EXPECT_EQ(run(*TinyModel({"a", "b", "c"}, kLabels), &observer, path).outcome, train::TrainOutcome::kInterrupted);
      const auto model = TinyModel({"a", "b", "c"}, kLabels);
      const train::TrainResult resumed = run(*model, nullptr, path);
      EXPECT_TRUE(resumed.resumed);
      EXPECT_TRUE(at::equal(model->parameters().weights(), whole->parameters().weights())) << "stopped after " << step;
      ASSERT_EQ(resumed.memory.tensors.size(), expected.memory.tensors.size());
      for (const auto& [tensor, value] : expected.memory.tensors)
        EXPECT_TRUE(at::equal(resumed.memory.tensors.at(tensor), value)) << tensor;
      ASSERT_EQ(resumed.memory.examples.size(), expected.memory.examples.size());
      for (size_t i = 0; i < expected.memory.examples.size(); ++i) {
        EXPECT_EQ(resumed.memory.examples[i].example.sequence.ids, expected.memory.examples[i].example.sequence.ids);
      }
    }
  }

  std::string directory_;
};

}  // namespace engram::continual
