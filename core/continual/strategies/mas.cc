// Memory aware synapses (Aljundi et al., ECCV 2018): a weight matters as much as it moves what the heads answer. Once a
// task is learned,
//   Omega_i += 1/N sum_x | d |f(x)|^2 / d theta_i |
// over `samples` of its texts, one by one, without dropout (core/continual/importance.h), f the logits of the task's
// head; later tasks are learned with the penalty  lambda sum_i Omega_i (theta_i - anchor_i)^2, anchor the weights at the
// end of the last task. No label is looked at; memory does not grow with the number of tasks.

#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/zeros_like.h"
#include "core/continual/consolidation.h"
#include "core/continual/encoder_memory.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

class MemoryAwareSynapses final : public train::Strategy {
 public:
  MemoryAwareSynapses(std::string name, const OptionValues& options, train::MemorySource source)
      : name_(std::move(name)),
        lambda_(options.Real("lambda")),
        samples_(options.Whole("samples")),
        mode_(train::ParsePenaltyMode(options.Text("penalty_mode")).value_or(train::PenaltyMode::kAuto)),
        source_(std::move(source)) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    model_ = &setup.model;
    ENGRAM_ASSIGN_OR_RETURN(const train::VersionMemory memory, source_.Read());
    if (memory.empty()) return absl::OkStatus();
    const at::Tensor now = EncoderWeights(setup.model);
    ENGRAM_ASSIGN_OR_RETURN(omega_, RecallEncoder(setup.model, "omega", memory, at::zeros_like(now)));
    ENGRAM_ASSIGN_OR_RETURN(anchor_, RecallEncoder(setup.model, "anchor", memory, now));
    return absl::OkStatus();
  }

  std::vector<train::QuadraticPenalty> Penalties() override {
    if (!omega_.defined()) return {};
    return {{"earlier tasks", omega_, anchor_, /*strength=*/2 * lambda_, 0, omega_.numel(), mode_}};
  }

  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    ImportanceOptions options;
    options.samples = samples_;
    options.seed = setup.seed;
    options.masking = setup.masking;
    ENGRAM_ASSIGN_OR_RETURN(Importance own, ComputeSensitivity(*model_, setup.task, setup.examples, options));
    if (omega_.defined()) own.fisher.add_(omega_);
    RememberEncoder(setup.model, "omega", own.fisher, memory);
    RememberEncoder(setup.model, "anchor", EncoderWeights(setup.model), memory);
    return absl::OkStatus();
  }

 private:
  const std::string name_;
  const double lambda_;
  const int64_t samples_;
  const train::PenaltyMode mode_;
  const train::MemorySource source_;
  nn::Model* model_ = nullptr;
  at::Tensor omega_, anchor_;  // of earlier tasks; undefined: there are none
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<MemoryAwareSynapses>(info.name, options, std::move(inputs.memory));
}

// Omega and anchor.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) { return {.bytes = 2 * sizes.encoder_bytes}; }

const StrategyRegistration kRegistration(
    {.name = "mas",
     .summary = "a quadratic weighted by how much each weight moves what the heads of the tasks learned answer",
     .options = OptionTable({Option::Real("lambda", 1, Closed(0, 1e9), "strength of the penalty; 0: none"),
                             Option::Whole("samples", 1000, Closed(0, 1000000),
                                           "texts of the task that Omega is taken on; 0: all"),
                             Option::Choice("penalty_mode", "auto", {"auto", "coupled", "proximal"},
                                            "how the penalty acts on the weights")}),
     .needs = {.memory = true},
     .strength = {"lambda"},
     .grows_heads = true,
     .cost = Cost,
     .role = StrategyRole::kProtects},
    Make);

}  // namespace
}  // namespace engram::continual
