// A fixed expansion layer with a head in closed form: the encoder stays as it is, its pooled features are expanded by a
// fixed random map (core/nn/fixed_expansion.h), and the linear layer on top is solved from sums over the texts
// (core/continual/expansion_statistics.h). No step of gradient descent is made. The sums stay with the version: further
// texts and further labels of a task are added to them, texts that are to be forgotten subtracted, and the head is that
// of all texts together, whatever the order in which they came.
//
// No paper is named after this method. Its parts: fixed expansion layers (Coop and Arel, IJCNN 2012), ridge regression
// on random ReLU features of a frozen encoder (McDonnell et al., "RanPAC", NeurIPS 2023), LDA on random Fourier features
// (Momeni et al., "KLDA", AAAI 2025).

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/cat.h"
#include "absl/strings/str_cat.h"
#include "core/continual/encoder_memory.h"
#include "core/continual/expansion_statistics.h"
#include "core/continual/registry.h"
#include "core/nn/fixed_expansion.h"
#include "core/nn/ops/pooling/pooling.h"
#include "core/nn/text_windows.h"
#include "core/train/batches.h"

namespace engram::continual {
namespace {

using checkpoint::ExpansionKind;

constexpr int64_t kBatchTokens = 4096;
constexpr int64_t kRowsAtOnce = 2048;  // features that are summed in one go: larger products are faster

class FixedExpansionLayer final : public train::Strategy {
 public:
  FixedExpansionLayer(std::string name, const OptionValues& options, train::MemorySource source)
      : name_(std::move(name)), options_(options), source_(std::move(source)) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    nn::Model& model = setup.model;
    const nn::HeadConfig known = model.heads().at(setup.task);
    if (known.kind != checkpoint::TaskKind::kSequenceClassification) {
      return absl::FailedPreconditionError(
          absl::StrCat("strategy ", name_, " learns classifiers of whole texts alone; take another strategy"));
    }
    if (known.blocks.kind != checkpoint::BlocksKind::kNone) {
      return absl::FailedPreconditionError(
          absl::StrCat("the task has blocks of its own in the encoder, which strategy ", name_,
                       " does not apply; give the task another name"));
    }
    nn::HeadConfig head = known;
    head.pooling = checkpoint::Pooling::kMean;
    head.expansion = ExpansionFor(model.config().hidden_size);
    ENGRAM_ASSIGN_OR_RETURN(
        const nn::FixedExpansion expansion,
        nn::FixedExpansion::Create(head.expansion, model.config().hidden_size, model.parameters().device()));
    ENGRAM_ASSIGN_OR_RETURN(memory_, source_.Read());
    encoder_ = EncoderDigest(model);
    ENGRAM_ASSIGN_OR_RETURN(ExpansionStatistics statistics, Recall(setup.task, head));
    ENGRAM_RETURN_IF_ERROR(Sum(setup, expansion, statistics));
    const bool lda = options_.Text("head") == "lda";
    ENGRAM_ASSIGN_OR_RETURN(const LinearSolution solved, lda ? statistics.SolveLda(options_.Real("shrinkage"))
                                                             : statistics.SolveRidge(options_.Real("ridge")));
    ENGRAM_RETURN_IF_ERROR(model.ReplaceHead(setup.task, head, setup.seed));
    nn::ParameterBuffer& parameters = model.parameters();
    const std::vector<nn::SlotId> slots = model.HeadSlots(setup.task);  // the linear layer's weight and bias
    parameters.Weight(slots[0]).copy_(solved.weight);
    parameters.Weight(slots[1]).copy_(solved.bias);
    parameters.RefreshCompute();
    statistics.Store(setup.task, memory_);
    memory_.values[setup.task + ".expansion"] = Describe(head.expansion);
    memory_.values[setup.task + ".encoder"] = encoder_;
    setup.trainable.clear();
    return absl::OkStatus();
  }

  absl::Status EndTask(const train::TaskSetup&, train::VersionMemory& memory) override {
    memory = std::move(memory_);
    return absl::OkStatus();
  }

 private:
  checkpoint::Expansion ExpansionFor(int64_t features) const {
    const std::string& kind = options_.Text("expansion");
    if (kind == "none") return {ExpansionKind::kUnit, features, 0};
    return {*checkpoint::ParseExpansionKind(kind), options_.Whole("width"), options_.Seed("expansion_seed")};
  }

  static std::string Describe(const checkpoint::Expansion& e) {
    const std::string_view kind = checkpoint::ExpansionKindName(e.kind);
    return absl::StrCat(std::string(kind), " ", e.width, " ", e.seed);
  }

