#include "core/continual/registry.h"

#include <string_view>
#include <utility>

#include "absl/base/casts.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace engram::continual {
namespace {

struct Known {
  std::string summary;
  StrategyFactory factory;
};

// Filled before main by the registrations, read-only afterwards.
std::map<std::string, Known>& Registry() {
  static std::map<std::string, Known> registry;
  return registry;
}

class PenaltyStrategy final : public train::Strategy {
 public:
  PenaltyStrategy(const std::string& name, BuildPenalties build) : name_(name), build_(std::move(build)) {}

  std::string_view name() const override { return name_; }
  absl::Status BeginTask(train::TaskSetup& setup) override {
    if (setup.training_units < 1) return InvalidField("dataset", "has no training texts");
    ENGRAM_ASSIGN_OR_RETURN(penalties_, build_(setup.model, setup));
    for (const train::QuadraticPenalty& penalty : penalties_) {
      if (penalty.end != setup.model.EncoderElements() || penalty.anchor.numel() != penalty.end) {
        return absl::FailedPreconditionError("a consolidation belongs to an encoder of another size");
      }
    }
    return absl::OkStatus();
  }
  std::vector<train::QuadraticPenalty> Penalties() override { return penalties_; }

 private:
  const std::string name_;
  BuildPenalties build_;
  std::vector<train::QuadraticPenalty> penalties_;
};

}  // namespace

StrategyRegistration::StrategyRegistration(const std::string& name, const std::string& summary,
                                           StrategyFactory factory) {
  Registry()[name] = {summary, std::move(factory)};
}

std::map<std::string, std::string> KnownStrategies() {
  std::map<std::string, std::string> known;
  for (const auto& [name, entry] : Registry()) known[name] = entry.summary;
  return known;
}

absl::StatusOr<std::unique_ptr<train::Strategy>> OpenStrategy(const std::string& name, const StrategyOptions& options,
                                                              ConsolidationSource consolidations) {
  auto found = Registry().find(name);
  if (found == Registry().end()) {
    const std::string known =
        absl::StrJoin(Registry(), ", ", [](std::string* out, const auto& entry) { out->append(entry.first); });
    return InvalidField("strategy", absl::StrCat("unknown strategy \"", name, "\"; the strategies are ", known));
  }
  if (!(options.lambda >= 0 && options.lambda <= 1e9)) {
    return InvalidField(
        "lambda", absl::StrCat("is ", options.lambda, "; it must lie in [0, 1e9] Bayes units (about 1000 is usual)"));
  }
  if (!(options.gamma > 0 && options.gamma <= 1))
    return InvalidField("gamma", absl::StrCat("is ", options.gamma, "; it must lie in (0, 1]"));
  return found->second.factory(options, std::move(consolidations));
}

absl::StatusOr<std::unique_ptr<train::Strategy>> MakeStrategy(const std::string& name, const StrategyOptions& options,
                                                              std::vector<Consolidation> consolidations) {
  return OpenStrategy(name, options, FromMemory(std::move(consolidations)));
}

std::unique_ptr<train::Strategy> MakePenaltyStrategy(const std::string& name, BuildPenalties build) {
  return std::make_unique<PenaltyStrategy>(name, std::move(build));
}

train::QuadraticPenalty MakePenalty(const Consolidation& consolidation, at::Tensor importance, double strength,
                                    train::PenaltyMode mode) {
  train::QuadraticPenalty penalty;
  penalty.name = consolidation.task;
  penalty.end = importance.numel();
  penalty.importance = std::move(importance);
  penalty.anchor = consolidation.anchor;
  penalty.strength = strength;
  penalty.mode = mode;
  return penalty;
}

absl::Status NeedConsolidations(const ConsolidationSource& consolidations, const std::string& strategy) {
  if (consolidations.count > 0) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kFailedPrecondition, "NOT_CONSOLIDATED",
      absl::StrCat("strategy ", strategy,
                   " protects consolidated tasks and this version has none: consolidate a task first, or use naive"));
}

double BayesStrength(double lambda, int64_t training_count_a, int64_t training_count_b) {
  return lambda * static_cast<double>(training_count_a) / static_cast<double>(training_count_b);
}

}  // namespace engram::continual
