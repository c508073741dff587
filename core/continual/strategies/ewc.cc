// Elastic weight consolidation (Kirkpatrick et al., PNAS 2017): one quadratic per consolidated task, centred at that
// task's own anchor or, with centre=latest, at the latest one.

#include "core/continual/penalty_strategy.h"

namespace engram::continual {
namespace {

at::Tensor Fisher(const at::Tensor& fisher, const nn::Model&, const train::TaskContext&) { return fisher; }

const StrategyRegistration kRegistration({.name = "ewc",
                                          .summary = "one Fisher-weighted quadratic per consolidated task",
                                          .options = OptionTable(SeparatePenaltyOptions()),
                                          .needs = {.consolidations = true},
                                          .strength = {"lambda"},
                                          .grows_heads = true,
                                          .cost = OneQuadraticPerTaskCost,
                                          .default_where = DefaultWhere::kConsolidated,
                                          .role = StrategyRole::kProtects},
                                         OneQuadraticPerTask(Fisher));

}  // namespace
}  // namespace engram::continual
