// Adapters: a bottleneck y + U act(D y + b) + c behind the feed-forward network of every layer (Pfeiffer et al., EACL 2021)
// or behind attention as well (Houlsby et al., ICML 2019), one set for each task, in an encoder that stays as it is. They
// are applied when their task is asked and at no other time: nothing is forgotten.

#include <memory>

#include "core/continual/block_strategy.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs) {
  return std::make_unique<BlockStrategy>(info.name, [options](const train::TaskSetup&) {
    return BottleneckBlocks(checkpoint::BlocksKind::kAdapter, options);
  });
}

StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  return BlockCost(BottleneckBlocks(checkpoint::BlocksKind::kAdapter, options), sizes);
}

const StrategyRegistration kRegistration(
    {.name = "adapter",
     .summary =
         "bottlenecks of the task's own in a frozen encoder, applied when the task is asked; nothing is forgotten",
     .options = BottleneckOptions(48),
     .needs = {.added_parameters = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
