// What every registered strategy must do, whatever it is. Nothing here names one: what is true of a strategy is read
// from its registration.

#include <malloc.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>
#include <set>

#include "c10/core/Allocator.h"
#include "c10/core/CPUAllocator.h"
#include "core/checkpoint/manifest.h"
#include "core/continual/importance.h"
#include "core/nn/grow_head.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "tests/unit/continual/strategy_probe.h"

// Memory of this program outside tensors, in bytes. Tensors come from their own allocator, counted below.
namespace {
std::atomic<int64_t> g_heap{0};
}
void* operator new(size_t bytes) {
  void* block = std::malloc(bytes == 0 ? 1 : bytes);
  if (block == nullptr) throw std::bad_alloc();
  g_heap += static_cast<int64_t>(malloc_usable_size(block));
  return block;
}
void operator delete(void* block) noexcept {
  if (block != nullptr) g_heap -= static_cast<int64_t>(malloc_usable_size(block));
  std::free(block);
}
void operator delete(void* block, size_t /*bytes*/) noexcept { operator delete(block); }

namespace engram::continual {
namespace {

using checkpoint::TaskKind;

// Counts the bytes of live tensors, whatever thread makes or drops them.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, at::kCPU};
    auto* const block =
        static_cast<size_t*>(std::aligned_alloc(kBefore, kBefore + (bytes + kBefore - 1) / kBefore * kBefore));
    if (block == nullptr) throw std::bad_alloc();
    *block = bytes;
    live += static_cast<int64_t>(bytes);
    void* const data = reinterpret_cast<char*>(block) + kBefore;
    return {data, data, &Free, at::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

  static std::atomic<int64_t> live;

 private:
  static constexpr size_t kBefore = 64;
  static void Free(void* data) {
    if (data == nullptr) return;
    auto* const block = reinterpret_cast<size_t*>(static_cast<char*>(data) - kBefore);
    live -= static_cast<int64_t>(*block);
    std::free(block);
  }
};
std::atomic<int64_t> CountingAllocator::live{0};

// Counts from here to the end of the scope.
class CountTensors {
 public:
  CountTensors() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(&counting_, kAboveAll); }
  ~CountTensors() { c10::SetCPUAllocator(before_, kAboveAll); }
  CountTensors(const CountTensors&) = delete;
  CountTensors& operator=(const CountTensors&) = delete;
  static int64_t Live() { return CountingAllocator::live + g_heap; }

 private:
  static constexpr uint8_t kAboveAll = 100;
  static CountingAllocator counting_;
  c10::Allocator* const before_;
};
CountingAllocator CountTensors::counting_;

constexpr int64_t kLabels = 3;

train::TaskSpec Spec(const std::string& name, TaskKind kind) {
  if (kind != TaskKind::kMaskedLanguageModel) return {name, kind, kLabels, std::nullopt};
  train::MaskingOptions masking;
  masking.mask_token_id = 1;
  masking.vocab_size = TinyConfig().vocab_size;
  masking.special_ids = {0, 1};
  return {name, kind, 0, masking};
}

// Texts for a task of that kind; of one length and with token types if `length` is above 0.
std::vector<train::TrainingExample> Texts(TaskKind kind, int64_t count, uint64_t seed, int64_t length = 0) {
  std::vector<train::TrainingExample> examples = TinyExamples(count, kLabels, seed);
  for (train::TrainingExample& example : examples) {
    std::vector<int32_t>& ids = example.sequence.ids;
    for (int32_t& id : ids) id = std::max(id, 2);
    if (length > 0) {
      ids.resize(static_cast<size_t>(length), 7);
      example.sequence.type_ids.assign(ids.size(), 1);
    }
    if (kind == TaskKind::kTokenClassification) {
      for (const int32_t id : ids) example.tags.push_back(id >= 40 ? id - 40 : id % 2 == 0 ? 0 : nn::ops::kIgnored);
      example.tags.front() = example.label;
    }
    if (kind != TaskKind::kSequenceClassification) example.label = -1;
  }
  return examples;
}

constexpr std::pair<const char*, TaskKind> kTasks[] = {{"classes", TaskKind::kSequenceClassification},
                                                       {"tags", TaskKind::kTokenClassification},
                                                       {"words", TaskKind::kMaskedLanguageModel}};

std::unique_ptr<nn::Model> NewModel() {
  auto model = *nn::Model::Create(TinyConfig(), at::kCPU, nn::Precision::kFloat32);
  model->InitializeEncoder(1);
  const auto add = [&](const char* task, TaskKind kind) {
    const int64_t labels = kind == TaskKind::kMaskedLanguageModel ? 0 : kLabels;
    EXPECT_TRUE(model->AddHead(task, {kind, labels, checkpoint::Pooling::kMean}, 2).ok());
  };
  add("first", TaskKind::kSequenceClassification);
  add("tagged", TaskKind::kTokenClassification);
  for (const auto& [task, kind] : kTasks) add(task, kind);
  return model;
}

class Conformance : public StrategyProbe, public ::testing::WithParamInterface<std::string> {
 protected:
  const StrategyInfo& info() const { return **FindStrategy(GetParam()); }
  std::string owner() const { return MemoryOwner(info()); }

