// EWC on one shared low-rank update ("EWC-LoRA", ICLR 2026, arXiv 2602.17559): the update B A goes on from task to task,
// and the Fisher information of the updated matrices is taken in their full space, so that the penalty
//   1/2 (lambda / N_B) sum_i P_i (W_i - W*_i)^2      P_t = gamma P_{t-1} + N_t F_t
// knows what a change of B A does; W* is what the task starts from. Its gradient goes to A and B by the chain rule. F is
// the mean over texts of squared gradients with labels drawn from the model (core/continual/importance.h); the paper's
// public code squares gradients of batches instead. What is stored does not grow with the number of tasks.

#include "ATen/TensorOperators.h"
#include "ATen/ops/mm.h"
#include "core/continual/importance.h"
#include "core/continual/low_rank.h"
#include "core/continual/penalty_strategy.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

class ElasticLowRank final : public LowRankStrategy {
 public:
  ElasticLowRank(const std::string& name, const OptionValues& options, train::MemorySource source)
      : LowRankStrategy(name, options), source_(std::move(source)) {}

  absl::Status BeginTask(train::TaskSetup& setup) override {
    if (setup.kind == checkpoint::TaskKind::kMaskedLanguageModel) {
      return absl::FailedPreconditionError(
          "strategy ewc_lora takes no importance of masked language models; take lora, or ewc");
    }
    ENGRAM_RETURN_IF_ERROR(LowRankStrategy::BeginTask(setup));
    strength_ = BayesStrength(options_.Real("lambda"), 1, setup.training_units);
    ENGRAM_ASSIGN_OR_RETURN(const train::VersionMemory memory, source_.Read());
    protected_.clear();
    if (memory.empty()) return absl::OkStatus();
    if (memory.values != Shape()) {
      return absl::FailedPreconditionError(
          "the version's low-rank update has another rank, alpha or targets; set them as they were");
    }
    for (Update& update : updates()) {
      const int64_t out = update.base.size(0), in = update.base.size(1), rank = options_.Whole("rank");
      ENGRAM_ASSIGN_OR_RETURN(const at::Tensor a, StoredMatrix(memory, update.parameter + ".a", rank, in));
      ENGRAM_ASSIGN_OR_RETURN(const at::Tensor b, StoredMatrix(memory, update.parameter + ".b", out, rank));
      ENGRAM_ASSIGN_OR_RETURN(const at::Tensor p, StoredMatrix(memory, update.parameter + ".precision", out, in));
      protected_.push_back({p.to(update.base.device()), update.base.clone()});
      StartFrom(update, a, b);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<double> AfterClipping(const train::ParameterView&, const train::StepInfo&, double scale) override {
    double value = 0;
    for (size_t i = 0; i < protected_.size(); ++i) {
      const at::Tensor moved = parameters().Weight(updates()[i].weight) - protected_[i].anchor;
      const at::Tensor pull = protected_[i].precision * moved;
      value += 0.5 * strength_ * (pull * moved).sum(at::kDouble).item<double>();
      AddToFactors(updates()[i], pull, strength_ / scale);
    }
    return value;
  }

  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    ImportanceOptions importance;
    importance.kind = ImportanceKind::kSampled;
    importance.samples = options_.Whole("fisher_samples");
    importance.seed = setup.seed;
    ENGRAM_ASSIGN_OR_RETURN(const Importance computed,
                            ComputeImportance(setup.model, setup.task, setup.examples, importance));
    memory.values = Shape();
    for (size_t i = 0; i < updates().size(); ++i) {
      const Update& update = updates()[i];
      const nn::ParameterSlice& slice = parameters().slice(update.weight);
      at::Tensor precision = computed.fisher.narrow(0, slice.offset, slice.size).view(slice.shape) *
                             static_cast<double>(computed.training_examples);
      if (!protected_.empty()) precision.add_(protected_[i].precision, options_.Real("gamma"));
      memory.tensors[update.parameter + ".precision"] = precision.cpu();
      memory.tensors[update.parameter + ".a"] = parameters().Weight(update.a).cpu().clone();
      memory.tensors[update.parameter + ".b"] = parameters().Weight(update.b).cpu().clone();
    }
    return absl::OkStatus();
  }

 private:
  struct Protected {
    at::Tensor precision, anchor;
  };

  // What two tasks must have in common to share an update.
  std::map<std::string, std::string> Shape() const {
    std::map<std::string, std::string> shape = options_.Render();
    std::erase_if(shape, [](const auto& option) {
      return option.first != "rank" && option.first != "alpha" && option.first != "targets";
    });
    return shape;
  }

  const train::MemorySource source_;
  double strength_ = 0;
  std::vector<Protected> protected_;  // of each update; empty: nothing was learned before
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<ElasticLowRank>(info.name, options, std::move(inputs.memory));
}

// What every low-rank strategy holds, with precision and anchor of the matrices.
StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  StrategyCost cost = LowRankCost(options, sizes);
  cost.bytes += 2 * TargetElements(options, sizes) * static_cast<int64_t>(sizeof(float));
  if (sizes.earlier_tasks == 0) {
    cost.version_bytes = TargetElements(options, sizes) * static_cast<int64_t>(sizeof(float));
  }
  return cost;
}

std::vector<Option> Options() {
  std::vector<Option> options = LowRankOptions();
  options.push_back(Option::Real("lambda", 1000, Closed(0, 1e9), "strength of the penalty, in Bayes units"));
  options.push_back(
      Option::Real("gamma", 1, LeftOpen(0, 1), "how much of the earlier tasks' importance each further one leaves"));
  options.push_back(Option::Whole("fisher_samples", 1000, Closed(0, 1e9), "texts that importance is taken of; 0: all"));
  return options;
}

const StrategyRegistration kRegistration(
    {.name = "ewc_lora",
     .summary = "one low-rank update for all tasks, EWC on the matrices that it moves",
     .options = OptionTable(Options()),
     .needs = {.examples = true, .added_parameters = true, .memory = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
