// Merging (core/continual/merging.h): every task is learned from the same weights, theta_0, by plain fine-tuning, as if no
// other were there; then the encoder becomes the merge of all tasks' encoders, and each keeps the head that it learned with
// its own. No task sees another's texts, and the order of the tasks does not matter. theta_0 is the encoder that the first
// task began with, or, where another strategy has trained the encoder since, what that left.
//
// What is measured and stored is the merged encoder: a single model's figures are those of `naive` on theta_0. One task
// alone is not merged. With method=emr the encoder stays theta_0, and each task is asked with its mask of one update that
// all share (core/nn/masked_update.h); where another strategy has trained the encoder since, the update comes to that.

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/zeros_like.h"
#include "absl/strings/str_cat.h"
#include "core/continual/encoder_memory.h"
#include "core/continual/importance.h"
#include "core/continual/merging.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

class Merge final : public train::Strategy {
 public:
  Merge(std::string name, const OptionValues& options, train::MemorySource source)
      : name_(std::move(name)), options_(options), source_(std::move(source)) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    nn::Model& model = setup.model;
    ENGRAM_ASSIGN_OR_RETURN(const train::VersionMemory memory, source_.Read());
    base_ = EncoderWeights(model);
    const bool masked = !model.masks().empty();
    goes_on_ = !memory.empty() && (masked || Value(memory, "encoder") == EncoderDigest(model));
    if (memory.empty() && masked) {
      return absl::FailedPreconditionError(
          "this version has tasks with masks of an update, and not the vectors that the update was merged from: start "
          "from the version that they were learned in");
    }
    if (memory.empty()) return absl::OkStatus();
    // Read once to know that it can be merged with; the vectors are not held while the task is learned.
    ENGRAM_ASSIGN_OR_RETURN(const at::Tensor base, RecallEncoder(model, "base", memory, base_));
    ENGRAM_ASSIGN_OR_RETURN(const Learned learned, Recall(model, memory, setup.task));
    if (!goes_on_) return absl::OkStatus();
    if (masked) return Unmask(setup.task, model);
    base_ = base;
    Encoder(model).copy_(base_);
    model.parameters().RefreshCompute();
    return absl::OkStatus();
  }

  absl::StatusOr<bool> AfterTraining(const train::TaskSetup& setup) override {
    nn::Model& model = setup.model;
    at::Tensor encoder = Encoder(model);
    if (single_.defined()) {  // the run was interrupted while the merged encoder was measured
      encoder.copy_(single_);
      model.parameters().RefreshCompute();
    } else {
      single_ = encoder.clone();
    }
    train::VersionMemory before;
    if (goes_on_) {
      ENGRAM_ASSIGN_OR_RETURN(before, source_.Read());
    }
    ENGRAM_ASSIGN_OR_RETURN(Learned learned, Recall(model, before, setup.task));
    memory_ = std::move(before);
    ENGRAM_RETURN_IF_ERROR(Add(setup, learned));
    const bool emr = Needs("emr"), merged = !emr && learned.vectors.size() > 1;
    if (emr) {
      ENGRAM_RETURN_IF_ERROR(MaskAll(learned, model));
    } else {
      ENGRAM_RETURN_IF_ERROR(model.SetMasks({}, {}));
    }
    if (emr) encoder.copy_(base_);
    if (merged) encoder.copy_(base_ + MergeAll(model, learned));
    RememberEncoder(model, "base", base_, memory_);
    memory_.values["encoder"] = EncoderDigest(model);
    return emr || merged;
  }

  absl::Status EndTask(const train::TaskSetup&, train::VersionMemory& memory) override {
    memory = std::move(memory_);
    return absl::OkStatus();
  }

  absl::Status SaveState(train::StrategyState& state) const override {
    if (single_.defined()) state.tensors["single"] = single_;
    return absl::OkStatus();
  }
  absl::Status LoadState(const train::StrategyState& state) override {
    if (!state.tensors.contains("single")) return absl::OkStatus();
    ENGRAM_ASSIGN_OR_RETURN(single_, state.Tensor("single", base_));
    return absl::OkStatus();
  }

 private:
  // What the tasks left, in the order in which they were first learned.
  struct Learned {
    std::vector<std::string> tasks;
    std::vector<at::Tensor> vectors, fishers;
    std::vector<LayerFactors> factors;
    int64_t next = 0;  // the number that the task at hand has or gets
  };

  static at::Tensor Encoder(nn::Model& model) {
    return model.parameters().weights().narrow(0, 0, model.EncoderElements());
  }
  static std::string Value(const train::VersionMemory& memory, const std::string& name) {
    const auto found = memory.values.find(name);
    return found == memory.values.end() ? "" : found->second;
  }
  bool Needs(const char* method) const { return options_.Text("method") == method; }

  // Of all tasks but `task` itself, which takes its own number again.
  absl::StatusOr<Learned> Recall(const nn::Model& model, const train::VersionMemory& memory,
                                 const std::string& task) const {
    Learned learned;
    std::optional<int64_t> own;
    int64_t t = 0;
    for (; memory.values.contains(absl::StrCat("task.", t)); ++t) {
      if (Value(memory, absl::StrCat("task.", t)) == task) {
        own = t;
        continue;
      }
      learned.tasks.push_back(Value(memory, absl::StrCat("task.", t)));
      const at::Tensor zeros = at::zeros_like(base_);
      ENGRAM_ASSIGN_OR_RETURN(learned.vectors.emplace_back(),
                              RecallEncoder(model, absl::StrCat(t, ".vector"), memory, zeros));
      const bool with_fisher = memory.values.contains(absl::StrCat("fisher.", t)),
                 with_factors = memory.values.contains(absl::StrCat("factors.", t));
      if ((Needs("fisher") && !with_fisher) || (Needs("regmean") && !with_factors)) {
        return absl::FailedPreconditionError(absl::StrCat(
            "method=", options_.Text("method"), " needs what only tasks leave that were learned with it, and ",
            Value(memory, absl::StrCat("task.", t)), " was not; take average, arithmetic, ties or emr"));
      }
      if (with_fisher) {
        ENGRAM_ASSIGN_OR_RETURN(learned.fishers.emplace_back(),
                                RecallEncoder(model, absl::StrCat(t, ".fisher"), memory, zeros));
      }
      if (with_factors) {
        ENGRAM_ASSIGN_OR_RETURN(learned.factors.emplace_back(),
                                RecallFactors(model, absl::StrCat(t, ".factors"), memory));
      }
    }
    if (!memory.empty() && t == 0) {
      return StatusWithReason(absl::StatusCode::kDataLoss, "MEMORY_DAMAGED",
                              "what the strategy remembers is damaged: it names no task");
    }
    learned.next = own.value_or(t);
    return learned;
  }

  // What the task at hand leaves, behind what the others left.
  absl::Status Add(const train::TaskSetup& setup, Learned& learned) {
    const int64_t t = learned.next;
    learned.tasks.push_back(setup.task);
    learned.vectors.push_back(single_ - base_);
    RememberEncoder(setup.model, absl::StrCat(t, ".vector"), learned.vectors.back(), memory_);
    memory_.values[absl::StrCat("task.", t)] = setup.task;
    for (const char* what : {"fisher.", "factors."}) memory_.values.erase(absl::StrCat(what, t));
    std::erase_if(memory_.tensors, [t](const auto& tensor) {
      return tensor.first.starts_with(absl::StrCat(t, ".fisher.")) ||
             tensor.first.starts_with(absl::StrCat(t, ".factors."));
    });
    if (!Needs("fisher") && !Needs("regmean")) return absl::OkStatus();
    ImportanceOptions options;
    options.kind = ImportanceKind::kSampled;
    options.samples = options_.Whole("samples");
    options.seed = setup.seed;
    options.masking = setup.masking;
    KroneckerSink sink(setup.model, TokenSharing::kExpand);
    ENGRAM_ASSIGN_OR_RETURN(const Importance own, ComputeImportance(setup.model, setup.task, setup.examples, options,
                                                                    nullptr, Needs("regmean") ? &sink : nullptr));
    if (Needs("fisher")) {
      learned.fishers.push_back(own.fisher);
      RememberEncoder(setup.model, absl::StrCat(t, ".fisher"), own.fisher, memory_);
      memory_.values[absl::StrCat("fisher.", t)] = "sampled";
    } else {
      learned.factors.push_back(sink.Finish(own.samples));
      RememberFactors(setup.model, absl::StrCat(t, ".factors"), learned.factors.back(), memory_);
      memory_.values[absl::StrCat("factors.", t)] = "expand";
    }
    return absl::OkStatus();
  }

  // A task that is learned again is learned from the encoder as it is.
  static absl::Status Unmask(const std::string& task, nn::Model& model) {
    std::map<std::string, nn::TaskMask> others = model.masks();
    others.erase(task);
    return model.SetMasks(model.update(), std::move(others));
  }
  static absl::Status MaskAll(const Learned& learned, nn::Model& model) {
    EmrMerge merged = MergeEmr(learned.vectors);
    std::map<std::string, nn::TaskMask> masks;
    for (size_t t = 0; t < learned.tasks.size(); ++t) masks[learned.tasks[t]] = std::move(merged.masks[t]);
    return model.SetMasks(std::move(merged.update), std::move(masks));
  }

  at::Tensor MergeAll(const nn::Model& model, const Learned& learned) const {
    if (Needs("average")) return MergeAverage(learned.vectors);
    if (Needs("fisher")) return MergeFisher(learned.vectors, learned.fishers);
    if (Needs("arithmetic")) return MergeArithmetic(learned.vectors, options_.Real("arithmetic_scale"));
    if (Needs("ties")) return MergeTies(learned.vectors, options_.Real("keep"), options_.Real("ties_scale"));
    return MergeRegMean(model.parameters(), learned.vectors, learned.factors, options_.Real("off_diagonal"));
  }

  const std::string name_;
  const OptionValues options_;
  const train::MemorySource source_;
  bool goes_on_ = false;         // the encoder is what this strategy left
  at::Tensor base_;              // theta_0
  at::Tensor single_;            // the task's own encoder, once it is learned
  train::VersionMemory memory_;  // what will be stored
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<Merge>(info.name, options, std::move(inputs.memory));
}

