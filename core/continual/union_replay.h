#pragma once

// What the strategies share that train on stored examples along with each batch: the gradient of a step is that of the
// mean loss over the union of its batch and what is replayed with it; the heads of replayed tasks are trained along.
// Masked language models are not replayed.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/continual/registry.h"
#include "core/train/example_memory.h"

namespace engram::continual {

// "memory_size" and "memory", as every strategy with a bounded memory of examples has them.
std::vector<Option> MemoryOptions();
// The memory that they ask for.
train::ExampleMemory MakeMemory(const OptionValues& options, train::MemorySource source);

class UnionReplay : public train::Strategy {
 public:
  UnionReplay(std::string name, train::ExampleMemory memory) : name_(std::move(name)), memory_(std::move(memory)) {}

  std::string_view name() const override { return name_; }
  absl::Status BeginTask(train::TaskSetup& setup) override;
  absl::StatusOr<double> ExtraPasses(nn::Model& model, const train::MicroBatch& batch, const train::StepInfo& info,
                                     nn::GradientSink& sink) override;
  // Both sums are divided by the batch's units so far; the mean is over those of the union.
  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override;
  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override;

 protected:
  // Numbers of those of the `held` examples that go with a micro-batch; asked once for each, in their order.
  virtual std::vector<int64_t> Draw(int64_t held, const train::MicroBatch& batch, const train::StepInfo& info) = 0;
  uint64_t seed() const { return seed_; }

 private:
  const std::string name_;
  train::ExampleMemory memory_;
  uint64_t seed_ = 0;
  int64_t replayed_units_ = 0;  // of the optimizer step that is being made
};

// With each micro-batch a batch of the memory, drawn anew: "replay_batch" examples, beside the options of the memory.
class BatchReplay : public UnionReplay {
 public:
  BatchReplay(const std::string& name, const OptionValues& options, train::MemorySource source)
      : UnionReplay(name, MakeMemory(options, std::move(source))), batch_(options.Whole("replay_batch")) {}

 private:
  std::vector<int64_t> Draw(int64_t held, const train::MicroBatch& batch, const train::StepInfo& info) override;

  const int64_t batch_;
};
std::vector<Option> BatchReplayOptions();
// The stored texts; a batch of the memory beside each batch.
StrategyCost BatchReplayCost(const StrategySizes& sizes);

}  // namespace engram::continual
