// Experience replay (Chaudhry et al., "On tiny episodic memories in continual learning", 2019; de Masson d'Autume et
// al., NeurIPS 2019): examples of earlier tasks are kept with the version and trained on again. The gradient of a step
// is that of the mean loss over the union of its batch and a batch drawn anew from the memory; the heads of replayed
// tasks are trained along. The memory gives every task the same share. Masked language models are not replayed.

#include <utility>

#include "core/continual/registry.h"
#include "core/train/replay.h"

namespace engram::continual {
namespace {

class ExperienceReplay final : public train::Strategy {
 public:
  ExperienceReplay(std::string name, const OptionValues& options, train::MemorySource source)
      : name_(std::move(name)),
        size_(options.Whole("memory_size")),
        batch_(options.Whole("replay_batch")),
        source_(std::move(source)) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    ENGRAM_ASSIGN_OR_RETURN(held_, train::RecallExamples(source_, setup.model, setup.task));
    for (const std::string& task : train::StoredTasks(held_)) {
      for (const nn::SlotId slot : setup.model.HeadSlots(task)) setup.trainable.push_back(slot);
    }
    seed_ = setup.seed;
    return absl::OkStatus();
  }

  absl::StatusOr<double> ExtraPasses(nn::Model& model, const train::MicroBatch& /*batch*/, const train::StepInfo& info,
                                     nn::GradientSink& sink) override {
    const std::vector<int64_t> drawn =
        train::DrawStored(static_cast<int64_t>(held_.size()), batch_, seed_, info.micro_batch);
    ENGRAM_ASSIGN_OR_RETURN(
        const train::ReplayLoss loss,
        train::AddReplayGradient(model, held_, drawn, info.unit_weight, seed_, info.micro_batch, sink));
    replayed_units_ += loss.units;
    return loss.sum * info.unit_weight;
  }

  // Both sums are divided by the batch's units so far; the mean is over those of the union.
  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
    if (replayed_units_ > 0) view.gradients.div_(1 + info.unit_weight * static_cast<double>(replayed_units_));
    replayed_units_ = 0;
    return absl::OkStatus();
  }

  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    if (setup.kind == checkpoint::TaskKind::kMaskedLanguageModel) return absl::OkStatus();
    memory.examples = train::BalancedMemory(std::move(held_), setup.task, setup.examples, size_, setup.seed);
    return absl::OkStatus();
  }

 private:
  const std::string name_;
  const int64_t size_, batch_;
  const train::MemorySource source_;
  std::vector<train::StoredExample> held_;  // of earlier tasks
  uint64_t seed_ = 0;
  int64_t replayed_units_ = 0;  // of the optimizer step that is being made
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<ExperienceReplay>(info.name, options, std::move(inputs.memory));
}

// Ids, type ids and tags of each text; a batch of the memory beside each batch.
StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  return {.bytes = options.Whole("memory_size") * sizes.longest_example * 16, .extra_passes = 1};
}

const StrategyRegistration kRegistration(
    {.name = "er",
     .summary = "trains on kept examples of earlier tasks along with each batch; stores texts with the version",
     .options = OptionTable({Option::Whole("memory_size", 1000, Closed(1, 1000000),
                                           "texts kept, of all tasks together"),
                             Option::Whole("replay_batch", 32, Closed(1, 4096), "texts replayed with each batch")}),
     .needs = {.examples = true, .memory = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
