#pragma once

// What the strategies share that are nothing but quadratic penalties over the encoder (docs/ewc.md).

#include <cstdint>
#include <functional>
#include <vector>

#include "core/continual/registry.h"
#include "core/train/quadratic_penalty.h"

namespace engram::continual {

// "lambda" and "penalty_mode", as every penalty strategy has them.
std::vector<Option> PenaltyOptions();
// And "centre", of those with one quadratic per consolidated task.
std::vector<Option> SeparatePenaltyOptions();

// A factory of strategies whose penalties `build` makes when a task begins. The rest is common to all:
// FAILED_PRECONDITION for a consolidation of an encoder of another size.
using BuildPenalties = std::function<absl::StatusOr<std::vector<train::QuadraticPenalty>>(
    const OptionValues& options, const ConsolidationSource& consolidations, const nn::Model& model,
    const train::TaskContext& context)>;
StrategyFactory PenaltyFactory(BuildPenalties build);

// A factory of strategies with SeparatePenaltyOptions and one quadratic per consolidated task A:
//   1/2 lambda N_A / N_B sum_i importance_i (theta_i - anchor_i)^2
// where `importance` is made of the task's Fisher, fp32 [encoder elements], >= 0, and the anchor is A's own
// (Kirkpatrick et al., PNAS 2017) or, with centre=latest, that of the task consolidated last (Huszar, PNAS 2018), so that
// all of them are one quadratic.
using MakeImportance = at::Tensor (*)(const at::Tensor& fisher, const nn::Model& model,
                                      const train::TaskContext& context);
StrategyFactory OneQuadraticPerTask(MakeImportance importance);
// What that costs: importance and anchor of each quadratic.
StrategyCost OneQuadraticPerTaskCost(const OptionValues& options, const StrategySizes& sizes);

// One quadratic of `importance` around the anchor of `consolidation`, in the mode that the options ask for.
train::QuadraticPenalty MakePenalty(const Consolidation& consolidation, at::Tensor importance, double strength,
                                    const OptionValues& options);

// lambda N_A / N_B: the strength of task A's quadratic while a task is learned whose loss is the mean over N_B terms
// (texts, or tagged or masked tokens).
double BayesStrength(double lambda, int64_t training_count_a, int64_t training_count_b);

}  // namespace engram::continual
