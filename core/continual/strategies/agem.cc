// Averaged gradient episodic memory (Chaudhry et al., "Efficient lifelong learning with A-GEM", ICLR 2019): examples of
// earlier tasks are kept with the version; in each step the gradient r of their loss on a batch drawn from them is
// taken, and a step whose gradient g would raise that loss is projected to one that does not:
//   g <- g - (g.r / r.r) r   if g.r < 0
// over what is trained, so that heads of earlier tasks stay as they are. Without clipping or a penalty in between this
// is the closest gradient of all with g.r >= 0. Masked language models are not remembered.

#include <algorithm>
#include <optional>
#include <utility>

#include "ATen/TensorOperators.h"
#include "core/continual/union_replay.h"
#include "core/train/adamw.h"
#include "core/train/replay.h"

namespace engram::continual {
namespace {

class AveragedGem final : public train::Strategy {
 public:
  AveragedGem(std::string name, const OptionValues& options, train::MemorySource source)
      : name_(std::move(name)),
        batch_(options.Whole("reference_batch")),
        memory_(MakeMemory(options, std::move(source))) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    ENGRAM_RETURN_IF_ERROR(memory_.Recall(setup));
    model_ = &setup.model;
    seed_ = setup.seed;
    trained_ = train::RangesOf(model_->parameters(), setup.trainable);
    if (!memory_.held().empty()) reference_.emplace(model_->parameters());
    return absl::OkStatus();
  }

  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
    const std::vector<train::StoredExample>& held = memory_.held();
    if (held.empty()) return absl::OkStatus();
    const std::vector<int64_t> drawn = train::DrawStored(static_cast<int64_t>(held.size()), batch_, seed_, info.step);
    reference_->Zero();
    nn::AccumulateSink sink(&*reference_);
    // The projection does not depend on r's length: the sum serves as well as the mean.
    ENGRAM_RETURN_IF_ERROR(
        train::AddReplayGradient(*model_, held, drawn, /*weight=*/1, seed_, info.step, sink).status());
    const double along = Dot(view.gradients, reference_->flat()), square = Dot(reference_->flat(), reference_->flat());
    if (!(along < 0) || square == 0) return absl::OkStatus();
    for (const train::ElementRange& range : trained_) {
      Part(view.gradients, range).add_(Part(reference_->flat(), range), -along / square);
    }
    return absl::OkStatus();
  }

  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    memory_.Remember(setup, memory);
    return absl::OkStatus();
  }

 private:
  static at::Tensor Part(const at::Tensor& flat, const train::ElementRange& range) {
    return flat.narrow(0, range.begin, range.end - range.begin);
  }
  // In fp64, piece by piece: a product of the model's size is never made.
  double Dot(const at::Tensor& a, const at::Tensor& b) const {
    constexpr int64_t kPiece = int64_t{1} << 20;
    double sum = 0;
    for (const train::ElementRange& range : trained_) {
      for (int64_t begin = range.begin; begin < range.end; begin += kPiece) {
        const train::ElementRange piece{begin, std::min(range.end, begin + kPiece)};
        sum += (Part(a, piece) * Part(b, piece)).sum(at::kDouble).item<double>();
      }
    }
    return sum;
  }

  const std::string name_;
  const int64_t batch_;
  train::ExampleMemory memory_;
  const nn::Model* model_ = nullptr;
  uint64_t seed_ = 0;
  std::vector<train::ElementRange> trained_;
  std::optional<nn::GradientBuffer> reference_;
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<AveragedGem>(info.name, options, std::move(inputs.memory));
}

// The second gradient and the stored texts; one pass per step.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) {
  if (sizes.stored_examples == 0) return {};
  return {.bytes = sizes.encoder_bytes + sizes.stored_examples * train::StoredExampleBytes(sizes.longest_example, 0),
          .extra_passes = 1};
}

std::vector<Option> Options() {
  std::vector<Option> options = MemoryOptions();
  options.push_back(Option::Whole("reference_batch", 64, Closed(1, 4096), "texts that a step is held against"));
  return options;
}

const StrategyRegistration kRegistration(
    {.name = "agem",
     .summary =
         "projects steps that would raise the loss on kept examples of earlier tasks; stores texts with the version",
     .options = OptionTable(Options()),
     .needs = {.examples = true, .memory = true},
     .grows_heads = true,
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
