// Elastic weight consolidation (Kirkpatrick et al., PNAS 2017): one quadratic per consolidated task, centred at that
// task's own anchor.

#include "core/continual/penalty_strategy.h"

namespace engram::continual {
namespace {

at::Tensor Fisher(const at::Tensor& fisher, const nn::Model&, const train::TaskContext&) { return fisher; }

const StrategyRegistration kRegistration({.name = "ewc",
                                          .summary = "one Fisher-weighted quadratic per consolidated task",
                                          .options = OptionTable(PenaltyOptions()),
                                          .needs = {.consolidations = true},
                                          .strength = {"lambda"},
                                          .grows_heads = true,
                                          .cost = OneQuadraticPerTaskCost,
                                          .default_where = DefaultWhere::kConsolidated},
                                         OneQuadraticPerTask(Fisher));

}  // namespace
}  // namespace engram::continual
