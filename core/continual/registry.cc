#include "core/continual/registry.h"

#include <utility>

namespace engram::continual {
namespace {

// Filled before main by the registrations, read-only afterwards.
std::map<std::string, StrategyFactory>& Factories() {
  static std::map<std::string, StrategyFactory> factories;
  return factories;
}

}  // namespace

StrategyRegistration::StrategyRegistration(StrategyInfo info, StrategyFactory make) {
  Factories()[info.name] = std::move(make);
  AddStrategyInfo(std::move(info));
}

absl::StatusOr<std::unique_ptr<train::Strategy>> MakeStrategy(const std::string& name,
                                                              const std::map<std::string, std::string>& options,
                                                              StrategyInputs inputs) {
  ENGRAM_ASSIGN_OR_RETURN(const StrategyInfo* const info, FindStrategy(name));
  ENGRAM_ASSIGN_OR_RETURN(const OptionValues values, info->options.Parse(options));
  ENGRAM_RETURN_IF_ERROR(CheckNeeds(*info, inputs.consolidations.count));
  return Factories().at(name)(*info, values, std::move(inputs));
}

}  // namespace engram::continual
