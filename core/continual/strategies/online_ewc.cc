// Online EWC (Schwarz et al., "Progress & Compress", ICML 2018): one quadratic whatever the number of tasks, centred at
// the latest anchor, with precision P_t = gamma P_{t-1} + N_t F_t and penalty 1/2 (lambda / N_B) gamma sum P_t d^2.
// gamma acts in the update and in the penalty.

#include "ATen/ops/zeros_like.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyOptions& options,
                                                      std::vector<Consolidation> consolidations) {
  ENGRAM_RETURN_IF_ERROR(NeedConsolidations(consolidations, "online_ewc"));
  return MakePenaltyStrategy("online_ewc", [options, consolidations = std::move(consolidations)](
                                               const nn::Model&, const train::TaskContext& context) {
    at::Tensor precision = at::zeros_like(consolidations.front().fisher);
    for (const Consolidation& c : consolidations) {
      precision.mul_(options.gamma).add_(c.fisher, static_cast<double>(c.training_count));
    }
    const double strength = BayesStrength(options.lambda, 1, context.training_units) * options.gamma;
    return std::vector<train::QuadraticPenalty>{MakePenalty(consolidations.back(), precision, strength, options.mode)};
  });
}

const StrategyRegistration kRegistration("online_ewc",
                                         "one quadratic for all consolidated tasks, older ones fading by gamma", Make);

}  // namespace
}  // namespace engram::continual
