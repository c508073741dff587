// Plain fine-tuning: nothing is protected. The lower bound that every other strategy is measured against.

#include "core/continual/registry.h"

namespace engram::continual {
namespace {

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyOptions&, ConsolidationSource) {
  return MakePenaltyStrategy(
      "naive", [](const nn::Model&, const train::TaskContext&) { return std::vector<train::QuadraticPenalty>(); });
}

const StrategyRegistration kRegistration("naive", "plain fine-tuning; protects nothing", Make);

}  // namespace
}  // namespace engram::continual