  train::TrainInput InputOf(const char* task, TaskKind kind, const std::vector<train::TrainingExample>& training) {
    train::TrainInput input;
    input.task = Spec(task, kind);
    input.training = training;
    return input;
  }

  absl::StatusOr<std::unique_ptr<train::Strategy>> Open(const nn::Model& model, const Options& options,
                                                        const std::string& directory) {
    ENGRAM_ASSIGN_OR_RETURN(ConsolidationSource consolidations,
                            OpenConsolidations(absl::StrCat(directory, "/", checkpoint::kContinualFile), model));
    return MakeStrategy(GetParam(), options, {std::move(consolidations), train::MemorySource(directory, owner())});
  }

  // The version that tasks are learned on: one task of each kind that leaves something to remember was learned with
  // the strategy itself (or without, if it stands on consolidations) and consolidated. Its files are in directory_.
  void LearnFirst(const Options& options = {}) {
    const auto model = NewModel();
    model_ = NewModel();
    for (const auto& [task, kind] :
         {std::pair{"first", TaskKind::kSequenceClassification}, {"tagged", TaskKind::kTokenClassification}}) {
      const std::vector<train::TrainingExample> texts = Texts(kind, 40, 1);
      train::TrainInput input = InputOf(task, kind, texts);
      std::unique_ptr<train::Strategy> strategy;
      if (!info().needs.consolidations) {
        auto opened = Open(*model_, options, directory_);
        ASSERT_TRUE(opened.ok()) << opened.status();
        strategy = *std::move(opened);
        input.strategy = strategy.get();
      }
      const auto trained = NewModel();
      Copy(*model_, *trained);
      const auto result = train::Train(*trained, RunOptions(), input);
      ASSERT_TRUE(result.ok()) << result.status();
      Copy(*trained, *model_);
      learned_.push_back(result->memory);
      if (!result->memory.empty()) {
        ASSERT_TRUE(train::WriteVersionMemory(directory_, owner(), result->memory).ok());
      }
      Consolidation made;
      made.task = task;
      ImportanceOptions importance;
      importance.kind = made.kind = ImportanceKind::kSampled;
      const auto computed = ComputeImportance(*model_, task, texts, importance);
      ASSERT_TRUE(computed.ok()) << computed.status();
      made.samples = computed->samples;
      made.training_examples = computed->training_examples;
      made.fisher = computed->fisher;
      made.anchor = EncoderWeights(*model_);
      consolidations_.push_back(made);
    }
    ASSERT_TRUE(
        SaveConsolidations(absl::StrCat(directory_, "/", checkpoint::kContinualFile), *model_, consolidations_).ok());
  }

