#pragma once

// Low-rank updates (Hu et al., "LoRA", ICLR 2022) without touching the layers: for chosen weight matrices W [out, in] of
// the encoder
//   W = W0 + s B A     A [r, in], B [out, r], s = alpha / r
// where A and B are parameters of the strategy's own and what is trained beside the task's head. The backward pass gives
// the gradient G of W; then grad B = s G A^T and grad A = s B^T G, exactly. After each optimizer step W is formed anew, so
// that the model is merged at any time: inference costs nothing, a version holds W, and one update serves all tasks.
// Biases, LayerNorm and embeddings stay as they are.
//
// Where a family keeps query, key and value in one matrix [3 d, d], that has one update: all three of them share its A,
// and keys move, too, where `targets` names queries and values alone.
//
// A starts uniform in (-1 / sqrt(in), 1 / sqrt(in)) and B at 0, as peft draws them.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/options.h"
#include "core/base/status.h"
#include "core/continual/strategy_info.h"
#include "core/train/strategy.h"

namespace engram::continual {

// rank, alpha, targets.
std::vector<Option> LowRankOptions();

// Of a low-rank strategy: the weights that updates are added to, and weights, gradients and two moments of the factors.
StrategyCost LowRankCost(const OptionValues& options, const StrategySizes& sizes);
// Elements of all target matrices.
int64_t TargetElements(const OptionValues& options, const StrategySizes& sizes);
// Elements of all factors A.
int64_t DownElements(const OptionValues& options, const StrategySizes& sizes);

class LowRankStrategy : public train::Strategy {
 public:
  LowRankStrategy(std::string name, const OptionValues& options)
      : options_(options), name_(std::move(name)), rank_(options.Whole("rank")) {}

  std::string_view name() const override { return name_; }
  absl::Status BeginTask(train::TaskSetup& setup) override;
  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override;
  // The targets move with the factors and by no gradient of their own.
  std::map<nn::SlotId, double> LearningRateScales(const train::StepInfo&) override { return unmoved_; }
  absl::StatusOr<bool> AfterStep(const train::ParameterView& view, const train::StepInfo& info) override;

 protected:
  struct Update {
    std::string parameter;  // W's name
    nn::SlotId weight = 0, a = 0, b = 0;
    at::Tensor base;  // W0 [out, in]
  };

  double scale() const { return options_.Real("alpha") / static_cast<double>(rank_); }
  const std::vector<Update>& updates() const { return updates_; }
  nn::ParameterBuffer& parameters() const { return *parameters_; }
  at::Tensor Gradient(nn::SlotId slot) const { return parameters_->gradient_buffer()->Of(slot); }
  // Adds `factor` times what a gradient of W means for its factors.
  void AddToFactors(const Update& update, const at::Tensor& gradient, double factor) const;
  // Starts from these factors instead: W stays as it is, W0 is W less their product.
  void StartFrom(Update& update, const at::Tensor& a, const at::Tensor& b) const;
  std::vector<Update>& updates() { return updates_; }

  const OptionValues options_;

 private:
  const std::string name_;
  const int64_t rank_;
  nn::ParameterBuffer* parameters_ = nullptr;
  std::vector<Update> updates_;
  std::map<nn::SlotId, double> unmoved_;
};

// A factor of a memory: fp32 [rows, columns], rows < 0: any number. DATA_LOSS with reason MEMORY_DAMAGED if it is not
// there, has another shape or is not finite.
absl::StatusOr<at::Tensor> StoredMatrix(const train::VersionMemory& memory, const std::string& name, int64_t rows,
                                        int64_t columns);

}  // namespace engram::continual
