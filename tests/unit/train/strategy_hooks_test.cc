// What strategies may do beyond penalties: further passes, state of their own, memory, other slots, more parameters.

#include <cstdlib>
#include <functional>
#include <utility>

#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/zeros_like.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/nn/gradient_sink.h"
#include "core/train/trainer.h"
#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

constexpr int64_t kLabels = 3;

TrainOptions Options() {
  TrainOptions options;
  options.lr = 2e-3;
  options.epochs = 2;
  options.batch_size = 8;
  return options;
}

class StopAt final : public TrainObserver {
 public:
  explicit StopAt(int64_t step) : step_(step) {}
  void OnProgress(const Progress& progress) override {
    if (progress.step == step_) stop.store(StopRequest::kCheckpoint);
    last = progress;
  }
  std::atomic<StopRequest> stop{StopRequest::kNone};
  Progress last;

 private:
  const int64_t step_;
};

class StrategyHooks : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-hooks-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  TrainInput Input(Strategy* strategy) {
    TrainInput input;
    input.task = TinyTask("a", kLabels);
    input.training = training_;
    input.strategy = strategy;
    return input;
  }
  std::unique_ptr<nn::Model> Model(double dropout = 0.1) { return TinyModel({"a", "b"}, kLabels, dropout); }

  // Trains with a fresh strategy, whole or in two processes, and returns the weights.
  using MakeStrategy = std::function<std::unique_ptr<Strategy>()>;
  at::Tensor Whole(const MakeStrategy& make) {
    const auto model = Model();
    const auto strategy = make();
    const auto result = Train(*model, Options(), Input(strategy.get()));
    EXPECT_TRUE(result.ok()) << result.status();
    return model->parameters().weights().clone();
  }
  at::Tensor StoppedAndResumed(const MakeStrategy& make, int64_t step) {
    const auto first = make(), second = make();
    StopAt observer(step);
    TrainInput input = Input(first.get());
    input.checkpoint_path = absl::StrCat(directory_, "/", step);
    input.stop = &observer.stop;
    input.observer = &observer;
    const auto interrupted = Train(*Model(), Options(), input);
    EXPECT_TRUE(interrupted.ok()) << interrupted.status();
    EXPECT_EQ(interrupted->outcome, TrainOutcome::kInterrupted);
    const auto model = Model();
    input = Input(second.get());
    input.checkpoint_path = absl::StrCat(directory_, "/", step);
    const auto result = Train(*model, Options(), input);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(result->resumed);
    return model->parameters().weights().clone();
  }

  std::string directory_;
  const std::vector<TrainingExample> training_ = TinyExamples(40, kLabels, 1);
};

// Adds the gradient of task b's head on texts of its own, and keeps the first step's gradient.
class Passes final : public Strategy {
 public:
  explicit Passes(bool extra) : extra_(extra) {}
  std::string_view name() const override { return "passes"; }
  absl::StatusOr<double> ExtraPasses(nn::Model& model, const MicroBatch& /*batch*/, const StepInfo& info,
                                     nn::GradientSink& sink) override {
    if (!extra_) return 0.0;
    const std::vector<TrainingExample> other = TinyExamples(5, kLabels, 7);
    ENGRAM_ASSIGN_OR_RETURN(const MicroBatch batch, MakeMicroBatch(TinyTask("b", kLabels), other,
                                                                   std::vector<int64_t>{0, 2, 4}, 0, 0, at::kCPU));
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model.Predict(batch.batch, {"b", at::Tensor()}, std::nullopt, tape.get());
    const LossResult loss = CrossEntropyLoss(logits, batch.targets, 3 * info.unit_weight);
    model.Backward(loss.grad, std::move(*tape), sink);
    last_loss = loss.sum * 3 * info.unit_weight;
    return last_loss;
  }
  absl::Status OnGradients(const ParameterView& view, const StepInfo& info) override {
    if (info.step == 0) gradient = view.gradients.clone();
    return absl::OkStatus();
  }
  at::Tensor gradient;
  double last_loss = 0;

 private:
  bool extra_;
};