  // Encoder and heads: a version's files hold no more.
  static void Copy(const nn::Model& from, nn::Model& to) {
    to.parameters().weights().copy_(from.parameters().weights().narrow(0, 0, to.parameters().size()));
    to.parameters().RefreshCompute();
  }
  std::unique_ptr<nn::Model> Start() const {
    auto model = NewModel();
    Copy(*model_, *model);
    return model;
  }

  struct Learned {
    absl::Status status = absl::OkStatus();
    at::Tensor weights;  // of encoder and heads
    train::TrainResult result;
  };
  using Wrap = std::function<std::unique_ptr<train::Strategy>(train::Strategy&)>;

  // Learns one of kTasks from the files in directory_.
  Learned Learn(const char* task, TaskKind kind, const Options& options, const std::string& checkpoint = "",
                int64_t stop_after = -1, const Wrap& wrap = nullptr) {
    struct StopAt final : train::TrainObserver {
      void OnProgress(const train::Progress& progress) override {
        if (progress.step == step) stop.store(train::StopRequest::kCheckpoint);
      }
      int64_t step = -1;
      std::atomic<train::StopRequest> stop{train::StopRequest::kNone};
    } observer;
    observer.step = stop_after;
    const auto model = Start();
    const int64_t size = model->parameters().size();
    const std::vector<train::TrainingExample> texts = Texts(kind, 40, 9);
    auto strategy = Open(*model, options, directory_);
    if (!strategy.ok()) return {strategy.status(), {}, {}};
    std::unique_ptr<train::Strategy> wrapped;
    if (wrap) wrapped = wrap(**strategy);
    train::TrainInput input = InputOf(task, kind, texts);
    input.strategy = wrapped ? wrapped.get() : strategy->get();
    input.checkpoint_path = checkpoint;
    input.observer = &observer;
    input.stop = &observer.stop;
    train::TrainOptions run = RunOptions();
    run.checkpoint_every_steps = checkpoint.empty() ? 0 : 2;
    auto result = train::Train(*model, run, input);
    if (!result.ok()) return {result.status(), {}, {}};
    return {absl::OkStatus(), model->parameters().weights().narrow(0, 0, size).clone(), *std::move(result)};
  }

  // The kinds that the strategy learns; it must say of the others why it does not.
  std::vector<std::pair<const char*, TaskKind>> Taken(const Options& options = {}) {
    std::vector<std::pair<const char*, TaskKind>> taken;
    for (const auto& [task, kind] : kTasks) {
      const Learned learned = Learn(task, kind, options);
      if (learned.status.ok()) {
        taken.push_back({task, kind});
        continue;
      }
      EXPECT_EQ(learned.status.code(), absl::StatusCode::kFailedPrecondition) << task << learned.status;
      EXPECT_GT(learned.status.message().size(), 20) << "why? " << learned.status;
    }
    EXPECT_FALSE(taken.empty());
    return taken;
  }

  Options WithoutStrength() const {
    Options options;
    for (const std::string& name : info().strength) options[name] = "0";
    return options;
  }

  static void ExpectSame(const train::VersionMemory& a, const train::VersionMemory& b) {
    EXPECT_EQ(a.values, b.values);
    ASSERT_EQ(a.tensors.size(), b.tensors.size());
    for (const auto& [name, tensor] : a.tensors) EXPECT_TRUE(at::equal(tensor, b.tensors.at(name))) << name;
    ASSERT_EQ(a.examples.size(), b.examples.size());
    for (size_t i = 0; i < a.examples.size(); ++i) {
      EXPECT_EQ(a.examples[i].task, b.examples[i].task);
      EXPECT_EQ(a.examples[i].example.sequence.ids, b.examples[i].example.sequence.ids);
      EXPECT_EQ(a.examples[i].example.tags, b.examples[i].example.tags);
      EXPECT_EQ(a.examples[i].example.label, b.examples[i].example.label);
      EXPECT_EQ(a.examples[i].logits, b.examples[i].logits);
    }
  }

