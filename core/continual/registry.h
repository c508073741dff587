#pragma once

// Strategies by name. A strategy is one file in strategies/ that registers itself; nothing else knows it:
//   namespace { const StrategyRegistration kRegistration("ewc", "one quadratic for each earlier task", MakeEwc); }

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/continual/consolidation.h"
#include "core/train/strategy.h"

namespace engram::continual {

// What a request may say of a strategy.
struct StrategyOptions {
  double lambda = 1000;  // in Bayes units (docs/ewc.md), [0, 1e9]
  double gamma = 1.0;    // online_ewc: how much of the earlier tasks is kept, (0, 1]
  train::PenaltyMode mode = train::PenaltyMode::kAuto;
};

using StrategyFactory =
    std::function<absl::StatusOr<std::unique_ptr<train::Strategy>>(const StrategyOptions&, ConsolidationSource)>;

class StrategyRegistration {
 public:
  StrategyRegistration(const std::string& name, const std::string& summary, StrategyFactory factory);
};

// Name -> one line on what it does, for help texts and errors.
std::map<std::string, std::string> KnownStrategies();

// INVALID_ARGUMENT for an unknown name (the known ones are listed), lambda that is negative, NaN or above 1e9, gamma
// outside (0, 1]; FAILED_PRECONDITION if the strategy stands on consolidations and there are none. Consolidations are
// read when the task begins.
absl::StatusOr<std::unique_ptr<train::Strategy>> OpenStrategy(const std::string& name, const StrategyOptions& options,
                                                              ConsolidationSource consolidations);
// The same for consolidations that are in memory.
absl::StatusOr<std::unique_ptr<train::Strategy>> MakeStrategy(const std::string& name, const StrategyOptions& options,
                                                              std::vector<Consolidation> consolidations);

// A strategy that is nothing but quadratics over the encoder; `build` makes them when the task and its size are known,
// and leaves name, begin and end to this class. Shared by all penalty strategies.
using BuildPenalties =
    std::function<absl::StatusOr<std::vector<train::QuadraticPenalty>>(const nn::Model&, const train::TaskContext&)>;
std::unique_ptr<train::Strategy> MakePenaltyStrategy(const std::string& name, BuildPenalties build);

// One quadratic of `importance` around the anchor of `consolidation`.
train::QuadraticPenalty MakePenalty(const Consolidation& consolidation, at::Tensor importance, double strength,
                                    train::PenaltyMode mode);

// FAILED_PRECONDITION naming the remedy if there are no consolidations.
absl::Status NeedConsolidations(const ConsolidationSource& consolidations, const std::string& strategy);

// lambda N_A / N_B: the strength of task A's quadratic while a task is learned whose loss is the mean over N_B terms
// (texts, or tagged or masked tokens).
double BayesStrength(double lambda, int64_t training_count_a, int64_t training_count_b);

}  // namespace engram::continual
