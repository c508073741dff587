#include "core/serve/engine.h"

#include <optional>
#include <stdexcept>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "c10/core/InferenceMode.h"
#include "gmock/gmock.h"
#include "tests/unit/tiny_model.h"

namespace engram::serve {
namespace {

nn::Sequence Text(uint64_t seed, int64_t length) {
  nn::Sequence sequence;
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < length; ++i) sequence.ids.push_back(static_cast<int32_t>(random.NextBelow(60)));
  return sequence;
}

// Two heads over texts and one over tokens, far from each other in their answers.
std::shared_ptr<const ServedVersion> Served() {
  auto served = std::make_shared<ServedVersion>();
  nn::EncoderConfig config = TinyConfig(0);
  config.initializer_range = 0.5;
  served->version.model = *nn::Model::Create(config, at::kCPU, nn::Precision::kFloat32);
  nn::Model& model = *served->version.model;
  model.InitializeEncoder(1);
  const nn::HeadConfig text{checkpoint::TaskKind::kSequenceClassification, 3, checkpoint::Pooling::kMean};
  const nn::HeadConfig tokens{checkpoint::TaskKind::kTokenClassification, 5, checkpoint::Pooling::kStandard};
  EXPECT_TRUE(model.AddHead("mood", text, 2).ok());
  EXPECT_TRUE(model.AddHead("topic", text, 3).ok());
  EXPECT_TRUE(model.AddHead("names", tokens, 4).ok());
  model.parameters().RefreshCompute();
  return served;
}

// What the version answers to one text alone.
at::Tensor Alone(const ServedVersion& served, const nn::Sequence& sequence, const std::string& head) {
  const c10::InferenceMode inference;
  const nn::Model& model = *served.version.model;
  const nn::PackedBatch batch = *nn::Pack(std::span<const nn::Sequence>(&sequence, 1), at::kCPU);
  const at::Tensor logits = model.Predict(batch, {head, at::Tensor()}, std::nullopt, nullptr);
  return model.heads().at(head).kind == checkpoint::TaskKind::kSequenceClassification ? logits[0] : logits;
}

// A model on a device that breaks when it is asked.
class BrokenModel final : public nn::Model {
 public:
  explicit BrokenModel(const nn::Model& model) : model_(model.Clone()) {}
  std::vector<at::Tensor> Predict(const nn::PackedBatch&, std::span<const nn::TaskQuery>,
                                  const std::optional<nn::TrainingMode>&, nn::Tape*) const override {
    throw std::runtime_error("CUDA error: an illegal memory access was encountered");
  }
  const nn::EncoderConfig& config() const override { return model_->config(); }
  nn::ParameterBuffer& parameters() override { return model_->parameters(); }
  const nn::ParameterBuffer& parameters() const override { return model_->parameters(); }
  void InitializeEncoder(uint64_t) override {}
  absl::Status AddHead(const std::string&, const nn::HeadConfig&, uint64_t) override { return absl::OkStatus(); }
  absl::Status ReplaceHead(const std::string&, const nn::HeadConfig&, uint64_t) override { return absl::OkStatus(); }
  absl::Status AddBlocks(const std::string&, const checkpoint::Blocks&, uint64_t) override { return absl::OkStatus(); }
  absl::Status SetMasks(at::Tensor, std::map<std::string, nn::TaskMask>) override { return absl::OkStatus(); }
  const std::map<std::string, nn::TaskMask>& masks() const override { return model_->masks(); }
  const at::Tensor& update() const override { return model_->update(); }
  const std::map<std::string, nn::HeadConfig>& heads() const override { return model_->heads(); }
  std::vector<nn::SlotId> EncoderSlots() const override { return model_->EncoderSlots(); }
  std::vector<nn::SlotId> HeadSlots(const std::string& task) const override { return model_->HeadSlots(task); }
  std::unique_ptr<nn::Model> Clone() const override { return std::make_unique<BrokenModel>(*model_); }
  void PackForInference() override {}
  at::Tensor Encode(const nn::PackedBatch&, const std::optional<nn::TrainingMode>&, nn::Tape*) const override {
    return {};
  }
  void Backward(std::span<const nn::HeadGradient>, const nn::Tape&, nn::GradientSink&) const override {}
  void Backward(std::span<const nn::HeadGradient>, nn::Tape&&, nn::GradientSink&) const override {}