  std::unique_ptr<nn::Model> model_;
  std::vector<Consolidation> consolidations_;
  std::vector<train::VersionMemory> learned_;  // what each first task left
};

TEST_P(Conformance, StoppedAndResumedInMidTaskIsTheSameToTheBit) {
  LearnFirst();
  for (const auto& [task, kind] : Taken()) {
    const Learned whole = Learn(task, kind, {});
    ASSERT_TRUE(whole.status.ok()) << whole.status;
    for (const int64_t step : {1, 4, 7}) {
      const std::string checkpoint = absl::StrCat(directory_, "/", task, step);
      const Learned stopped = Learn(task, kind, {}, checkpoint, step);
      ASSERT_EQ(stopped.result.outcome, train::TrainOutcome::kInterrupted);
      const Learned resumed = Learn(task, kind, {}, checkpoint);
      ASSERT_TRUE(resumed.status.ok()) << resumed.status;
      EXPECT_TRUE(resumed.result.resumed);
      EXPECT_TRUE(at::equal(resumed.weights, whole.weights)) << task << " stopped after " << step;
      ExpectSame(resumed.result.memory, whole.result.memory);
    }
  }
}

TEST_P(Conformance, WithoutStrengthItIsNaiveToTheBitAndWithItIsNot) {
  if (info().strength.empty()) GTEST_SKIP() << "cannot be turned off";
  LearnFirst();
  for (const std::string& name : info().strength) ASSERT_NE(info().options.Find(name), nullptr) << name;
  for (const auto& [task, kind] : Taken()) {
    const auto naive = Start();
    const std::vector<train::TrainingExample> texts = Texts(kind, 40, 9);
    ASSERT_TRUE(train::Train(*naive, RunOptions(), InputOf(task, kind, texts)).ok());
    const Learned without = Learn(task, kind, WithoutStrength());
    ASSERT_TRUE(without.status.ok()) << without.status;
    EXPECT_TRUE(at::equal(without.weights, naive->parameters().weights())) << task;
    EXPECT_FALSE(at::equal(Learn(task, kind, {}).weights, naive->parameters().weights())) << task << ": has no effect";
  }
}

TEST_P(Conformance, WhatIsNotTrainedDoesNotMoveByOneBit) {
  struct Look final : Forwarding {
    using Forwarding::Forwarding;
    absl::Status BeginTask(train::TaskSetup& setup) override {
      const absl::Status status = Forwarding::BeginTask(setup);
      begun = setup.model.parameters().weights().clone();
      trainable = setup.trainable;
      return status;
    }
    absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
      const absl::Status status = Forwarding::EndTask(setup, memory);
      ended = setup.model.parameters().weights().clone();
      slices = setup.model.parameters().slices();
      for (const auto& [task, head] : setup.model.heads()) {
        for (const nn::SlotId slot : setup.model.HeadSlots(task)) head_of[slot] = task;
      }
      return status;
    }
    at::Tensor begun, ended;
    std::vector<nn::SlotId> trainable;
    std::vector<nn::ParameterSlice> slices;
    std::map<nn::SlotId, std::string> head_of;
  };
  LearnFirst();
  for (const auto& [task, kind] : Taken()) {
    Look* look = nullptr;
    std::unique_ptr<Look> kept;
    const Learned learned = Learn(task, kind, {}, "", -1, [&](train::Strategy& inner) {
      struct Lend final : Forwarding {
        using Forwarding::Forwarding;
      };
      kept = std::make_unique<Look>(inner);
      look = kept.get();
      return std::make_unique<Lend>(*look);
    });
    ASSERT_TRUE(learned.status.ok()) << learned.status;
    ASSERT_EQ(look->begun.numel(), look->ended.numel());
    int64_t moved = 0;
    for (size_t i = 0; i < look->slices.size(); ++i) {
      const nn::ParameterSlice& slice = look->slices[i];
      const auto slot = static_cast<nn::SlotId>(i);
      const bool same =
          at::equal(look->begun.narrow(0, slice.offset, slice.size), look->ended.narrow(0, slice.offset, slice.size));
      const bool trained = std::find(look->trainable.begin(), look->trainable.end(), slot) != look->trainable.end();
      EXPECT_TRUE(same || trained) << slice.name;
      moved += same ? 0 : 1;
      // Other heads learn only from what the strategy has for them: examples of their tasks, or what they said before.
      const bool other = look->head_of.contains(slot) && look->head_of.at(slot) != task;
      if (other && !info().needs.examples && !info().needs.teacher) {
        EXPECT_TRUE(same) << slice.name;
      }
    }
    EXPECT_GT(moved, 0) << task << ": nothing was learned";
  }
}

