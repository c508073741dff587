#include "core/train/trainer.h"

#include <cstdlib>
#include <functional>
#include <limits>
#include <utility>

#include "ATen/ops/equal.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros_like.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

constexpr int64_t kLabels = 3;

TrainOptions Options() {
  TrainOptions options;
  options.lr = 2e-3;
  options.epochs = 3;
  options.batch_size = 8;
  return options;
}

// Stops the run when a given step has been done.
class StopAt final : public TrainObserver {
 public:
  explicit StopAt(int64_t step, StopRequest request = StopRequest::kCheckpoint) : step_(step), request_(request) {}
  void OnProgress(const Progress& progress) override {
    ++reports;
    if (progress.step == step_) stop.store(request_);
  }
  void OnWarning(std::string_view reason, std::string_view /*message*/) override { warnings.emplace_back(reason); }
  std::atomic<StopRequest> stop{StopRequest::kNone};
  std::vector<std::string> warnings;
  int reports = 0;

 private:
  const int64_t step_;
  const StopRequest request_;
};

// A quadratic pull to the weights that the run began with.
class PullStrategy final : public Strategy {
 public:
  std::string_view name() const override { return "pull"; }
  absl::Status BeginTask(TaskSetup& setup) override {
    const at::Tensor& weights = setup.model.parameters().weights();
    penalty_.name = "earlier";
    penalty_.end = weights.numel() / 2;
    penalty_.anchor = weights.narrow(0, 0, penalty_.end).clone();
    penalty_.importance = penalty_.anchor.abs();
    penalty_.strength = 10;
    return absl::OkStatus();
  }
  std::vector<QuadraticPenalty> Penalties() override { return {penalty_}; }

 private:
  QuadraticPenalty penalty_;
};

// Does harm at fixed steps.
class Saboteur final : public Strategy {
 public:
  using Harm = std::function<bool(const ParameterView&, int64_t step)>;
  // Each is called with the number of steps done before; `after` tells whether it changed weights.
  Saboteur(Harm before, Harm after) : before_(std::move(before)), after_(std::move(after)) {}
  std::string_view name() const override { return "saboteur"; }
  absl::Status OnGradients(const ParameterView& view, const StepInfo& info) override {
    if (before_) before_(view, info.step);
    return absl::OkStatus();
  }
  absl::StatusOr<bool> AfterStep(const ParameterView& view, const StepInfo& info) override {
    return after_ && after_(view, info.step);
  }

 private:
  Harm before_, after_;
};

// Keeps what a penalty's strength is made of, and the first step's gradient.
class Witness final : public Strategy {
 public:
  std::string_view name() const override { return "witness"; }
  absl::Status BeginTask(TaskSetup& setup) override {
    context = setup;
    return absl::OkStatus();
  }
  absl::Status OnGradients(const ParameterView& view, const StepInfo& /*info*/) override {
    if (!gradient.defined()) gradient = view.gradients.clone();
    return absl::OkStatus();
  }
  TaskContext context;
  at::Tensor gradient;
};

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-trainer-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }
  TrainInput Input() {
    TrainInput input;
    input.task = TinyTask("a", kLabels);
    input.training = training_;
    return input;
  }
  std::string directory_;
  const std::vector<TrainingExample> training_ = TinyExamples(50, kLabels, 1),
                                     validation_ = TinyExamples(30, kLabels, 2);
};

TEST_F(TrainerTest, LearnsWhatIsThere) {
  const auto model = TinyModel({"a"}, kLabels);
  TrainOptions options = Options();
  options.epochs = 10;
  TrainInput input = Input();
  input.validation = validation_;
  const auto result = Train(*model, options, input);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->steps, 70);
  EXPECT_GT(result->validation->metrics.accuracy, 0.8);  // guessing gives a third
}

