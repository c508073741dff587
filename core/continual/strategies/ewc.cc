// Elastic weight consolidation (Kirkpatrick et al., PNAS 2017): one quadratic for each consolidated task, centred at
// that task's own anchor.

#include "core/continual/registry.h"

namespace engram::continual {
namespace {

using Penalties = std::vector<train::QuadraticPenalty>;

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyOptions& options,
                                                      ConsolidationSource consolidations) {
  ENGRAM_RETURN_IF_ERROR(NeedConsolidations(consolidations, "ewc"));
  return MakePenaltyStrategy(
      "ewc",
      [options, consolidations = std::move(consolidations)](
          const nn::Model&, const train::TaskContext& context) -> absl::StatusOr<Penalties> {
        Penalties penalties;
        for (int64_t i = 0; i < consolidations.count; ++i) {
          ENGRAM_ASSIGN_OR_RETURN(const Consolidation c, consolidations.read(i));
          penalties.push_back(MakePenalty(
              c, c.fisher, BayesStrength(options.lambda, c.training_count, context.training_units), options.mode));
        }
        return penalties;
      });
}

const StrategyRegistration kRegistration("ewc", "one Fisher-weighted quadratic for each consolidated task", Make);

}  // namespace
}  // namespace engram::continual