TEST_P(Conformance, MemoryFromFilesGivesTheSameNextTaskToTheBit) {
  LearnFirst();
  const auto learn = [&](const train::VersionMemory* memory, const char* task, TaskKind kind) {
    const auto model = Start();
    StrategyInputs inputs{FromMemory(consolidations_), {}};
    if (memory != nullptr) inputs.memory = train::MemorySource(*memory);
    auto strategy = MakeStrategy(GetParam(), {}, std::move(inputs));
    EXPECT_TRUE(strategy.ok()) << strategy.status();
    const std::vector<train::TrainingExample> texts = Texts(kind, 40, 9);
    train::TrainInput input = InputOf(task, kind, texts);
    input.strategy = strategy->get();
    const auto result = train::Train(*model, RunOptions(), input);
    EXPECT_TRUE(result.ok()) << result.status();
    return model->parameters().weights().narrow(0, 0, model_->parameters().size()).clone();
  };
  const train::VersionMemory& memory = learned_.back();
  EXPECT_EQ(memory.empty(), !info().needs.memory) << "needs.memory says whether the strategy keeps any";
  for (const auto& [task, kind] : Taken()) {
    const at::Tensor from_files = Learn(task, kind, {}).weights;
    EXPECT_TRUE(at::equal(from_files, learn(&memory, task, kind))) << task;
  }
}

TEST_P(Conformance, ANotANumberInGradientsEndsTheRunAndTheCheckpointGoesOn) {
  struct Poison final : Forwarding {
    using Forwarding::Forwarding;
    absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
      if (info.step == 5) view.gradients.fill_(std::numeric_limits<float>::quiet_NaN());
      return Forwarding::OnGradients(view, info);
    }
  };
  LearnFirst();
  for (const auto& [task, kind] : Taken()) {
    const std::string checkpoint = absl::StrCat(directory_, "/poisoned.", task);
    const Learned poisoned =
        Learn(task, kind, {}, checkpoint, -1, [](train::Strategy& inner) { return std::make_unique<Poison>(inner); });
    EXPECT_EQ(StatusReason(poisoned.status), "TRAINING_DIVERGED") << task << poisoned.status;
    const Learned resumed = Learn(task, kind, {}, checkpoint), whole = Learn(task, kind, {});
    ASSERT_TRUE(resumed.status.ok()) << resumed.status;
    EXPECT_TRUE(resumed.result.resumed);
    EXPECT_TRUE(at::equal(resumed.weights, whole.weights)) << task;
    ExpectSame(resumed.result.memory, whole.result.memory);
  }
}

TEST_P(Conformance, ANotANumberInItsMemoryIsRefused) {
  LearnFirst();
  const train::VersionMemory& memory = learned_.back();
  const auto refused = [&](const train::VersionMemory& damaged, const std::string& what) {
    ASSERT_TRUE(train::WriteVersionMemory(directory_, owner(), damaged).ok());
    const absl::Status status = Learn("classes", TaskKind::kSequenceClassification, {}).status;
    EXPECT_FALSE(status.ok()) << what;
    EXPECT_NE(status.code(), absl::StatusCode::kInternal) << status;
  };
  for (const auto& [name, tensor] : memory.tensors) {
    if (tensor.scalar_type() != at::kFloat || tensor.numel() == 0) continue;
    train::VersionMemory damaged = memory;
    damaged.tensors[name] = tensor.clone();
    damaged.tensors[name].view({-1})[tensor.numel() / 2] = std::numeric_limits<float>::quiet_NaN();
    refused(damaged, name);
  }
  for (size_t i = 0; i < memory.examples.size() && !memory.examples[i].logits.empty(); i += 7) {
    train::VersionMemory damaged = memory;
    damaged.examples[i].logits.back() = std::numeric_limits<float>::quiet_NaN();
    refused(damaged, "logits");
  }
}