TEST_F(TrainerTest, ResumingGivesTheSameBitsAsNotStopping) {
  for (const nn::Precision precision : {nn::Precision::kFloat32, nn::Precision::kBFloat16}) {
    for (const int64_t accumulation : {1, 2}) {
      TrainOptions options = Options();
      options.accumulation = accumulation;
      options.early_stopping_patience = 2;
      TrainInput input = Input();
      input.validation = validation_;
      PullStrategy strategy;
      input.strategy = &strategy;
      const auto whole = TinyModel({"a"}, kLabels, 0.1, precision);
      ASSERT_TRUE(Train(*whole, options, input).ok());
      for (const int64_t step : {1, 5, 8}) {
        const auto model = TinyModel({"a"}, kLabels, 0.1, precision);
        StopAt observer(step);
        input.checkpoint_path = absl::StrCat(directory_, "/", static_cast<int>(precision), accumulation, step);
        input.stop = &observer.stop;
        input.observer = &observer;
        const auto interrupted = Train(*model, options, input);
        ASSERT_TRUE(interrupted.ok()) << interrupted.status();
        ASSERT_EQ(interrupted->outcome, TrainOutcome::kInterrupted);
        ASSERT_EQ(interrupted->steps, step);
        EXPECT_FALSE(at::equal(model->parameters().weights(), whole->parameters().weights()));
        // Another process: a fresh model, the same specification.
        const auto resumed = TinyModel({"a"}, kLabels, 0.1, precision);
        input.stop = nullptr;
        input.observer = nullptr;
        const auto result = Train(*resumed, options, input);
        ASSERT_TRUE(result.ok()) << result.status();
        EXPECT_TRUE(result->resumed);
        EXPECT_TRUE(at::equal(resumed->parameters().weights(), whole->parameters().weights()))
            << "stopped after step " << step;
        input.checkpoint_path.clear();
      }
    }
  }
}

// Epoch 2 is the best, from then on the head is wiped after each step; patience 2 ends the run after epoch 4. Stopped
// in epoch 4 and resumed it must still know the weights of epoch 2 and how many evaluations brought nothing.
TEST_F(TrainerTest, EarlyStoppingEndsWithTheBestWeightsAlsoAfterAResume) {
  constexpr int64_t kStepsAnEpoch = 7;  // 50 texts in batches of 8
  TrainOptions options = Options();
  options.epochs = 12;
  options.early_stopping_patience = 2;
  TrainInput input = Input();
  input.validation = validation_;
  struct Best final : TrainObserver {
    void OnProgress(const Progress& progress) override {
      if (progress.step == stop_at) stop.store(StopRequest::kCheckpoint);
    }
    void OnEvaluation(int64_t /*epoch*/, const Evaluation& evaluation, bool best) override {
      scores.push_back(evaluation.score);
      if (best) weights = model->parameters().weights().clone();
    }
    const nn::Model* model = nullptr;
    int64_t stop_at = -1;
    std::atomic<StopRequest> stop{StopRequest::kNone};
    std::vector<double> scores;
    at::Tensor weights;
  };
  const auto model = TinyModel({"a"}, kLabels), resumed = TinyModel({"a"}, kLabels);
  Saboteur strategy(nullptr, [&](const ParameterView& view, int64_t step) {
    if (step < 2 * kStepsAnEpoch) return false;
    for (const nn::SlotId slot : model->HeadSlots("a")) {
      view.weights.narrow(0, view.slices[slot].offset, view.slices[slot].size).zero_();
    }
    return true;
  });
  input.strategy = &strategy;
  Best whole;
  whole.model = model.get();
  input.observer = &whole;
  const auto result = Train(*model, options, input);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TrainOutcome::kStoppedEarly);
  EXPECT_EQ(result->steps, 4 * kStepsAnEpoch);
  ASSERT_EQ(whole.scores.size(), 4);
  EXPECT_GT(whole.scores[1], whole.scores[2]);
  EXPECT_TRUE(at::equal(model->parameters().weights(), whole.weights));
  EXPECT_EQ(result->validation->score, whole.scores[1]);

  Best interrupted;
  interrupted.model = resumed.get();
  interrupted.stop_at = 3 * kStepsAnEpoch + 2;
  input.observer = &interrupted;
  input.stop = &interrupted.stop;
  input.checkpoint_path = directory_ + "/checkpoint";
  ASSERT_EQ(Train(*resumed, options, input)->outcome, TrainOutcome::kInterrupted);
  const auto again = TinyModel({"a"}, kLabels);
  input.observer = nullptr;
  input.stop = nullptr;
  const auto second = Train(*again, options, input);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->outcome, TrainOutcome::kStoppedEarly);
  EXPECT_EQ(second->steps, result->steps);
  EXPECT_TRUE(at::equal(again->parameters().weights(), whole.weights));
}