// While a task is learned theta_0 alone; in the version a vector for each task, and what the method needs beside it.
StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  const int64_t d = sizes.hidden_size, inner = sizes.intermediate_size;
  const int64_t squares = 3 * (d + 1) * (d + 1) + (inner + 1) * (inner + 1) + 5 * d * d + inner * inner;
  StrategyCost cost{.bytes = sizes.encoder_bytes, .version_bytes = sizes.encoder_bytes};
  if (sizes.earlier_tasks == 0) cost.version_bytes += sizes.encoder_bytes;
  if (options.Text("method") == "emr") {  // a bit for each weight, and once the update
    cost.version_bytes += sizes.encoder_bytes / 32;
    if (sizes.earlier_tasks == 0) cost.version_bytes += sizes.encoder_bytes;
  }
  if (options.Text("method") == "fisher") cost.version_bytes += sizes.encoder_bytes;
  if (options.Text("method") == "regmean")
    cost.version_bytes += sizes.layers * squares * static_cast<int64_t>(sizeof(float));
  return cost;
}

const StrategyRegistration kRegistration(
    {.name = "merge",
     .summary = "learns every task from the same weights and merges the encoders: average, Fisher, arithmetic, TIES, "
                "RegMean, EMR",
     .options = OptionTable(
         {Option::Choice("method", "regmean", {"average", "fisher", "arithmetic", "ties", "regmean", "emr"},
                         "how the encoders are merged; emr: one vector for all, of which each task has a mask of its "
                         "own, so that it has to be named"),
          Option::Real("arithmetic_scale", 0.4, LeftOpen(0, 10), "of arithmetic: what the sum is multiplied with"),
          Option::Real("keep", 0.2, LeftOpen(0, 1), "of ties: the share of a task's changes that counts"),
          Option::Real("ties_scale", 1, LeftOpen(0, 10), "of ties: what the merged change is multiplied with"),
          Option::Real("off_diagonal", 0.9, Closed(0, 1),
                       "of regmean: what inner products of inputs are multiplied with"),
          Option::Whole("samples", 1000, Closed(0, 1e9), "of fisher and regmean: texts that are looked at; 0: all")}),
     .needs = {.memory = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
