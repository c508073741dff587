#include "core/continual/penalty_strategy.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace engram::continual {
namespace {

using Penalties = std::vector<train::QuadraticPenalty>;

constexpr const char* kLambda = "lambda";
constexpr const char* kPenaltyMode = "penalty_mode";
constexpr const char *kCentre = "centre", *kOwn = "own", *kLatest = "latest";

class PenaltyStrategy final : public train::Strategy {
 public:
  PenaltyStrategy(std::string name, OptionValues options, ConsolidationSource consolidations, BuildPenalties build)
      : name_(std::move(name)),
        options_(std::move(options)),
        consolidations_(std::move(consolidations)),
        build_(std::move(build)) {}

  std::string_view name() const override { return name_; }
  absl::Status BeginTask(train::TaskSetup& setup) override {
    if (setup.training_units < 1) return InvalidField("dataset", "has no training texts");
    ENGRAM_ASSIGN_OR_RETURN(penalties_, build_(options_, consolidations_, setup.model, setup));
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
  const OptionValues options_;
  const ConsolidationSource consolidations_;
  const BuildPenalties build_;
  std::vector<train::QuadraticPenalty> penalties_;
};

// Each task's quadratic around its own anchor.
absl::StatusOr<Penalties> AroundTheirOwn(MakeImportance importance, const OptionValues& options,
                                         const ConsolidationSource& consolidations, const nn::Model& model,
                                         const train::TaskContext& context) {
  Penalties penalties;
  for (int64_t i = 0; i < consolidations.count; ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const Consolidation c, consolidations.read(i));
    const double strength = BayesStrength(options.Real(kLambda), c.training_examples, context.training_units);
    penalties.push_back(MakePenalty(c, importance(c.fisher, model, context), strength, options));
  }
  return penalties;
}

// Their sum around the latest anchor: the weights at which the last of them was taken remember the others already.
absl::StatusOr<Penalties> AroundTheLatest(MakeImportance importance, const OptionValues& options,
                                          const ConsolidationSource& consolidations, const nn::Model& model,
                                          const train::TaskContext& context) {
  Consolidation latest;
  at::Tensor precision;
  for (int64_t i = 0; i < consolidations.count; ++i) {
    latest = {};  // before the next one is read: precision and one consolidation are all there ever is
    ENGRAM_ASSIGN_OR_RETURN(latest, consolidations.read(i));
    const at::Tensor own = importance(latest.fisher, model, context);
    const auto count = static_cast<double>(latest.training_examples);
    precision = precision.defined() ? precision.add_(own, count) : own.mul(count);
  }
  return Penalties{
      MakePenalty(latest, precision, BayesStrength(options.Real(kLambda), 1, context.training_units), options)};
}

}  // namespace

std::vector<Option> SeparatePenaltyOptions() {
  std::vector<Option> options = PenaltyOptions();
  options.push_back(
      Option::Choice(kCentre, kOwn, {kOwn, kLatest},
                     "where each task's quadratic is centred: at the weights that the task ended with, or "
                     "all at those of the task that was consolidated last"));
  return options;
}

std::vector<Option> PenaltyOptions() {
  return {Option::Real(kLambda, 1000, Closed(0, 1e9),
                       "strength of the pull to earlier weights, in Bayes units: 1 is the Laplace posterior, a penalty "
                       "of lambda N_A / (2 N_B) sum F d^2 against the mean loss"),
          Option::Choice(kPenaltyMode, "auto", {"auto", "coupled", "proximal"},
                         "how the pull acts: inside AdamW, as an implicit step after it, or auto: inside AdamW but for "
                         "weights that would oscillate")};
}

StrategyFactory PenaltyFactory(BuildPenalties build) {
  return [build = std::move(build)](const StrategyInfo& info, const OptionValues& options,
                                    StrategyInputs inputs) -> absl::StatusOr<std::unique_ptr<train::Strategy>> {
    return std::make_unique<PenaltyStrategy>(info.name, options, std::move(inputs.consolidations), build);
  };
}

StrategyFactory OneQuadraticPerTask(MakeImportance importance) {
  return PenaltyFactory([importance](const OptionValues& options, const ConsolidationSource& consolidations,
                                     const nn::Model& model, const train::TaskContext& context) {
    return (options.Text(kCentre) == kOwn ? AroundTheirOwn : AroundTheLatest)(importance, options, consolidations,
                                                                              model, context);
  });
}

StrategyCost OneQuadraticPerTaskCost(const OptionValues& options, const StrategySizes& sizes) {
  const int64_t quadratics = options.Text(kCentre) == kOwn ? sizes.consolidations : 1;
  return {.bytes = 2 * sizes.encoder_bytes * quadratics};
}

train::QuadraticPenalty MakePenalty(const Consolidation& consolidation, at::Tensor importance, double strength,
                                    const OptionValues& options) {
  train::QuadraticPenalty penalty;
  penalty.name = consolidation.task;
  penalty.end = importance.numel();
  penalty.importance = std::move(importance);
  penalty.anchor = consolidation.anchor;
  penalty.strength = strength;
  penalty.mode = *train::ParsePenaltyMode(options.Text(kPenaltyMode));
  return penalty;
}

double BayesStrength(double lambda, int64_t training_count_a, int64_t training_count_b) {
  return lambda * static_cast<double>(training_count_a) / static_cast<double>(training_count_b);
}

}  // namespace engram::continual