// Also where early stopping had ended the training before the last epoch.
TEST_F(TrainerTest, AStopWhileTheTrainedModelIsMeasuredLosesNoTraining) {
  for (const int64_t patience : {0, 1}) {
    TrainOptions options = Options();
    options.early_stopping_patience = patience;
    TrainInput input = Input();
    input.validation = validation_;
    const auto whole = TinyModel({"a"}, kLabels, 0.1);
    const auto expected = Train(*whole, options, input);
    ASSERT_TRUE(expected.ok()) << expected.status();

    std::atomic<StopRequest> stop{StopRequest::kNone};
    int measured = 0;
    input.stop = &stop;
    input.checkpoint_path = absl::StrCat(directory_, "/measured-", patience);
    input.measure = [&]() -> absl::Status {
      if (++measured > 1) return absl::OkStatus();
      stop.store(StopRequest::kCheckpoint);
      return absl::CancelledError("stopped while it was measured");
    };
    ASSERT_EQ(Train(*TinyModel({"a"}, kLabels, 0.1), options, input)->outcome, TrainOutcome::kInterrupted);
    stop.store(StopRequest::kNone);
    StopAt steps(-1);
    input.observer = &steps;
    const auto model = TinyModel({"a"}, kLabels, 0.1);
    const auto resumed = Train(*model, options, input);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(measured, 2);
    EXPECT_EQ(steps.reports, 0);  // not one step more
    EXPECT_EQ(resumed->outcome, expected->outcome);
    EXPECT_EQ(resumed->steps, expected->steps);
    EXPECT_TRUE(at::equal(model->parameters().weights(), whole->parameters().weights()));
  }
}

TEST_F(TrainerTest, ACheckpointOfAnotherRunIsRefused) {
  TrainInput input = Input();
  input.checkpoint_path = directory_ + "/checkpoint";
  StopAt observer(2);
  input.stop = &observer.stop;
  input.observer = &observer;
  ASSERT_TRUE(Train(*TinyModel({"a"}, kLabels), Options(), input).ok());
  observer.stop = StopRequest::kNone;
  TrainOptions other = Options();
  other.lr = 1e-3;
  EXPECT_EQ(Train(*TinyModel({"a"}, kLabels), other, input).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TrainerTest, HeadsOfOtherTasksStayAsTheyAre) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  std::vector<at::Tensor> before;
  for (const nn::SlotId slot : model->HeadSlots("b")) before.push_back(model->parameters().Weight(slot).clone());
  ASSERT_TRUE(Train(*model, Options(), Input()).ok());
  const std::vector<nn::SlotId> slots = model->HeadSlots("b");
  for (size_t i = 0; i < slots.size(); ++i) EXPECT_TRUE(at::equal(model->parameters().Weight(slots[i]), before[i]));
}

TEST_F(TrainerTest, CancellingEndsTheRunAndWritesNothing) {
  TrainInput input = Input();
  input.checkpoint_path = directory_ + "/checkpoint";
  StopAt observer(3, StopRequest::kCancel);
  input.stop = &observer.stop;
  input.observer = &observer;
  EXPECT_TRUE(absl::IsCancelled(Train(*TinyModel({"a"}, kLabels), Options(), input).status()));
  EXPECT_FALSE(PathExists(input.checkpoint_path));
}

TEST_F(TrainerTest, DivergenceNamesTheStepAndTheCause) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  const auto head = TinyModel({"a"}, kLabels)->HeadSlots("a");
  const auto scale_head = [&](double factor, int64_t from) {
    return [&head, factor, from](const ParameterView& view, int64_t step) {
      if (step < from) return false;
      for (const nn::SlotId slot : head)
        view.weights.narrow(0, view.slices[slot].offset, view.slices[slot].size).mul_(factor);
      return true;
    };
  };
  const auto spoil_gradient = [](double value) {
    return [value](const ParameterView& view, int64_t step) {
      if (step == 3) view.gradients[9].fill_(value);
      return step == 3;
    };
  };
  const struct {
    Saboteur strategy;
    const char *step, *cause;
  } cases[] = {
      {{nullptr, scale_head(nan, 1)}, "step 3: ", "the loss is not a number"},
      {{spoil_gradient(nan), nullptr}, "step 4: ", "a gradient is not a number"},
      {{spoil_gradient(infinity), nullptr}, "step 4: ", "a gradient is infinite"},
      // Grown from step 6 on, tenfold each time; seen when three losses in a row are out of all proportion.
      {{nullptr, scale_head(-1000, 5)}, "step 9: ", "the loss rose to "},
      // Nothing looks at the weights after the last step (21 of them) but the check at the end.
      {{nullptr, scale_head(infinity, 20)}, "step 21: ", "a weight is not finite"},
  };
  for (const auto& [strategy, step, cause] : cases) {
    TrainInput input = Input();
    Saboteur own = strategy;
    input.strategy = &own;
    const absl::Status status = Train(*TinyModel({"a"}, kLabels), Options(), input).status();
    EXPECT_EQ(StatusReason(status), "TRAINING_DIVERGED") << cause;
    EXPECT_NE(std::string(status.message()).find(absl::StrCat(step, cause)), std::string::npos) << status;
  }
}

