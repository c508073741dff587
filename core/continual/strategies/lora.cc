// Low-rank adaptation (Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022), one update per task,
// merged into the encoder when the task is learned (core/continual/low_rank.h). It forgets less than training all weights
// because it moves less; nothing is remembered from one task to the next, and no task's update can be taken out again.

#include "core/continual/low_rank.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs) {
  return std::make_unique<LowRankStrategy>(info.name, options);
}

const StrategyRegistration kRegistration({.name = "lora",
                                          .summary = "trains a low-rank update per task and merges it into the encoder",
                                          .options = OptionTable(LowRankOptions()),
                                          .needs = {.added_parameters = true},
                                          .cost = LowRankCost},
                                         Make);

}  // namespace
}  // namespace engram::continual
