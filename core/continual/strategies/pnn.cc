// Progressive neural networks (Rusu et al., 2016) in a frozen encoder: each task has a column of bottlenecks, one behind
// the feed-forward network of every layer (or behind attention as well), which reads what the columns of all earlier tasks
// compute at the same place,
//
//   y + U z_k + c,    z_k = act(D y + b + sum_{j<k} L_j z_j)
//
// D and L_j drawn, U at 0; earlier columns stay as they are, so nothing is forgotten. The paper's columns are whole
// networks and its laterals pass through an adapter of their own; a column here is as narrow as such an adapter, so L_j is
// one matrix. Parameters grow with the square of the number of tasks through the L_j [w, w] alone. The task is named when
// the model is asked; the k-th column takes k passes of the encoder.

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "core/continual/block_strategy.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

using checkpoint::BlocksKind;

absl::StatusOr<checkpoint::Blocks> ColumnFor(const train::TaskSetup& setup, const OptionValues& options) {
  checkpoint::Blocks column = BottleneckBlocks(BlocksKind::kProgressive, options);
  const std::map<std::string, nn::HeadConfig>& heads = setup.model.heads();
  const checkpoint::Blocks& known = heads.at(setup.task).blocks;
  for (const auto& [task, head] : heads) {
    const checkpoint::Blocks& other = head.blocks;
    if (task == setup.task || other.kind != BlocksKind::kProgressive) continue;
    if (std::find(other.earlier.begin(), other.earlier.end(), setup.task) != other.earlier.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the column of task ", task, " reads that of ", setup.task,
                       ", and would answer otherwise if that learned on; give the data another task's name"));
    }
    if (other.places != column.places) {
      return absl::FailedPreconditionError(absl::StrCat("the column of task ", task,
                                                        " stands at other places; set places to ",
                                                        std::string(checkpoint::BlocksPlacesName(other.places))));
    }
    column.earlier.push_back(task);
  }
  // In the order of the stream: each column reads all before it.
  std::sort(column.earlier.begin(), column.earlier.end(), [&heads](const std::string& a, const std::string& b) {
    return heads.at(a).blocks.earlier.size() < heads.at(b).blocks.earlier.size();
  });
  if (known.kind == BlocksKind::kProgressive) column.earlier = known.earlier;
  return column;
}

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs) {
  return std::make_unique<BlockStrategy>(
      info.name, [options](const train::TaskSetup& setup) { return ColumnFor(setup, options); });
}

StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  return BlockCost(BottleneckBlocks(BlocksKind::kProgressive, options), sizes);
}

const StrategyRegistration kRegistration(
    {.name = "pnn",
     .summary = "a progressive column of the task's own that reads those of earlier tasks; nothing is forgotten",
     .options = BottleneckOptions(64),
     .needs = {.added_parameters = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
