// Reptile (Nichol, Achiam and Schulman, "On first-order meta-learning algorithms", 2018) on a stream, with replay: what
// "meta-experience replay" (Riemer et al., ICLR 2019) adds to experience replay. Optimizer steps are made in groups of
// `inner_steps`, each on the union of its batch and a batch drawn from the memory; after a group
//   theta <- theta_0 + epsilon (theta_k - theta_0)
// over all that is trained, theta_0 the weights before the group, theta_k those after its k steps. To first order that
// favours weights at which the gradients of different batches, and so of different tasks, point the same way. AdamW's
// moments go on through it. The last group of a task may be shorter.

#include <utility>

#include "ATen/TensorOperators.h"
#include "core/continual/union_replay.h"

namespace engram::continual {
namespace {

class Reptile final : public BatchReplay {
 public:
  Reptile(const std::string& name, const OptionValues& options, train::MemorySource source)
      : BatchReplay(name, options, std::move(source)),
        inner_steps_(options.Whole("inner_steps")),
        epsilon_(options.Real("outer_rate")) {}

  absl::Status BeginTask(train::TaskSetup& setup) override {
    ENGRAM_RETURN_IF_ERROR(BatchReplay::BeginTask(setup));
    total_steps_ = setup.total_steps;
    outer_ = setup.model.parameters().weights().clone();
    return absl::OkStatus();
  }

  absl::StatusOr<bool> AfterStep(const train::ParameterView& view, const train::StepInfo& info) override {
    const int64_t done = info.step + 1;
    if (done % inner_steps_ != 0 && done != total_steps_) return false;
    // A weight that did not move stays to the bit.
    outer_.lerp_(view.weights, epsilon_);
    view.weights.copy_(outer_);
    return true;
  }

  absl::Status SaveState(train::StrategyState& state) const override {
    state.tensors["outer"] = outer_;
    return absl::OkStatus();
  }
  absl::Status LoadState(const train::StrategyState& state) override {
    ENGRAM_ASSIGN_OR_RETURN(outer_, state.Tensor("outer", outer_));
    return absl::OkStatus();
  }

 private:
  const int64_t inner_steps_;
  const double epsilon_;
  int64_t total_steps_ = 0;
  at::Tensor outer_;  // theta_0, fp32 [N]
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<Reptile>(info.name, options, std::move(inputs.memory));
}

// Beside what is replayed the weights before the group.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) {
  StrategyCost cost = BatchReplayCost(sizes);
  cost.bytes += sizes.encoder_bytes;
  return cost;
}

std::vector<Option> Options() {
  std::vector<Option> options = BatchReplayOptions();
  options.push_back(Option::Whole("inner_steps", 5, Closed(1, 1e6), "optimizer steps of a group"));
  options.push_back(
      Option::Real("outer_rate", 0.5, LeftOpen(0, 1), "how far the weights go of the way of a group; 1: er"));
  return options;
}

const StrategyRegistration kRegistration(
    {.name = "reptile",
     .summary = "replay in groups of steps of which a part of the way is kept; stores texts with the version",
     .options = OptionTable(Options()),
     .needs = {.examples = true, .memory = true},
     .grows_heads = true,
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
