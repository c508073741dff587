// Dark experience replay, DER++ (Buzzega et al., NeurIPS 2020): examples of earlier tasks are kept with what the model
// answered. To the mean loss of a step comes
//   alpha mean over x of |f(x) - z(x)|^2  +  beta mean over x' of the cross-entropy
// x and x' being two batches drawn anew from the memory, f the logits of an example's own head and z those that were
// stored, means over texts, or over the tagged tokens of tagging tasks. z is taken when the task has been learned (the
// authors take it while an example passes by, in a stream without task boundaries); a head that has grown since is held
// to the labels that it had. The heads of replayed tasks learn along. Masked language models are not remembered.

#include <algorithm>
#include <utility>

#include "core/continual/union_replay.h"
#include "core/train/evaluate.h"
#include "core/train/replay.h"

namespace engram::continual {
namespace {

class DarkReplay final : public train::Strategy {
 public:
  DarkReplay(std::string name, const OptionValues& options, train::MemorySource source)
      : name_(std::move(name)),
        alpha_(options.Real("alpha")),
        beta_(options.Real("beta")),
        batch_(options.Whole("replay_batch")),
        memory_(MakeMemory(options, std::move(source))) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    ENGRAM_RETURN_IF_ERROR(memory_.Recall(setup));
    if (alpha_ > 0 || beta_ > 0) memory_.TrainHeads(setup);
    seed_ = setup.seed;
    return absl::OkStatus();
  }

  absl::StatusOr<double> ExtraPasses(nn::Model& model, const train::MicroBatch& batch, const train::StepInfo& info,
                                     nn::GradientSink& sink) override {
    const std::vector<train::StoredExample>& held = memory_.held();
    double loss = 0;
    for (const bool logits : {true, false}) {
      const int64_t draw = 2 * info.micro_batch + (logits ? 0 : 1);
      const std::vector<int64_t> drawn = train::DrawStored(static_cast<int64_t>(held.size()), batch_, seed_, draw);
      const int64_t units = train::StoredUnits(held, drawn);
      // Of the step's mean, this micro-batch has the share of its units.
      const double strength = (logits ? alpha_ : beta_) * info.unit_weight * static_cast<double>(batch.units);
      if (units == 0 || strength == 0) continue;
      const double weight = strength / static_cast<double>(units);
      ENGRAM_ASSIGN_OR_RETURN(
          const train::ReplayLoss part,
          (logits ? train::AddLogitGradient : train::AddReplayGradient)(model, held, drawn, weight, seed_, draw, sink));
      loss += weight * part.sum;
    }
    return loss;
  }

  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    memory_.Remember(setup, memory);
    std::vector<train::TrainingExample> own;
    for (const train::StoredExample& stored : memory.examples) {
      if (stored.task == setup.task) own.push_back(stored.example);
    }
    if (own.empty()) return absl::OkStatus();
    const train::TaskSpec spec{setup.task, setup.kind, setup.model.heads().at(setup.task).labels, std::nullopt};
    ENGRAM_ASSIGN_OR_RETURN(const auto logits, train::PredictLogits(setup.model, spec, own, {}));
    auto next = logits.begin();
    for (train::StoredExample& stored : memory.examples) {
      if (stored.task != setup.task) continue;
      const at::Tensor answer = (next++)->contiguous();
      stored.logits.assign(answer.const_data_ptr<float>(), answer.const_data_ptr<float>() + answer.numel());
    }
    return absl::OkStatus();
  }

 private:
  const std::string name_;
  const double alpha_, beta_;
  const int64_t batch_;
  train::ExampleMemory memory_;
  uint64_t seed_ = 0;
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<DarkReplay>(info.name, options, std::move(inputs.memory));
}

// The stored texts with their logits; two batches of the memory beside each batch.
StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  if (sizes.stored_examples == 0) return {};
  return {.bytes = sizes.stored_examples * train::StoredExampleBytes(sizes.longest_example, sizes.most_labels),
          .extra_passes = (options.Real("alpha") > 0 ? 1.0 : 0.0) + (options.Real("beta") > 0 ? 1.0 : 0.0)};
}

std::vector<Option> Options() {
  std::vector<Option> options = MemoryOptions();
  options.push_back(Option::Whole("replay_batch", 32, Closed(1, 4096), "texts in each of the two replayed batches"));
  options.push_back(Option::Real("alpha", 0.1, Closed(0, 1e6), "weight of the distance to the stored logits"));
  options.push_back(Option::Real("beta", 0.5, Closed(0, 1e6), "weight of the replayed labels"));
  return options;
}

const StrategyRegistration kRegistration(
    {.name = "derpp",
     .summary = "replays kept examples and holds the model to what it answered then; stores texts with the version",
     .options = OptionTable(Options()),
     .needs = {.examples = true, .memory = true},
     .strength = {"alpha", "beta"},
     .grows_heads = true,
     .cost = Cost,
     .role = StrategyRole::kReplays},
    Make);

}  // namespace
}  // namespace engram::continual
