#pragma once

// What the strategies share that give each task blocks of its own in a frozen encoder (core/nn/task_blocks.h): nothing
// that an earlier task learned moves, so nothing is forgotten; the task has to be named when the model is asked, and a
// request for it takes a pass of the encoder with its blocks.

#include <functional>
#include <string>
#include <utility>

#include "core/base/options.h"
#include "core/base/status.h"
#include "core/continual/strategy_info.h"
#include "core/train/strategy.h"

namespace engram::continual {

// The blocks for the task of the setup; a status that is not OK ends the run with it.
using MakeBlocks = std::function<absl::StatusOr<checkpoint::Blocks>(const train::TaskSetup& setup)>;

// Trains the task's head and its blocks. A task that has such blocks already learns on with them; FAILED_PRECONDITION if
// they are others than are asked for.
class BlockStrategy final : public train::Strategy {
 public:
  BlockStrategy(std::string name, MakeBlocks make) : name_(std::move(name)), make_(std::move(make)) {}

  std::string_view name() const override { return name_; }
  absl::Status BeginTask(train::TaskSetup& setup) override;

 private:
  const std::string name_;
  const MakeBlocks make_;
};

// What strategies of bottlenecks let be chosen: "width", with its default, and "places".
OptionTable BottleneckOptions(int64_t width);
// Bottlenecks of that kind as the options have it, which read no other task's.
checkpoint::Blocks BottleneckBlocks(checkpoint::BlocksKind kind, const OptionValues& options);

// Weights, gradients and two moments of such blocks, and what they take in the version.
StrategyCost BlockCost(const checkpoint::Blocks& blocks, const StrategySizes& sizes);

}  // namespace engram::continual