  // The sums that this task's texts go to: those of its earlier texts, with room for the head's labels.
  absl::StatusOr<ExpansionStatistics> Recall(const std::string& task, const nn::HeadConfig& head) const {
    const auto expansion = memory_.values.find(task + ".expansion"), encoder = memory_.values.find(task + ".encoder");
    if (expansion == memory_.values.end()) return ExpansionStatistics(head.labels, head.expansion.width);
    if (expansion->second != Describe(head.expansion)) {
      return absl::FailedPreconditionError(
          absl::StrCat("the task's sums are of the expansion \"", expansion->second,
                       "\" (kind, width, seed); set expansion, width and expansion_seed to that, or give the task "
                       "another name"));
    }
    if (encoder == memory_.values.end() || encoder->second != encoder_) {
      return absl::FailedPreconditionError(
          "the encoder was trained since the task's sums were taken, so that texts cannot be added to them; start from "
          "the version before, or give the task another name");
    }
    ENGRAM_ASSIGN_OR_RETURN(ExpansionStatistics statistics, ExpansionStatistics::Load(task, memory_));
    if (statistics.width() != head.expansion.width || statistics.classes() > head.labels) {
      return absl::FailedPreconditionError(
          absl::StrCat("the task's sums are of ", statistics.classes(), " labels, and its head has ", head.labels));
    }
    statistics.Grow(head.labels);
    return statistics;
  }

  // Encodes the texts and adds them to the sums, or takes them out.
  absl::Status Sum(const train::TaskSetup& setup, const nn::FixedExpansion& expansion,
                   ExpansionStatistics& statistics) const {
    const bool removing = options_.Text("texts") == "remove";
    std::vector<int32_t> lengths;
    for (const train::TrainingExample& example : setup.examples)
      lengths.push_back(static_cast<int32_t>(example.sequence.ids.size()));
    std::vector<at::Tensor> features;
    std::vector<int64_t> labels;
    const auto flush = [&]() -> absl::Status {
      if (labels.empty()) return absl::OkStatus();
      const at::Tensor phi = at::cat(features);
      const absl::Status status = removing ? statistics.Remove(phi, labels) : statistics.Add(phi, labels);
      features.clear();
      labels.clear();
      return status;
    };
    for (const std::vector<int64_t>& batch :
         train::MakeBatches(lengths, {0, kBatchTokens, train::BatchOrder::kLengthGrouped, 0}, 0)) {
      if (setup.stop_requested()) return absl::CancelledError("the run was stopped");
      std::vector<const nn::Sequence*> sequences;
      for (const int64_t i : batch) {
        sequences.push_back(&setup.examples[static_cast<size_t>(i)].sequence);
        labels.push_back(setup.examples[static_cast<size_t>(i)].label);
      }
      ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch packed, nn::Pack(sequences, setup.model.parameters().device()));
      const at::Tensor hidden = setup.model.Encode(packed, std::nullopt, nullptr);
      const at::Tensor rows = expansion.Forward(nn::ops::MeanPool(hidden, packed), nullptr);
      features.push_back(nn::TextMeans(rows, packed).cpu());
      if (static_cast<int64_t>(labels.size()) >= kRowsAtOnce) ENGRAM_RETURN_IF_ERROR(flush());
    }
    return flush();
  }

  const std::string name_;
  const OptionValues options_;
  const train::MemorySource source_;
  train::VersionMemory memory_;
  std::string encoder_;  // SHA-256 of its weights
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<FixedExpansionLayer>(info.name, options, std::move(inputs.memory));
}

// While the head is solved: the sums in fp64, what they are solved with, and the stored form. No step is made.
StrategyCost Cost(const OptionValues& options, const StrategySizes& sizes) {
  const int64_t width = options.Whole("width");
  const int64_t sums = width * (width + 1) / 2 + (sizes.labels + 1) * width;
  return {.bytes = 4 * width * width * static_cast<int64_t>(sizeof(double)),
          .version_bytes = sums * static_cast<int64_t>(sizeof(int64_t)) +
                           (width + 1) * sizes.labels * static_cast<int64_t>(sizeof(float))};
}

const StrategyRegistration kRegistration(
    {.name = "fel",
     .summary =
         "frozen encoder, fixed random expansion, head in closed form: nothing is forgotten, labels may be added",
     .options = OptionTable(
         {Option::Choice("expansion", "relu", {"none", "relu", "rff", "kwta"}, "fixed random map of the features"),
          Option::Whole("width", 2500, Closed(16, 16384), "features after the expansion; none: as wide as the encoder"),
          Option::Seed("expansion_seed", 0, "draws the random map"),
          Option::Choice("head", "lda", {"lda", "ridge"},
                         "linear discriminant analysis, or ridge regression onto the labels"),
          Option::Real("shrinkage", 0.01, Closed(0, 1), "of lda: towards a multiple of the unit matrix"),
          Option::Real("ridge", 0.01, Closed(0, 1e6), "of ridge: in units of the features' mean square"),
          Option::Choice("texts", "add", {"add", "remove"},
                         "what is done with the data set's texts; remove: the task forgets them exactly")}),
     .needs = {.examples = true, .memory = true},
     .grows_heads = true,
     .one_pass = true,
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
