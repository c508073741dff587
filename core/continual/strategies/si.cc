// Synaptic intelligence (Zenke, Poole & Ganguli, ICML 2017): a weight matters as much as its moves lowered the loss
// while tasks were learned. Over the steps t of a task, with g the gradient of the task's loss without penalty, before
// clipping,
//   path_i  += -g_i(t) * (theta_i(t+1) - theta_i(t))
//   Omega_i += max(0, path_i) / ((theta_i(end) - theta_i(start))^2 + xi)      once the task is learned
// and later tasks are learned with the penalty  c * sum_i Omega_i (theta_i - anchor_i)^2, anchor the weights at the end
// of the last task. A path below 0 counts as 0: a negative Omega would push its weight away without bound. With early
// stopping the path is that of all steps, the move that to the weights that were kept.

#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/zeros_like.h"
#include "core/continual/consolidation.h"
#include "core/continual/encoder_memory.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

class SynapticIntelligence final : public train::Strategy {
 public:
  SynapticIntelligence(std::string name, const OptionValues& options, train::MemorySource source)
      : name_(std::move(name)),
        c_(options.Real("c")),
        xi_(options.Real("xi")),
        mode_(train::ParsePenaltyMode(options.Text("penalty_mode")).value_or(train::PenaltyMode::kAuto)),
        source_(std::move(source)) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    model_ = &setup.model;
    start_ = EncoderWeights(*model_);
    previous_ = start_.clone();
    path_ = at::zeros_like(start_);
    ENGRAM_ASSIGN_OR_RETURN(const train::VersionMemory memory, source_.Read());
    if (memory.empty()) return absl::OkStatus();
    ENGRAM_ASSIGN_OR_RETURN(omega_, RecallEncoder(*model_, "omega", memory, at::zeros_like(start_)));
    ENGRAM_ASSIGN_OR_RETURN(anchor_, RecallEncoder(*model_, "anchor", memory, start_));
    return absl::OkStatus();
  }

  std::vector<train::QuadraticPenalty> Penalties() override {
    if (!omega_.defined()) return {};
    return {{"earlier tasks", omega_, anchor_, /*strength=*/2 * c_, 0, omega_.numel(), mode_}};
  }

  absl::StatusOr<bool> AfterStep(const train::ParameterView& view, const train::StepInfo& /*info*/) override {
    const at::Tensor now = view.weights.narrow(0, 0, path_.numel());
    path_.addcmul_(view.gradients.narrow(0, 0, path_.numel()), previous_.sub_(now));
    previous_.copy_(now);
    return false;
  }

  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    const at::Tensor end = EncoderWeights(setup.model);
    at::Tensor omega = path_.clamp_min(0).div_((end - start_).square_().add_(xi_));
    if (omega_.defined()) omega.add_(omega_);
    RememberEncoder(setup.model, "omega", omega, memory);
    RememberEncoder(setup.model, "anchor", end, memory);
    return absl::OkStatus();
  }

  absl::Status SaveState(train::StrategyState& state) const override {
    state.tensors["path"] = path_;
    return absl::OkStatus();
  }
  absl::Status LoadState(const train::StrategyState& state) override {
    ENGRAM_ASSIGN_OR_RETURN(path_, state.Tensor("path", path_));
    previous_ = EncoderWeights(*model_);
    return absl::OkStatus();
  }

 private:
  const std::string name_;
  const double c_, xi_;
  const train::PenaltyMode mode_;
  const train::MemorySource source_;
  const nn::Model* model_ = nullptr;
  at::Tensor start_, previous_, path_;  // fp32 [encoder elements]
  at::Tensor omega_, anchor_;           // of earlier tasks; undefined: there are none
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<SynapticIntelligence>(info.name, options, std::move(inputs.memory));
}

// Start, path, previous weights, Omega and anchor.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) { return {.bytes = 5 * sizes.encoder_bytes}; }

const StrategyRegistration kRegistration(
    {.name = "si",
     .summary = "a quadratic weighted by how much each weight's moves lowered the loss of the tasks learned",
     .options = OptionTable({Option::Real("c", 0.1, Closed(0, 1e9), "strength of the penalty; 0: none"),
                             Option::Real("xi", 0.1, LeftOpen(0, 1e6), "damping of weights that hardly moved"),
                             Option::Choice("penalty_mode", "auto", {"auto", "coupled", "proximal"},
                                            "how the penalty acts on the weights")}),
     .needs = {.memory = true},
     .strength = {"c"},
     .grows_heads = true,
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
