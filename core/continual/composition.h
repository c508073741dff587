#pragma once

// Strategies that work together on one task: "er+lwf". A composition is of two or three parts, at most one of each role
// (StrategyRole), written and called in the roles' order: replay, distillation, pull on the weights. At most one part
// keeps a memory, which stays that part's own, so that a line may go from "er" to "er+lwf" and back.
//
// Every part does what it does alone: losses, gradients and penalties add up. Options are the parts' own, as
// "<part>.<option>". Replay makes the mean over the union of batch and replayed texts of the whole gradient; what
// distillation adds are losses of the batch's own texts, and count with them.

#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/continual/strategy_info.h"
#include "core/train/strategy.h"

namespace engram::continual {

// What is known of "a+b". INVALID_ARGUMENT (field "strategy") for parts that are unknown, combine with none, have the
// same role or another order, or would keep two memories; it names them and the remedy. Thread-safe; lives until the
// program ends.
absl::StatusOr<const StrategyInfo*> FindComposition(const std::string& name);

// The values of `part` among those of the composition.
absl::StatusOr<OptionValues> OptionsOfPart(const StrategyInfo& part, const OptionValues& values);

// The strategy that calls `parts` in their order. `memory_owner`: which of them its memory is of.
std::unique_ptr<train::Strategy> Compose(std::string name, std::vector<std::unique_ptr<train::Strategy>> parts,
                                         const std::string& memory_owner);

}  // namespace engram::continual
