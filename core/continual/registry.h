#pragma once

// Making strategies by name. A strategy is one file in strategies/ that registers itself; nothing else knows it:
//
//   absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
//                                                         StrategyInputs inputs) { ... }
//
//   const StrategyRegistration kRegistration(
//       {.name = "toy",
//        .summary = "what it does, in one line",
//        .options = OptionTable({Option::Real("tau", 0.5, LeftOpen(0, 1), "what tau is")}),
//        .needs = {.consolidations = true}, .cost = Cost},
//       Make);
//
// From there StartTask knows the name; options are checked, described and stored, and the cost is counted as stated.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/base/options.h"
#include "core/base/status.h"
#include "core/continual/consolidation.h"
#include "core/continual/strategy_info.h"
#include "core/train/strategy.h"

namespace engram::continual {

// What a strategy may read of the version that a task starts from.
struct StrategyInputs {
  ConsolidationSource consolidations = {};  // read when the task begins
  train::MemorySource memory = {};          // what MemoryOwner of the strategy stored with the version
};

// `info` is the strategy's own registration, `options` values of its table. Where the strategy needs consolidations
// there is at least one.
using StrategyFactory = std::function<absl::StatusOr<std::unique_ptr<train::Strategy>>(
    const StrategyInfo& info, const OptionValues& options, StrategyInputs inputs)>;

class StrategyRegistration {
 public:
  StrategyRegistration(StrategyInfo info, StrategyFactory make);
};

// The strategy of that name with these options, the others at their defaults. INVALID_ARGUMENT for an unknown name, an
// option that the strategy does not have or a value out of range; FAILED_PRECONDITION if it needs what is not there.
absl::StatusOr<std::unique_ptr<train::Strategy>> MakeStrategy(const std::string& name,
                                                              const std::map<std::string, std::string>& options,
                                                              StrategyInputs inputs);

}  // namespace engram::continual
