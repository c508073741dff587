// Transfer from a model that exists, as fine-tuning is tuned by hand: the lowest layers stay as they are, the topmost are
// drawn anew (Zhang et al., "Revisiting few-sample BERT fine-tuning", ICLR 2021), lower layers learn more slowly and
// layers thaw one by one from the top (Howard & Ruder, ULMFiT, ACL 2018). Nothing is remembered and no earlier task is
// protected, but by what is frozen.
//
// With L layers, depth 0 are the embeddings, 1 to L the layers, L also what lies above them (a pooler):
//   depth d learns at  lr * lr_decay^(L - d); the head at lr
//   depth d is frozen for d < freeze_layers, and until the share  thaw * (L - d) / (L + 1)  of the steps is over

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checkpoint/tensor_names.h"
#include "core/continual/registry.h"
#include "core/nn/initialize.h"

namespace engram::continual {
namespace {

class Transfer final : public train::Strategy {
 public:
  Transfer(std::string name, const OptionValues& options)
      : name_(std::move(name)),
        freeze_(options.Whole("freeze_layers")),
        redraw_(options.Whole("redraw_layers")),
        decay_(options.Real("lr_decay")),
        thaw_(options.Real("thaw")) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    nn::Model& model = setup.model;
    layers_ = model.config().layers;
    if (freeze_ > layers_ + 1) return TooMany("freeze_layers", layers_ + 1);
    if (redraw_ > layers_) return TooMany("redraw_layers", layers_);
    if (redraw_ > 0 && model.heads().size() > 1) {
      return StatusWithReason(absl::StatusCode::kFailedPrecondition, "TASKS_WOULD_BE_LOST",
                              "layers drawn anew lose what earlier tasks have learned in them: start from a version "
                              "without tasks, or set redraw_layers=0");
    }
    std::map<std::string, int64_t> layer_of;
    for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(model.config()))
      layer_of[tensor.name] = tensor.layer;
    std::vector<nn::SlotId> drawn;
    int64_t depth = 0;
    for (const nn::SlotId slot : model.EncoderSlots()) {
      const int64_t layer = layer_of.at(model.parameters().slice(slot).name);
      if (layer >= 0) depth = layer + 1;
      // What follows the last layer's parameters lies above it.
      depth_[slot] = depth;
      if (depth > layers_ - redraw_) drawn.push_back(slot);
    }
    if (!drawn.empty()) nn::InitializeSlots(drawn, model.config().initializer_range, setup.seed, model.parameters());
    std::erase_if(setup.trainable, [this](nn::SlotId slot) { return depth_.contains(slot) && depth_[slot] < freeze_; });
    total_steps_ = setup.total_steps;
    return absl::OkStatus();
  }

  std::map<nn::SlotId, double> LearningRateScales(const train::StepInfo& info) override {
    if (decay_ == 1 && thaw_ == 0) return {};
    std::map<nn::SlotId, double> scales;
    for (const auto& [slot, depth] : depth_) {
      const auto above = static_cast<double>(layers_ - depth);
      const double thawed_at = thaw_ * above / static_cast<double>(layers_ + 1) * static_cast<double>(total_steps_);
      scales[slot] = static_cast<double>(info.step) < thawed_at ? 0 : std::pow(decay_, above);
    }
    return scales;
  }

 private:
  static absl::Status TooMany(const char* option, int64_t most) {
    return InvalidField(option, absl::StrCat("this encoder takes at most ", most));
  }
  const std::string name_;
  const int64_t freeze_, redraw_;
  const double decay_, thaw_;
  int64_t layers_ = 0, total_steps_ = 0;
  std::map<nn::SlotId, int64_t> depth_;  // of the encoder's slots
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs) {
  return std::make_unique<Transfer>(info.name, options);
}

const StrategyRegistration kRegistration(
    {.name = "transfer",
     .summary = "fine-tuning with frozen or redrawn layers, slower lower layers, layers that thaw from the top",
     .options = OptionTable(
         {Option::Whole("freeze_layers", 0, Closed(0, 1000),
                        "lowest layers that stay as they are, the embeddings counting as the first"),
          Option::Whole("redraw_layers", 0, Closed(0, 1000),
                        "topmost layers drawn anew before training; for a model without other tasks"),
          Option::Real("lr_decay", 0.95, LeftOpen(0, 1),
                       "factor of the learning rate from one layer to the next below"),
          Option::Real("thaw", 0, Closed(0, 1),
                       "share of the training over which layers thaw, from the top down; 0: all learn from the "
                       "start")})},
    Make);

}  // namespace
}  // namespace engram::continual