 private:
  const std::unique_ptr<nn::Model> model_;
};

struct Asked {
  nn::Sequence sequence;
  std::vector<std::string> heads;
};

// Submits everything at once, which makes one batch, and waits for the answers, in the order of the questions.
std::vector<absl::StatusOr<SequenceResult>> Ask(Engine& engine, const std::shared_ptr<const ServedVersion>& version,
                                                const std::vector<Asked>& asked) {
  std::vector<absl::StatusOr<SequenceResult>> answers(asked.size(), absl::UnknownError("not finished"));
  std::vector<int> finished(asked.size(), 0);
  absl::BlockingCounter left(static_cast<int>(asked.size()));
  std::vector<std::shared_ptr<BatchItem>> items;
  for (size_t i = 0; i < asked.size(); ++i) {
    items.push_back(std::make_shared<SequenceItem>(version, asked[i].sequence, asked[i].heads, absl::InfiniteFuture(),
                                                   nullptr, [&, i](absl::StatusOr<SequenceResult> result) {
                                                     answers[i] = std::move(result);
                                                     if (++finished[i] == 1) left.DecrementCount();
                                                   }));
  }
  EXPECT_TRUE(engine.batcher().Submit(std::move(items)).ok());
  left.Wait();
  EXPECT_THAT(finished, ::testing::Each(1));
  return answers;
}

class EngineTest : public ::testing::Test {
 protected:
  FakeClock clock_;
  int device_failures_ = 0;
  Engine engine_{clock_, BatcherLimits(), /*threads=*/1, [this] { ++device_failures_; }};
  const std::shared_ptr<const ServedVersion> version_ = Served();
};

TEST_F(EngineTest, EachTextGetsItsOwnRowsOfTheHeadsThatItAsksFor) {
  const std::vector<Asked> asked = {{Text(1, 4), {"mood"}},
                                    {Text(2, 9), {"names"}},
                                    {Text(3, 1), {"names", "topic"}},
                                    {Text(4, 9), {"mood", "topic"}},
                                    {Text(5, 6), {"mood", "names", "topic"}}};
  const auto answers = Ask(engine_, version_, asked);
  EXPECT_EQ(engine_.counters().batches, 1);
  EXPECT_EQ(engine_.counters().sequences, 5);
  EXPECT_EQ(engine_.counters().tokens, 4 + 9 + 1 + 9 + 6);
  for (size_t i = 0; i < asked.size(); ++i) {
    ASSERT_TRUE(answers[i].ok()) << answers[i].status();
    EXPECT_EQ(answers[i]->logits.size(), asked[i].heads.size());
    for (const std::string& head : asked[i].heads) {
      const at::Tensor alone = Alone(*version_, asked[i].sequence, head);
      ASSERT_EQ(answers[i]->logits.at(head).sizes(), alone.sizes());
      // Products of other sizes add up in another order.
      EXPECT_LT((answers[i]->logits.at(head) - alone).abs().max().item<float>(), 1e-4) << "text " << i << ", " << head;
      // Any other text's answer would be told apart.
      for (size_t j = 0; j < asked.size(); ++j) {
        const at::Tensor other = Alone(*version_, asked[j].sequence, head);
        if (i != j && other.sizes() == alone.sizes()) {
          EXPECT_GT((other - alone).abs().max().item<float>(), 0.05);
        }
      }
    }
  }
}

TEST_F(EngineTest, WhatComesWhileItComputesIsTheNextBatchAndKnowsHowLongItWaited) {
  absl::Notification computing, go_on;
  auto first = std::make_shared<SequenceItem>(version_, Text(1, 4), std::vector<std::string>{"mood"},
                                              absl::InfiniteFuture(), nullptr, [&](const auto& result) {
                                                EXPECT_TRUE(result.ok());
                                                clock_.Advance(absl::Seconds(7));
                                                EXPECT_EQ(engine_.computing(), absl::Seconds(7));
                                                computing.Notify();  // on the engine's thread, which stands still now
                                                go_on.WaitForNotification();
                                              });
  ASSERT_TRUE(engine_.batcher().Submit({first}).ok());
  computing.WaitForNotification();
  absl::BlockingCounter left(2);
  std::vector<double> waited;
  for (int i = 0; i < 2; ++i) {
    auto item = std::make_shared<SequenceItem>(version_, Text(2, 4), std::vector<std::string>{"mood"},
                                               absl::InfiniteFuture(), nullptr, [&](const auto& result) {
                                                 EXPECT_TRUE(result.ok());
                                                 waited.push_back(result->queue_seconds);
                                                 left.DecrementCount();
                                               });
    ASSERT_TRUE(engine_.batcher().Submit({item}).ok());
    clock_.Advance(absl::Seconds(2));
  }
  go_on.Notify();
  left.Wait();
  EXPECT_EQ(engine_.counters().batches, 2);
  EXPECT_THAT(waited, ::testing::ElementsAre(4, 2));
}

TEST_F(EngineTest, AShortTextIsAnsweredBeforeALongOneThatIsBeingComputed) {
  Engine engine(clock_, {.batch_tokens = 16, .batch_time = absl::Milliseconds(20)}, /*threads=*/1, [] {});
  const std::vector<Asked> asked = {{Text(1, 30), {"mood"}}, {Text(2, 4), {"mood"}}, {Text(3, 25), {"mood"}}};
  std::vector<size_t> order;
  absl::BlockingCounter left(3);
  std::vector<std::shared_ptr<BatchItem>> items;
  for (size_t i = 0; i < asked.size(); ++i) {
    items.push_back(std::make_shared<SequenceItem>(
        version_, asked[i].sequence, asked[i].heads, absl::InfiniteFuture(), nullptr,
        [&, i](const absl::StatusOr<SequenceResult>& result) {
          ASSERT_TRUE(result.ok()) << result.status();
          EXPECT_LT((result->logits.at("mood") - Alone(*version_, asked[i].sequence, "mood")).abs().max().item<float>(),
                    1e-4);
          order.push_back(i);
          left.DecrementCount();
        }));
  }
  ASSERT_TRUE(engine.batcher().Submit(std::move(items)).ok());
  left.Wait();
  // The long ones are above what a batch takes: the short one is computed between the layers of the first.
  EXPECT_THAT(order, ::testing::ElementsAre(1, 0, 2));
  EXPECT_EQ(engine.counters().batches, 3);
}

TEST_F(EngineTest, AForwardPassThatFailsFailsEachTextOnceAndTheNextOneIsComputed) {
  nn::Sequence outside = Text(1, 4);
  outside.ids[2] = 60;  // one past the vocabulary
  for (const auto& answer : Ask(engine_, version_, {{Text(2, 5), {"mood"}}, {outside, {"names"}}}))
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(engine_.counters().batches, 1);
  EXPECT_TRUE(Ask(engine_, version_, {{Text(2, 5), {"mood"}}})[0].ok());
  EXPECT_EQ(device_failures_, 0) << "a text's failure is not the device's";
}

TEST_F(EngineTest, ADeviceThatFailsIsToldOnceAndEachTextOnce) {
  auto broken = std::make_shared<ServedVersion>();
  broken->version.model = std::make_unique<BrokenModel>(*version_->version.model);
  for (int round = 0; round < 2; ++round) {
    for (const auto& answer : Ask(engine_, broken, {{Text(1, 4), {"mood"}}, {Text(2, 3), {"mood"}}}))
      EXPECT_EQ(StatusReason(answer.status()), "DEVICE_FAILED");
  }
  EXPECT_TRUE(engine_.health().failed());
  EXPECT_EQ(device_failures_, 1);
}

TEST_F(EngineTest, ShutDownFailsWhatComesAfterIt) {
  engine_.ShutDown();
  auto item = std::make_shared<SequenceItem>(version_, Text(1, 2), std::vector<std::string>{"mood"},
                                             absl::InfiniteFuture(), nullptr, [](const auto&) {});
  EXPECT_EQ(engine_.batcher().Submit({item}).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace engram::serve
