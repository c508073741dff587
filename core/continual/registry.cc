#include "core/continual/registry.h"

#include <utility>
#include <vector>

#include "core/continual/composition.h"

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

namespace {

absl::StatusOr<std::unique_ptr<train::Strategy>> MakeComposition(const StrategyInfo& info, const OptionValues& values,
                                                                 const StrategyInputs& inputs) {
  std::vector<std::unique_ptr<train::Strategy>> parts;
  for (const std::string& name : info.parts) {
    const StrategyInfo& part = Strategies().at(name);
    ENGRAM_ASSIGN_OR_RETURN(const OptionValues own, OptionsOfPart(part, values));
    ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<train::Strategy> made, Factories().at(name)(part, own, inputs));
    parts.push_back(std::move(made));
  }
  return Compose(info.name, std::move(parts), MemoryOwner(info));
}

}  // namespace

absl::StatusOr<std::unique_ptr<train::Strategy>> MakeStrategy(const std::string& name,
                                                              const std::map<std::string, std::string>& options,
                                                              StrategyInputs inputs) {
  ENGRAM_ASSIGN_OR_RETURN(const StrategyInfo* const info, FindStrategy(name));
  ENGRAM_ASSIGN_OR_RETURN(const OptionValues values, info->options.Parse(options));
  ENGRAM_RETURN_IF_ERROR(CheckNeeds(*info, inputs.consolidations.count));
  if (!info->parts.empty()) return MakeComposition(*info, values, inputs);
  return Factories().at(name)(*info, values, std::move(inputs));
}

}  // namespace engram::continual