// What is live when a step's gradients are ready, beyond what a naive run has there. Texts are of the kind that the cost
// is stated for: tagged, with token types, of the longest length.
TEST_P(Conformance, TheCostIsWhatItHolds) {
  struct Weigh final : Forwarding {
    using Forwarding::Forwarding;
    absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
      if (info.step == 2) live = CountTensors::Live();
      return Forwarding::OnGradients(view, info);
    }
    int64_t live = 0;
  };
  constexpr int64_t kStored = 300, kLength = 32;
  nn::EncoderConfig config = TinyConfig();
  config.hidden_size = 64;
  config.intermediate_size = 256;
  config.layers = 3;
  const CountTensors counting;
  const auto make = [&] {
    auto model = *nn::Model::Create(config, at::kCPU, nn::Precision::kFloat32);
    model->InitializeEncoder(1);
    for (const char* task : {"first", "next"}) {
      EXPECT_TRUE(
          model->AddHead(task, {TaskKind::kTokenClassification, kLabels, checkpoint::Pooling::kStandard}, 2).ok());
    }
    return model;
  };
  const std::vector<train::TrainingExample> first = Texts(TaskKind::kTokenClassification, kStored, 1, kLength),
                                            next = Texts(TaskKind::kTokenClassification, 24, 9, kLength);
  const auto model = make();
  train::TrainOptions run = RunOptions();
  run.epochs = 1;
  StrategySizes sizes{.encoder_bytes = model->EncoderElements() * 4,
                      .training_examples = static_cast<int64_t>(next.size()),
                      .longest_example = kLength,
                      .most_labels = kLabels,
                      .labels = kLabels,
                      .earlier_tasks = 1,
                      .hidden_size = config.hidden_size,
                      .intermediate_size = config.intermediate_size,
                      .layers = config.layers};
  if (info().needs.consolidations) {
    sizes.consolidations = 1;
    Consolidation made;
    made.task = "first";
    made.samples = made.training_examples = kStored;
    made.fisher = at::ones({model->EncoderElements()}, at::kFloat);
    made.anchor = EncoderWeights(*model);
    ASSERT_TRUE(SaveConsolidations(absl::StrCat(directory_, "/", checkpoint::kContinualFile), *model, {made}).ok());
  } else {
    const auto strategy = MakeStrategy(GetParam(), {}, {});
    ASSERT_TRUE(strategy.ok()) << strategy.status();
    train::TrainInput input = InputOf("first", TaskKind::kTokenClassification, first);
    input.strategy = strategy->get();
    const auto learned = train::Train(*model, run, input);
    ASSERT_TRUE(learned.ok()) << learned.status();
    sizes.stored_examples = static_cast<int64_t>(learned->memory.examples.size());
    if (!learned->memory.empty()) {
      ASSERT_TRUE(train::WriteVersionMemory(directory_, owner(), learned->memory).ok());
    }
  }
  const auto weigh = [&](bool naive) {
    const auto fresh = make();
    const train::TrainInput plain = InputOf("next", TaskKind::kTokenClassification, next);
    const int64_t before = CountTensors::Live();
    const auto strategy = naive ? absl::StatusOr<std::unique_ptr<train::Strategy>>(std::make_unique<train::Strategy>())
                                : Open(*fresh, {}, directory_);
    EXPECT_TRUE(strategy.ok()) << strategy.status();
    Weigh weighing(**strategy);
    train::TrainInput input = plain;
    input.strategy = &weighing;
    EXPECT_TRUE(train::Train(*fresh, run, input).ok());
    return weighing.live - before;
  };
  // What libraries keep from their first use and for their largest batch.
  weigh(false);
  const int64_t naive = weigh(true), held = weigh(false) - naive;
  const int64_t said = CostOf(info(), info().options.Defaults(), sizes).bytes;
  // Handles, names and slices: what costs says nothing of.
  constexpr double kSmall = 8192;
  EXPECT_NEAR(static_cast<double>(said), static_cast<double>(held), 0.05 * static_cast<double>(held) + kSmall);
}

