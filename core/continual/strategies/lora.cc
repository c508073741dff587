// Low-rank adaptation (Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022), one update per task.
// merged (core/continual/low_rank.h): it goes into the encoder's weights, which all tasks share. The model forgets less
// than under training of all weights because it moves less; no task's update can be taken out again. Not merged
// (core/nn/task_blocks.h): the encoder stays as it is, and an update is applied when its task is asked and at no other
// time; nothing is forgotten.

#include <memory>

#include "core/continual/block_strategy.h"
#include "core/continual/low_rank.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

checkpoint::Blocks BlocksOf(const OptionValues& options) {
  const auto places = checkpoint::ParseBlocksPlaces(options.Text("targets"));
  return {checkpoint::BlocksKind::kLowRank,
          places.value_or(checkpoint::BlocksPlaces::kQueryValue),
          options.Whole("rank"),
          options.Real("alpha") / static_cast<double>(options.Whole("rank")),
          {}};
}

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs) {
  if (options.Flag("merged")) return std::make_unique<LowRankStrategy>(info.name, options);
  return std::make_unique<BlockStrategy>(info.name, [options](const train::TaskSetup&) { return BlocksOf(options); });
}

StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  return options.Flag("merged") ? LowRankCost(options, sizes) : BlockCost(BlocksOf(options), sizes);
}

std::vector<Option> Options() {
  std::vector<Option> options = LowRankOptions();
  options.push_back(
      Option::Flag("merged", true,
                   "whether the update goes into the weights that all tasks share; otherwise it is applied "
                   "when the task is asked, and the encoder stays as it is"));
  return options;
}

const StrategyRegistration kRegistration(
    {.name = "lora",
     .summary = "trains a low-rank update per task, merged into the encoder or applied when the task is asked",
     .options = OptionTable(Options()),
     .needs = {.added_parameters = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
