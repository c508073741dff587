// Experience replay (Chaudhry et al., "On tiny episodic memories in continual learning", 2019; de Masson d'Autume et
// al., NeurIPS 2019): examples of earlier tasks are kept with the version and trained on again. Each step learns the
// union of its batch and a batch drawn anew from the memory (core/continual/union_replay.h).

#include <utility>

#include "core/continual/union_replay.h"

namespace engram::continual {
namespace {

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<BatchReplay>(info.name, options, std::move(inputs.memory));
}

StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) { return BatchReplayCost(sizes); }

const StrategyRegistration kRegistration(
    {.name = "er",
     .summary = "trains on kept examples of earlier tasks along with each batch; stores texts with the version",
     .options = OptionTable(BatchReplayOptions()),
     .needs = {.examples = true, .memory = true},
     .grows_heads = true,
     .cost = Cost,
     .role = StrategyRole::kReplays},
    Make);

}  // namespace
}  // namespace engram::continual
