// Online EWC (Schwarz et al., "Progress & Compress", ICML 2018): one quadratic whatever the number of tasks, centred at
// the latest anchor, with precision P_t = gamma P_{t-1} + N_t F_t and penalty 1/2 (lambda / N_B) gamma sum P_t d^2.
// gamma acts in the update and in the penalty.

#include <utility>

#include "ATen/TensorOperators.h"
#include "core/continual/penalty_strategy.h"

namespace engram::continual {
namespace {

using Penalties = std::vector<train::QuadraticPenalty>;

absl::StatusOr<Penalties> Build(const OptionValues& options, const ConsolidationSource& consolidations,
                                const nn::Model&, const train::TaskContext& context) {
  const double gamma = options.Real("gamma");
  Consolidation latest;
  at::Tensor precision;
  for (int64_t i = 0; i < consolidations.count; ++i) {
    latest = {};  // before the next one is read: precision and one consolidation are all there ever is
    ENGRAM_ASSIGN_OR_RETURN(latest, consolidations.read(i));
    const auto count = static_cast<double>(latest.training_examples);
    if (precision.defined()) {
      precision.mul_(gamma).add_(latest.fisher, count);
    } else {
      precision = latest.fisher.mul(count);
    }
  }
  const double strength = BayesStrength(options.Real("lambda"), 1, context.training_units) * gamma;
  return Penalties{MakePenalty(latest, precision, strength, options)};
}

std::vector<Option> Options() {
  std::vector<Option> options = PenaltyOptions();
  options.push_back(
      Option::Real("gamma", 1, LeftOpen(0, 1), "how much of the earlier tasks' importance each further one leaves"));
  return options;
}

// Importance and anchor of the one quadratic.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) { return {.bytes = 2 * sizes.encoder_bytes}; }

const StrategyRegistration kRegistration(
    {.name = "online_ewc",
     .summary = "one quadratic for all consolidated tasks, older ones fading by gamma",
     .options = OptionTable(Options()),
     .needs = {.consolidations = true},
     .strength = {"lambda"},
     .grows_heads = true,
     .cost = Cost,
     .role = StrategyRole::kProtects},
    PenaltyFactory(Build));

}  // namespace
}  // namespace engram::continual