// The version's classifier has three labels and gets two more: with texts of the new ones alone, resumed to the bit; what
// is kept of the task afterwards is of old and new labels.
TEST_P(Conformance, AHeadMayGrow) {
  if (!info().grows_heads) GTEST_SKIP() << "refuses further labels";
  LearnFirst();
  constexpr int64_t kMore = kLabels + 2;
  std::vector<train::TrainingExample> texts = Texts(TaskKind::kSequenceClassification, 40, 9);
  for (train::TrainingExample& text : texts) text.label = kLabels + text.label % 2;
  const auto learn = [&](const std::string& checkpoint, int64_t stop_after) {
    struct StopAt final : train::TrainObserver {
      void OnProgress(const train::Progress& progress) override {
        if (progress.step == step) stop.store(train::StopRequest::kCheckpoint);
      }
      int64_t step = -1;
      std::atomic<train::StopRequest> stop{train::StopRequest::kNone};
    } observer;
    observer.step = stop_after;
    const auto model = Start();
    EXPECT_TRUE(nn::GrowHead("first", kMore, 3, *model).ok());
    auto strategy = Open(*model, {}, directory_);
    EXPECT_TRUE(strategy.ok()) << strategy.status();
    train::TrainInput input = InputOf("first", TaskKind::kSequenceClassification, texts);
    input.task.labels = kMore;
    input.task.known_labels = kLabels;
    input.strategy = strategy->get();
    input.checkpoint_path = checkpoint;
    input.observer = &observer;
    input.stop = &observer.stop;
    auto result = train::Train(*model, RunOptions(), input);
    EXPECT_TRUE(result.ok()) << result.status();
    return Learned{result.status(), model->parameters().weights().clone(), *std::move(result)};
  };
  const Learned whole = learn("", -1);
  const std::string checkpoint = absl::StrCat(directory_, "/growing");
  ASSERT_EQ(learn(checkpoint, 4).result.outcome, train::TrainOutcome::kInterrupted);
  const Learned resumed = learn(checkpoint, -1);
  EXPECT_TRUE(at::equal(resumed.weights, whole.weights));
  ExpectSame(resumed.result.memory, whole.result.memory);
  std::array<int, kMore> kept = {};
  for (const train::StoredExample& stored : whole.result.memory.examples) {
    if (stored.task == "first") ++kept.at(static_cast<size_t>(stored.example.label));
  }
  if (whole.result.memory.examples.empty()) return;
  for (size_t label = 0; label < kept.size(); ++label) EXPECT_GT(kept[label], 0) << label;
}

// All that learn step by step; one that makes no steps has nothing to stop, resume or poison. Of every pair of roles the
// first composition, in which what the first tasks leave and what the next one needs go together.
std::vector<std::string> Names() {
  std::vector<std::string> names;
  std::set<std::pair<StrategyRole, StrategyRole>> pairs;
  for (const auto& [name, info] : Strategies()) {
    if (!info.one_pass) names.push_back(name);
    for (const auto& [other, second] : Strategies()) {
      const auto composition = FindStrategy(absl::StrCat(name, "+", other));
      if (!composition.ok() || ((*composition)->needs.memory && (*composition)->needs.consolidations)) continue;
      if (pairs.insert({info.role, second.role}).second) names.push_back((*composition)->name);
    }
  }
  return names;
}
std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '+', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(EveryStrategy, Conformance, ::testing::ValuesIn(Names()), TestName);

}  // namespace
}  // namespace engram::continual
