#include "core/train/trainer.h"

#include <cstdlib>
#include <limits>

#include "ATen/ops/equal.h"
#include "core/base/files.h"
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
    if (progress.step == step_) stop.store(request_);
  }
  void OnWarning(std::string_view reason, std::string_view /*message*/) override { warnings.emplace_back(reason); }
  std::atomic<StopRequest> stop{StopRequest::kNone};
  std::vector<std::string> warnings;

 private:
  const int64_t step_;
  const StopRequest request_;
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
  for (const int64_t accumulation : {1, 2}) {
    TrainOptions options = Options();
    options.accumulation = accumulation;
    options.early_stopping_patience = 2;
    TrainInput input = Input();
    input.validation = validation_;
    const auto whole = TinyModel({"a"}, kLabels);
    ASSERT_TRUE(Train(*whole, options, input).ok());
    for (const int64_t step : {1, 5, 8}) {
      const auto model = TinyModel({"a"}, kLabels);
      StopAt observer(step);
      input.checkpoint_path = directory_ + "/checkpoint-" + std::to_string(accumulation) + "-" + std::to_string(step);
      input.stop = &observer.stop;
      input.observer = &observer;
      const auto interrupted = Train(*model, options, input);
      ASSERT_TRUE(interrupted.ok()) << interrupted.status();
      ASSERT_EQ(interrupted->outcome, TrainOutcome::kInterrupted);
      ASSERT_EQ(interrupted->steps, step);
      EXPECT_FALSE(at::equal(model->parameters().weights(), whole->parameters().weights()));
      // Another process: a fresh model, the same specification.
      const auto resumed = TinyModel({"a"}, kLabels);
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
  const auto model = TinyModel({"a"}, kLabels);
  model->parameters().weights()[7].fill_(std::numeric_limits<float>::quiet_NaN());
  model->parameters().Weight(0).fill_(std::numeric_limits<float>::quiet_NaN());
  const auto result = Train(*model, Options(), Input());
  EXPECT_EQ(StatusReason(result.status()), "TRAINING_DIVERGED");
  EXPECT_NE(std::string(result.status().message()).find("step 1"), std::string::npos) << result.status();
}

// A quadratic whose anchor is so placed that its value is 0 for ever.
class DeadStrategy final : public Strategy {
 public:
  std::string_view name() const override { return "dead"; }
  absl::Status BeginTask(nn::Model& model, const TaskContext& /*context*/) override {
    QuadraticPenalty penalty;
    penalty.name = "earlier";
    penalty.end = 16;
    penalty.importance = at::zeros({16}, at::kFloat);
    penalty.anchor = model.parameters().weights().narrow(0, 0, 16).clone();
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

TEST_F(TrainerTest, EarlyStoppingEndsWithTheBestWeights) {
  TrainOptions options = Options();
  options.lr = 0.5;  // so large that it gets worse soon
  options.epochs = 12;
  options.max_grad_norm = 0;
  options.early_stopping_patience = 1;
  TrainInput input = Input();
  input.validation = validation_;
  struct Scores final : TrainObserver {
    void OnEvaluation(int64_t, const Evaluation& evaluation, bool) override { best = std::max(best, evaluation.score); }
    double best = 0;
  } scores;
  input.observer = &scores;
  const auto result = Train(*TinyModel({"a"}, kLabels), options, input);
  if (!result.ok()) {
    EXPECT_EQ(StatusReason(result.status()), "TRAINING_DIVERGED");
    return;
  }
  EXPECT_EQ(result->outcome, TrainOutcome::kStoppedEarly);
  EXPECT_EQ(result->validation->score, scores.best);
}

}  // namespace
}  // namespace engram::train
