// EWC with a Kronecker-factored Fisher information (Ritter, Botev and Barber, "Online structured Laplace approximations
// for overcoming catastrophic forgetting", NeurIPS 2018): where `ewc` sees each weight alone, this sees how the weights of
// a linear layer act together. Once a task t of N_t texts is learned, the factors A_t and G_t of every linear layer are
// taken (core/continual/kronecker.h), labels drawn from the model; later tasks are learned with
//
//   1/2 (lambda / N_B) sum_t N_t [ sum_layers tr(G_t D A_t D^T)  +  sum_i F_t,i d_i^2 ]
//
// D and d what weights moved away from those at the end of the last task that the strategy learned, i the parameters that
// belong to no linear layer (embeddings, LayerNorm, pooler), F_t their Fisher information as `ewc` has it. One centre for
// all tasks: that is what the Laplace approximation of the posterior of all of them gives (Huszar, PNAS 2018). Sums of
// Kronecker products are none themselves, so the factors of every task are kept.

#include <string>
#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/zeros_like.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/continual/encoder_memory.h"
#include "core/continual/importance.h"
#include "core/continual/kronecker.h"
#include "core/continual/penalty_strategy.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

constexpr const char* kTasks = "tasks";
constexpr const char* kTexts = "texts.";

class KroneckerEwc final : public train::Strategy {
 public:
  KroneckerEwc(std::string name, const OptionValues& options, train::MemorySource source)
      : name_(std::move(name)), options_(options), source_(std::move(source)) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    model_ = &setup.model;
    strength_ = options_.Real("lambda") / static_cast<double>(setup.training_units);
    tasks_.clear();
    ENGRAM_ASSIGN_OR_RETURN(memory_, source_.Read());
    if (memory_.empty()) return absl::OkStatus();
    const at::Tensor now = EncoderWeights(setup.model);
    ENGRAM_ASSIGN_OR_RETURN(diagonal_, RecallEncoder(setup.model, "diagonal", memory_, at::zeros_like(now)));
    ENGRAM_ASSIGN_OR_RETURN(anchor_, RecallEncoder(setup.model, "anchor", memory_, now));
    std::erase_if(memory_.tensors, [](const auto& tensor) {
      return tensor.first.starts_with("diagonal.") || tensor.first.starts_with("anchor.");
    });
    ENGRAM_ASSIGN_OR_RETURN(const int64_t count, Stored(kTasks));
    for (int64_t t = 0; t < count; ++t) {
      ENGRAM_ASSIGN_OR_RETURN(const int64_t texts, Stored(absl::StrCat(kTexts, t)));
      ENGRAM_ASSIGN_OR_RETURN(LayerFactors factors, RecallFactors(setup.model, absl::StrCat(t), memory_));
      tasks_.push_back({static_cast<double>(texts), std::move(factors)});
    }
    return absl::OkStatus();
  }

  // What belongs to no linear layer.
  std::vector<train::QuadraticPenalty> Penalties() override {
    if (tasks_.empty()) return {};
    return {{"earlier tasks", diagonal_, anchor_, strength_, 0, diagonal_.numel(),
             train::ParsePenaltyMode(options_.Text("penalty_mode")).value_or(train::PenaltyMode::kAuto)}};
  }

  absl::StatusOr<double> AfterClipping(const train::ParameterView& view, const train::StepInfo&,
                                       double scale) override {
    if (strength_ == 0) return 0.0;
    double value = 0;
    at::Tensor gradients = view.gradients;
    for (const Task& task : tasks_) {
      const double factor = 0.5 * strength_ * task.texts;
      for (const auto& [matrix, factors] : task.factors) {
        value += factor * AddKroneckerGradient(model_->parameters(), matrix, factors, view.weights, anchor_,
                                               factor / scale, gradients);
      }
    }
    return value;
  }

  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    ImportanceOptions options;
    options.kind = ImportanceKind::kSampled;
    options.samples = options_.Whole("samples");
    options.seed = setup.seed;
    options.masking = setup.masking;
    KroneckerSink sink(*model_, options_.Text("tokens") == "reduce" ? TokenSharing::kReduce : TokenSharing::kExpand);
    ENGRAM_ASSIGN_OR_RETURN(const Importance own,
                            ComputeImportance(*model_, setup.task, setup.examples, options, nullptr, &sink));
    const auto texts = static_cast<double>(own.training_examples);
    at::Tensor diagonal = own.fisher * texts;
    for (const nn::SlotId matrix : LayerMatrices(*model_)) {
      ZeroOut(matrix, diagonal);
      if (const nn::SlotId bias = BiasOf(model_->parameters(), matrix); bias >= 0) ZeroOut(bias, diagonal);
    }
    if (diagonal_.defined()) diagonal.add_(diagonal_);
    memory = std::move(memory_);  // with the factors of earlier tasks
    RememberEncoder(*model_, "diagonal", diagonal, memory);
    RememberEncoder(*model_, "anchor", EncoderWeights(*model_), memory);
    RememberFactors(*model_, absl::StrCat(tasks_.size()), sink.Finish(own.samples), memory);
    memory.values[absl::StrCat(kTexts, tasks_.size())] = absl::StrCat(own.training_examples);
    memory.values[kTasks] = absl::StrCat(tasks_.size() + 1);
    return absl::OkStatus();
  }

 private:
  struct Task {
    double texts = 0;
    LayerFactors factors;
  };

  void ZeroOut(nn::SlotId slot, at::Tensor& flat) const {
    const nn::ParameterSlice& slice = model_->parameters().slice(slot);
    flat.narrow(0, slice.offset, slice.size).zero_();
  }
  // A count of the memory, at least 1.
  absl::StatusOr<int64_t> Stored(const std::string& name) const {
    const auto found = memory_.values.find(name);
    int64_t value = 0;
    if (found != memory_.values.end() && absl::SimpleAtoi(found->second, &value) && value > 0) return value;
    return StatusWithReason(absl::StatusCode::kDataLoss, "MEMORY_DAMAGED",
                            absl::StrCat("what the strategy remembers is damaged: ", name));
  }

  const std::string name_;
  const OptionValues options_;
  const train::MemorySource source_;
  nn::Model* model_ = nullptr;
  train::VersionMemory memory_;  // what earlier tasks left
  double strength_ = 0;
  std::vector<Task> tasks_;
  at::Tensor diagonal_, anchor_;  // undefined: there are no earlier tasks
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<KroneckerEwc>(info.name, options, std::move(inputs.memory));
}