// A quadratic whose anchor is so placed that its value is 0 for ever.
class DeadStrategy final : public Strategy {
 public:
  std::string_view name() const override { return "dead"; }
  absl::Status BeginTask(TaskSetup& setup) override {
    QuadraticPenalty penalty;
    penalty.name = "earlier";
    penalty.end = 16;
    penalty.importance = at::zeros({16}, at::kFloat);
    penalty.anchor = setup.model.parameters().weights().narrow(0, 0, 16).clone();
    penalty.strength = 1000;
    penalties_ = {penalty};
    return absl::OkStatus();
  }
  std::vector<QuadraticPenalty> Penalties() override { return penalties_; }

 private:
  std::vector<QuadraticPenalty> penalties_;
};

TEST_F(TrainerTest, APenaltyThatStaysZeroRaisesAnAlarm) {
  DeadStrategy strategy;
  TrainInput input = Input();
  input.strategy = &strategy;
  StopAt observer(-1);
  input.observer = &observer;
  const auto result = Train(*TinyModel({"a"}, kLabels), Options(), input);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->dead_penalty);
  EXPECT_EQ(observer.warnings, std::vector<std::string>{"DEAD_PENALTY"});
}

// N_B L_B is the negative log-likelihood of the whole task, so N_B counts what L_B is the mean over: for a tagging task
// neither sentences nor their windows, but tagged words.
TEST_F(TrainerTest, TheLossTimesItsUnitsIsTheLogLikelihoodOfAllSentences) {
  const auto model = TinyModel({}, kLabels, /*dropout=*/0);
  ASSERT_TRUE(
      model->AddHead("t", {checkpoint::TaskKind::kTokenClassification, kLabels, checkpoint::Pooling::kStandard}, 2)
          .ok());
  std::vector<TrainingExample> examples = TinyExamples(7, kLabels, 5);
  int64_t words = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    examples[i].continues = i % 3 == 1;
    for (size_t token = 0; token < examples[i].sequence.ids.size(); ++token) {
      const bool counted = token % 3 != 1;
      examples[i].tags.push_back(counted ? static_cast<int64_t>(token + i) % kLabels : nn::ops::kIgnored);
      words += counted ? 1 : 0;
    }
  }
  at::Tensor expected = at::zeros_like(model->parameters().weights());
  for (const TrainingExample& example : examples) {
    const auto packed = nn::Pack(std::span<const nn::Sequence>(&example.sequence, 1), at::kCPU);
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model->Predict(*packed, {"t", at::Tensor()}, std::nullopt, tape.get());
    model->parameters().EnableGradients();
    model->parameters().ZeroGradients();
    nn::AccumulateSink sink(&model->parameters());
    model->Backward(nn::ops::CrossEntropy(logits, at::tensor(example.tags), at::Tensor()).grad, *tape, sink);
    expected += model->parameters().gradients();
  }

  TrainOptions options = Options();
  options.batch_size = 2;
  options.accumulation = 4;  // one step
  options.epochs = 1;
  Witness witness;
  TrainInput input;
  input.task = {"t", checkpoint::TaskKind::kTokenClassification, kLabels, std::nullopt};
  input.training = examples;
  input.strategy = &witness;
  const auto result = Train(*model, options, input);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(witness.context.training_units, words);
  const at::Tensor whole = witness.gradient * static_cast<double>(witness.context.training_units);
  EXPECT_LT((whole - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
}

}  // namespace
}  // namespace engram::train
