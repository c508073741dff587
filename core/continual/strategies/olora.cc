// Orthogonal low-rank adaptation (Wang et al., "Orthogonal subspace learning for language model continual learning",
// Findings of EMNLP 2023): one merged low-rank update per task, whose rows A are held orthogonal to those A_k of the
// earlier tasks by the penalty
//   lambda sum_k sum_ij (A A_k^T)_ij^2            gradient 2 lambda sum_k A A_k^T A_k
// as the paper writes it (its public code sums absolute values). The earlier A_k, [r_k, in] each, stay with the version.

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/mm.h"
#include "core/continual/low_rank.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

class OrthogonalLowRank final : public LowRankStrategy {
 public:
  OrthogonalLowRank(const std::string& name, const OptionValues& options, train::MemorySource source)
      : LowRankStrategy(name, options), lambda_(options.Real("lambda")), source_(std::move(source)) {}

  absl::Status BeginTask(train::TaskSetup& setup) override {
    ENGRAM_RETURN_IF_ERROR(LowRankStrategy::BeginTask(setup));
    earlier_.clear();
    ENGRAM_ASSIGN_OR_RETURN(memory_, source_.Read());
    for (const Update& update : updates()) {
      at::Tensor& earlier = earlier_.emplace_back();
      const std::string name = update.parameter + ".a";
      if (!memory_.tensors.contains(name)) continue;  // the first task, or one of other targets
      ENGRAM_ASSIGN_OR_RETURN(earlier, StoredMatrix(memory_, name, -1, update.base.size(1)));
      earlier = earlier.to(parameters().device());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<double> AfterClipping(const train::ParameterView&, const train::StepInfo&, double scale) override {
    double value = 0;
    for (size_t i = 0; i < earlier_.size(); ++i) {
      if (!earlier_[i].defined()) continue;
      const nn::SlotId a = updates()[i].a;
      const at::Tensor overlap = at::mm(parameters().Weight(a), earlier_[i].t());
      value += lambda_ * (overlap * overlap).sum(at::kDouble).item<double>();
      Gradient(a).addmm_(overlap, earlier_[i], 1, 2 * lambda_ / scale);
    }
    return value;
  }

  absl::Status EndTask(const train::TaskSetup&, train::VersionMemory& memory) override {
    memory = std::move(memory_);  // with those of targets that this task leaves alone
    for (size_t i = 0; i < earlier_.size(); ++i) {
      const at::Tensor a = parameters().Weight(updates()[i].a);
      memory.tensors[updates()[i].parameter + ".a"] = (earlier_[i].defined() ? at::cat({earlier_[i], a}) : a).cpu();
    }
    return absl::OkStatus();
  }

 private:
  const double lambda_;
  const train::MemorySource source_;
  train::VersionMemory memory_;
  std::vector<at::Tensor> earlier_;  // of each update, the rows of all A_k; undefined: none
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<OrthogonalLowRank>(info.name, options, std::move(inputs.memory));
}

// What every low-rank strategy holds, with the rows of the earlier tasks.
StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  StrategyCost cost = LowRankCost(options, sizes);
  const int64_t rows = DownElements(options, sizes) * static_cast<int64_t>(sizeof(float));
  cost.bytes += sizes.earlier_tasks * rows;
  cost.version_bytes = rows;
  return cost;
}

std::vector<Option> Options() {
  std::vector<Option> options = LowRankOptions();
  options.push_back(Option::Real("lambda", 0.5, Closed(0, 1e9), "strength of the penalty on overlap"));
  return options;
}

const StrategyRegistration kRegistration(
    {.name = "olora",
     .summary = "a merged low-rank update per task, held orthogonal to those of earlier tasks",
     .options = OptionTable(Options()),
     .needs = {.added_parameters = true, .memory = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