// The factors of every earlier task; diagonal and anchor.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) {
  const int64_t d = sizes.hidden_size, inner = sizes.intermediate_size;
  const int64_t inputs = 3 * (d + 1) * (d + 1) + (inner + 1) * (inner + 1);
  const int64_t factors = sizes.layers * (inputs + 5 * d * d + inner * inner) * static_cast<int64_t>(sizeof(float));
  const bool first = sizes.earlier_tasks == 0;
  return {.bytes = first ? 0 : sizes.earlier_tasks * factors + 2 * sizes.encoder_bytes,
          .version_bytes = factors + (first ? 2 * sizes.encoder_bytes : 0)};
}

std::vector<Option> Options() {
  std::vector<Option> options = PenaltyOptions();
  options.push_back(Option::Choice("tokens", "expand", {"expand", "reduce"},
                                   "a text's tokens in the factors: each for itself, or summed first"));
  options.push_back(Option::Whole("samples", 1000, Closed(0, 1e9), "texts that the factors are taken of; 0: all"));
  return options;
}

const StrategyRegistration kRegistration(
    {.name = "kfac_ewc",
     .summary = "EWC with Kronecker factors of the Fisher information: weights of a layer are seen together",
     .options = OptionTable(Options()),
     .needs = {.memory = true},
     .strength = {"lambda"},
     .grows_heads = true,
     .cost = Cost,
     .role = StrategyRole::kProtects},
    Make);

}  // namespace
}  // namespace engram::continual
