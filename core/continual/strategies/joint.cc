// The upper bound that other strategies are measured against: every text of every task so far is kept, and each epoch
// over a task's texts is also one over all that are kept. Each step learns the union of its batch and an even share of
// the kept texts, in an order drawn anew for each epoch (core/continual/union_replay.h). A version trained with it
// holds the training data of its tasks.

#include <numeric>
#include <utility>

#include "ATen/ops/full.h"
#include "core/base/random.h"
#include "core/continual/union_replay.h"

namespace engram::continual {
namespace {

class Joint final : public UnionReplay {
 public:
  Joint(const std::string& name, train::MemorySource source)
      : UnionReplay(name, train::ExampleMemory(train::kMostStoredExamples, train::MemoryChoice::kReservoir,
                                               std::move(source))) {}

  absl::Status BeginTask(train::TaskSetup& setup) override {
    if (setup.kind == checkpoint::TaskKind::kMaskedLanguageModel) {
      return StatusWithReason(absl::StatusCode::kFailedPrecondition, "KIND_NOT_REPLAYED",
                              "joint trains on the texts of all tasks again, and those of masked language models are "
                              "not kept: learn this task with another strategy");
    }
    texts_ = static_cast<int64_t>(setup.examples.size());
    return UnionReplay::BeginTask(setup);
  }

  absl::Status SaveState(train::StrategyState& state) const override {
    state.tensors["passed"] = at::full({1}, passed_, at::kLong);
    return absl::OkStatus();
  }
  absl::Status LoadState(const train::StrategyState& state) override {
    ENGRAM_ASSIGN_OR_RETURN(const at::Tensor passed, state.Tensor("passed", at::full({1}, 0, at::kLong)));
    passed_ = passed.item<int64_t>();
    return absl::OkStatus();
  }

 private:
  // After x of the task's n texts, x / n of those that are held have been seen, epoch after epoch.
  std::vector<int64_t> Draw(int64_t held, const train::MicroBatch& batch, const train::StepInfo& /*info*/) override {
    if (held == 0) return {};
    const int64_t begin = passed_ * held / texts_;
    passed_ += static_cast<int64_t>(batch.examples.size());
    const int64_t end = passed_ * held / texts_;
    std::vector<int64_t> drawn;
    for (int64_t i = begin; i < end; ++i) drawn.push_back(Order(i / held, held)[static_cast<size_t>(i % held)]);
    return drawn;
  }

  const std::vector<int64_t>& Order(int64_t epoch, int64_t held) {
    if (epoch == epoch_) return order_;
    epoch_ = epoch;
    order_.resize(static_cast<size_t>(held));
    std::iota(order_.begin(), order_.end(), int64_t{0});
    RandomStream random(seed(), RandomPurpose::kReplay, static_cast<uint64_t>(epoch));
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random.NextBelow(i)]);
    return order_;
  }

  int64_t texts_ = 0;   // of the task
  int64_t passed_ = 0;  // of them, through all epochs so far
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;  // of what is held, in this epoch
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues&,
                                                      StrategyInputs inputs) {
  return std::make_unique<Joint>(info.name, std::move(inputs.memory));
}

// The stored texts and their order.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) {
  const double texts = static_cast<double>(sizes.training_examples);
  return {.bytes = sizes.stored_examples * (train::StoredExampleBytes(sizes.longest_example, 0) + 8),
          .extra_passes = texts > 0 ? static_cast<double>(sizes.stored_examples) / texts : 0};
}

const StrategyRegistration kRegistration(
    {.name = "joint",
     .summary = "upper bound: trains on all texts of all tasks so far; stores all of them with the version",
     .needs = {.examples = true, .memory = true},
     .grows_heads = true,
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
