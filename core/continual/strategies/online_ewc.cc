// Online EWC (Schwarz et al., "Progress & Compress", ICML 2018): one quadratic whatever the number of tasks, centred at
// the latest anchor, with precision P_t = gamma P_{t-1} + N_t F_t and penalty 1/2 (lambda / N_B) gamma sum P_t d^2.
// gamma acts in the update and in the penalty.

#include "ATen/TensorOperators.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

using Penalties = std::vector<train::QuadraticPenalty>;

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyOptions& options,
                                                      ConsolidationSource consolidations) {
  ENGRAM_RETURN_IF_ERROR(NeedConsolidations(consolidations, "online_ewc"));
  return MakePenaltyStrategy(
      "online_ewc",
      [options, consolidations = std::move(consolidations)](
          const nn::Model&, const train::TaskContext& context) -> absl::StatusOr<Penalties> {
        Consolidation latest;
        at::Tensor precision;
        for (int64_t i = 0; i < consolidations.count; ++i) {
          latest = {};  // before the next one is read: precision and one consolidation are all there ever is
          ENGRAM_ASSIGN_OR_RETURN(latest, consolidations.read(i));
          const auto count = static_cast<double>(latest.training_count);
          if (precision.defined()) {
            precision.mul_(options.gamma).add_(latest.fisher, count);
          } else {
            precision = latest.fisher.mul(count);
          }
        }
        const double strength = BayesStrength(options.lambda, 1, context.training_units) * options.gamma;
        return Penalties{MakePenalty(latest, precision, strength, options.mode)};
      });
}

const StrategyRegistration kRegistration("online_ewc",
                                         "one quadratic for all consolidated tasks, older ones fading by gamma", Make);

}  // namespace
}  // namespace engram::continual
