#include "core/continual/strategy_info.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/strict_json.h"
#include "core/continual/composition.h"

namespace engram::continual {
namespace {

std::map<std::string, StrategyInfo>& Registry() {
  static std::map<std::string, StrategyInfo> registry;
  return registry;
}

}  // namespace

const std::map<std::string, StrategyInfo>& Strategies() { return Registry(); }

void AddStrategyInfo(StrategyInfo info) {
  const std::string name = info.name;
  info.options = info.options.Named("option of " + name);
  Registry()[name] = std::move(info);
}

absl::StatusOr<const StrategyInfo*> FindStrategy(const std::string& name) {
  const auto found = Strategies().find(name);
  if (found != Strategies().end()) return &found->second;
  if (name.find('+') != std::string::npos) return FindComposition(name);
  std::set<std::string> known;
  for (const auto& [other, unused] : Strategies()) known.insert(other);
  const std::string nearest = NearestName(name, known);
  return InvalidField("strategy", absl::StrCat("unknown strategy ", Quoted(name),
                                               nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?"),
                                               " The strategies are ", absl::StrJoin(known, ", ")));
}

std::string MemoryOwner(const StrategyInfo& info) {
  for (const std::string& part : info.parts) {
    if (Strategies().at(part).needs.memory) return part;
  }
  return info.name;
}

const StrategyInfo& DefaultStrategy(bool consolidated) {
  const DefaultWhere where = consolidated ? DefaultWhere::kConsolidated : DefaultWhere::kNothingConsolidated;
  return std::find_if(Strategies().begin(), Strategies().end(),
                      [where](const auto& entry) { return entry.second.default_where == where; })
      ->second;
}

absl::Status CheckNeeds(const StrategyInfo& info, int64_t consolidations) {
  if (!info.needs.consolidations || consolidations > 0) return absl::OkStatus();
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, "NOT_CONSOLIDATED",
                          absl::StrCat("strategy ", info.name,
                                       " protects consolidated tasks and this version has none: consolidate a task "
                                       "first, or use ",
                                       DefaultStrategy(/*consolidated=*/false).name));
}

StrategyCost CostOf(const StrategyInfo& info, const OptionValues& options, const StrategySizes& sizes) {
  return info.cost ? info.cost(options, sizes) : StrategyCost();
}

}  // namespace engram::continual