TEST_F(StrategyHooks, ExtraPassesJoinTheGradientAndTheReport) {
  Passes naive(false), with(true);
  ASSERT_TRUE(Train(*Model(0), Options(), Input(&naive)).ok());
  StopAt observer(-1);
  TrainInput input = Input(&with);
  input.observer = &observer;
  ASSERT_TRUE(Train(*Model(0), Options(), input).ok());
  // Of the same texts, one by one: 3/8 of their summed gradient (weight 3 / 8 units per term).
  const auto model = Model(0);
  at::Tensor expected = naive.gradient.to(at::kDouble);
  const std::vector<TrainingExample> other = TinyExamples(5, kLabels, 7);
  for (const int64_t i : {0, 2, 4}) {
    const auto batch = *MakeMicroBatch(TinyTask("b", kLabels), other, std::vector<int64_t>{i}, 0, 0, at::kCPU);
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model->Predict(batch.batch, {"b", at::Tensor()}, std::nullopt, tape.get());
    nn::GradientBuffer own(model->parameters());
    nn::AccumulateSink sink(&own);
    model->Backward(CrossEntropyLoss(logits, batch.targets, 1.0).grad, *tape, sink);
    expected += own.flat() * (3.0 / 8);
  }
  EXPECT_LT((with.gradient - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
  EXPECT_GT((expected - naive.gradient).abs().max().item<double>(), 0.1);
  EXPECT_DOUBLE_EQ(observer.last.extra_loss, with.last_loss);
}

// Every step's gradient gets a tenth of all earlier ones: the run depends on what is saved with a checkpoint.
class Momentum final : public Strategy {
 public:
  explicit Momentum(bool forgetful) : forgetful_(forgetful) {}
  std::string_view name() const override { return "momentum"; }
  absl::Status BeginTask(TaskSetup& setup) override {
    sum_ = at::zeros_like(setup.model.parameters().weights());
    steps_ = at::zeros({1, 1}, at::kLong);
    return absl::OkStatus();
  }
  absl::Status OnGradients(const ParameterView& view, const StepInfo& info) override {
    EXPECT_TRUE(forgetful_ || steps_.item<int64_t>() == info.step);
    const at::Tensor own = view.gradients.clone();
    view.gradients.add_(sum_, 0.1);
    sum_.add_(own);
    steps_.add_(1);
    return absl::OkStatus();
  }
  absl::Status SaveState(StrategyState& state) const override {
    state.tensors["sum"] = sum_;
    state.tensors["steps"] = steps_;
    state.values["word"] = "kept";
    return absl::OkStatus();
  }
  absl::Status LoadState(const StrategyState& state) override {
    EXPECT_EQ(state.values.at("word"), "kept");
    if (forgetful_) return absl::OkStatus();
    ENGRAM_ASSIGN_OR_RETURN(sum_, state.Tensor("sum", sum_));
    ENGRAM_ASSIGN_OR_RETURN(steps_, state.Tensor("steps", steps_));
    // Another shape, another type, another name.
    EXPECT_TRUE(absl::IsDataLoss(state.Tensor("steps", sum_).status()));
    EXPECT_TRUE(absl::IsDataLoss(state.Tensor("sum", sum_.to(at::kLong)).status()));
    EXPECT_TRUE(absl::IsDataLoss(state.Tensor("none", sum_).status()));
    return absl::OkStatus();
  }

 private:
  const bool forgetful_;
  at::Tensor sum_, steps_;
};

TEST_F(StrategyHooks, StateMakesAResumedRunTheSameToTheBit) {
  const auto make = [](bool forgetful) { return [=] { return std::make_unique<Momentum>(forgetful); }; };
  const at::Tensor whole = Whole(make(false));
  for (const int64_t step : {1, 5, 7}) EXPECT_TRUE(at::equal(StoppedAndResumed(make(false), step), whole)) << step;
  EXPECT_FALSE(at::equal(StoppedAndResumed(make(true), 4), whole)) << "the state must matter";
}

// Leaves the encoder and the task's own head, trains the head of task b with a gradient of its own.
class OtherSlots final : public Strategy {
 public:
  absl::Status BeginTask(TaskSetup& setup) override {
    setup.trainable = setup.model.HeadSlots("b");
    setup.trainable.push_back(setup.trainable.front());  // twice is once
    return absl::OkStatus();
  }
  absl::Status OnGradients(const ParameterView& view, const StepInfo& /*info*/) override {
    view.gradients.fill_(1);
    return absl::OkStatus();
  }
};

TEST_F(StrategyHooks, OnlyTheTrainableSlotsMove) {
  const auto before = Model(), model = Model();
  OtherSlots strategy;
  ASSERT_TRUE(Train(*model, Options(), Input(&strategy)).ok());
  const std::vector<nn::SlotId> moving = model->HeadSlots("b");
  for (nn::SlotId slot = 0; slot < static_cast<nn::SlotId>(model->parameters().slices().size()); ++slot) {
    const bool moved = !at::equal(model->parameters().Weight(slot), before->parameters().Weight(slot));
    EXPECT_EQ(moved, std::find(moving.begin(), moving.end(), slot) != moving.end()) << slot;
  }
}

TEST_F(StrategyHooks, UnknownSlotsAreRefused) {
  for (const std::vector<nn::SlotId>& slots : {std::vector<nn::SlotId>{0, 1 << 20}, {-1}}) {
    struct Choose final : Strategy {
      absl::Status BeginTask(TaskSetup& setup) override {
        setup.trainable = slots;
        return absl::OkStatus();
      }
      std::vector<nn::SlotId> slots;
    } strategy;
    strategy.slots = slots;
    EXPECT_EQ(Train(*Model(), Options(), Input(&strategy)).status().code(), absl::StatusCode::kInternal);
  }
}

// Adds a parameter, which learns the number 3 by its own quadratic loss.
class Added final : public Strategy {
 public:
  absl::Status BeginTask(TaskSetup& setup) override {
    ENGRAM_ASSIGN_OR_RETURN(const auto slots, setup.model.parameters().Append({{"added.scale", {2, 3}, false}}));
    slot_ = slots.front();
    setup.trainable.push_back(slot_);
    return absl::OkStatus();
  }
  absl::Status OnGradients(const ParameterView& view, const StepInfo& /*info*/) override {
    const nn::ParameterSlice& slice = view.slices[slot_];
    view.gradients.narrow(0, slice.offset, slice.size).copy_(view.weights.narrow(0, slice.offset, slice.size) - 3);
    return absl::OkStatus();
  }

 private:
  nn::SlotId slot_ = -1;
};

TEST_F(StrategyHooks, AddedParametersAreTrainedAndSurviveAResume) {
  const auto make = [] { return std::make_unique<Added>(); };
  const at::Tensor whole = Whole(make);
  const int64_t added = whole.numel() - Model()->parameters().size();
  ASSERT_EQ(added, 6);
  const at::Tensor scale = whole.narrow(0, whole.numel() - added, added);
  // Ten AdamW steps of one sign, of at most 2e-3 each.
  EXPECT_TRUE(scale.gt(4e-3).all().item<bool>() && scale.lt(2e-2).all().item<bool>()) << scale;
  EXPECT_TRUE(at::equal(StoppedAndResumed(make, 4), whole));
}

// A teacher, and something to remember.
class Teacher final : public Strategy {
 public:
  absl::Status BeginTask(TaskSetup& setup) override {
    begun = true;
    examples = static_cast<int64_t>(setup.examples.size());
    frozen = setup.Frozen();
    EXPECT_EQ(setup.Frozen(), frozen);
    return absl::OkStatus();
  }
  absl::Status EndTask(const TaskSetup& setup, VersionMemory& memory) override {
    memory.tensors["weights"] = setup.model.parameters().weights().clone();
    memory.examples.push_back({setup.task, setup.examples.front()});
    return absl::OkStatus();
  }
  bool begun = false;
  int64_t examples = 0;
  std::shared_ptr<const nn::Model> frozen;
};

TEST_F(StrategyHooks, TheTeacherStaysAndWhatIsRememberedComesBackOnceTheTaskIsLearned) {
  Teacher strategy;
  TrainInput input = Input(&strategy);
  input.checkpoint_path = directory_ + "/checkpoint";
  StopAt observer(3);
  input.stop = &observer.stop;
  input.observer = &observer;
  TrainOptions options = Options();
  options.validation_fraction = 0.25;
  const auto base = Model(), model = Model();
  const auto interrupted = Train(*model, options, input);
  ASSERT_EQ(interrupted->outcome, TrainOutcome::kInterrupted);
  EXPECT_TRUE(interrupted->memory.empty());
  EXPECT_EQ(strategy.examples, 30) << "those held out are none of the strategy's";
  EXPECT_TRUE(at::equal(strategy.frozen->parameters().weights(), base->parameters().weights()));
  EXPECT_FALSE(at::equal(strategy.frozen->parameters().weights(), model->parameters().weights()));

  observer.stop = StopRequest::kNone;
  input.observer = nullptr;
  const auto again = Model();
  const auto result = Train(*again, options, input);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(at::equal(strategy.frozen->parameters().weights(), base->parameters().weights()));
  EXPECT_TRUE(at::equal(result->memory.tensors.at("weights"), again->parameters().weights()));
  ASSERT_EQ(result->memory.examples.size(), 1);
  EXPECT_EQ(result->memory.examples[0].task, "a");
}

TEST_F(StrategyHooks, ACheckpointOfOtherStrategyOptionsIsRefused) {
  Strategy naive;
  TrainInput input = Input(&naive);
  input.strategy_options = {{"lambda", "1000"}};
  input.checkpoint_path = directory_ + "/checkpoint";
  StopAt observer(2);
  input.stop = &observer.stop;
  input.observer = &observer;
  ASSERT_EQ(Train(*Model(), Options(), input)->outcome, TrainOutcome::kInterrupted);
  observer.stop = StopRequest::kNone;
  input.observer = nullptr;
  input.strategy_options = {{"lambda", "1001"}};
  EXPECT_EQ(StatusReason(Train(*Model(), Options(), input).status()), "CHECKPOINT_OF_ANOTHER_RUN");
  input.strategy_options = {{"lambda", "1000"}};
  EXPECT_TRUE(Train(*Model(), Options(), input).ok());
}

}  // namespace
}  // namespace engram::train
