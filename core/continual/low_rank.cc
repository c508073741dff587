#include "core/continual/low_rank.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/isfinite.h"
#include "ATen/ops/mm.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/checkpoint/tensor_names.h"

namespace engram::continual {
namespace {

using checkpoint::TensorRole;

bool IsTarget(std::string_view targets, TensorRole role) {
  switch (role) {
    case TensorRole::kQuery:
    case TensorRole::kValue:
    case TensorRole::kQueryKeyValue:
      return true;
    case TensorRole::kKey:
    case TensorRole::kAttentionOutput:
      return targets != "query_value";
    case TensorRole::kIntermediate:
    case TensorRole::kOutput:
      return targets == "all";
    default:
      return false;
  }
}

// Shapes of the matrices that one layer's updates are of.
std::vector<std::pair<int64_t, int64_t>> TargetShapes(const OptionValues& options, const StrategySizes& sizes) {
  const int64_t d = sizes.hidden_size, inner = sizes.intermediate_size;
  using Target = std::pair<TensorRole, std::pair<int64_t, int64_t>>;
  std::vector<Target> all = {{TensorRole::kAttentionOutput, {d, d}},
                             {TensorRole::kIntermediate, {sizes.fused_gate ? 2 * inner : inner, d}},
                             {TensorRole::kOutput, {d, inner}}};
  if (sizes.fused_attention) {
    all.push_back({TensorRole::kQueryKeyValue, {3 * d, d}});
  } else {
    for (const TensorRole role : {TensorRole::kQuery, TensorRole::kKey, TensorRole::kValue})
      all.push_back({role, {d, d}});
  }
  std::vector<std::pair<int64_t, int64_t>> shapes;
  for (const auto& [role, shape] : all) {
    if (IsTarget(options.Text("targets"), role)) shapes.push_back(shape);
  }
  return shapes;
}

}  // namespace

std::vector<Option> LowRankOptions() {
  return {Option::Whole("rank", 8, Closed(1, 1024), "columns of the updates' factors"),
          Option::Real("alpha", 16, LeftOpen(0, 1e6), "updates are multiplied with alpha / rank"),
          Option::Choice("targets", "query_value", {"query_value", "attention", "all"},
                         "the encoder's matrices that are updated; all: attention and feed-forward")};
}

int64_t TargetElements(const OptionValues& options, const StrategySizes& sizes) {
  int64_t elements = 0;
  for (const auto& [out, in] : TargetShapes(options, sizes)) elements += sizes.layers * out * in;
  return elements;
}

int64_t DownElements(const OptionValues& options, const StrategySizes& sizes) {
  int64_t elements = 0;
  for (const auto& [out, in] : TargetShapes(options, sizes)) elements += sizes.layers * options.Whole("rank") * in;
  return elements;
}

StrategyCost LowRankCost(const OptionValues& options, const StrategySizes& sizes) {
  int64_t factors = 0;
  for (const auto& [out, in] : TargetShapes(options, sizes))
    factors += sizes.layers * options.Whole("rank") * (out + in);
  constexpr int64_t kFloat = sizeof(float);
  return {.bytes = (TargetElements(options, sizes) + 4 * factors) * kFloat};
}

absl::Status LowRankStrategy::BeginTask(train::TaskSetup& setup) {
  nn::Model& model = setup.model;
  parameters_ = &model.parameters();
  updates_.clear();
  std::vector<nn::ParameterSpec> specs;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(model.config())) {
    if (tensor.bias || !IsTarget(options_.Text("targets"), tensor.role)) continue;
    Update update;
    update.parameter = tensor.name;
    update.weight = parameters_->Find(tensor.name);
    updates_.push_back(update);
    specs.push_back({absl::StrCat("low_rank.", tensor.name, ".a"), {rank_, tensor.shape[1]}});
    specs.push_back({absl::StrCat("low_rank.", tensor.name, ".b"), {tensor.shape[0], rank_}});
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<nn::SlotId> slots, parameters_->Append(specs));
  setup.trainable = model.HeadSlots(setup.task);
  unmoved_.clear();
  for (size_t i = 0; i < updates_.size(); ++i) {
    Update& update = updates_[i];
    update.a = slots[2 * i];
    update.b = slots[2 * i + 1];
    update.base = parameters_->Weight(update.weight).clone();
    setup.trainable.insert(setup.trainable.end(), {update.weight, update.a, update.b});
    unmoved_[update.weight] = 0;
    RandomStream random(setup.seed, RandomPurpose::kLowRank, i);
    at::Tensor a = at::empty(parameters_->slice(update.a).shape, at::kFloat);
    const double bound = 1 / std::sqrt(static_cast<double>(a.size(1)));
    auto* values = a.mutable_data_ptr<float>();
    std::generate(values, values + a.numel(),
                  [&] { return static_cast<float>(bound * (2 * random.NextDouble() - 1)); });
    parameters_->Weight(update.a).copy_(a);
  }
  parameters_->RefreshCompute();
  return absl::OkStatus();
}

void LowRankStrategy::AddToFactors(const Update& update, const at::Tensor& gradient, double factor) const {
  const at::Tensor a = parameters_->Weight(update.a), b = parameters_->Weight(update.b);
  Gradient(update.b).addmm_(gradient, a.t(), 1, factor * scale());
  Gradient(update.a).addmm_(b.t(), gradient, 1, factor * scale());
}

void LowRankStrategy::StartFrom(Update& update, const at::Tensor& a, const at::Tensor& b) const {
  parameters_->Weight(update.a).copy_(a);
  parameters_->Weight(update.b).copy_(b);
  update.base.addmm_(parameters_->Weight(update.b), parameters_->Weight(update.a), 1, -scale());
}

absl::Status LowRankStrategy::OnGradients(const train::ParameterView&, const train::StepInfo&) {
  // No backward pass knows the factors: their gradients are 0 before this.
  for (const Update& update : updates_) AddToFactors(update, Gradient(update.weight), 1);
  return absl::OkStatus();
}

absl::StatusOr<bool> LowRankStrategy::AfterStep(const train::ParameterView&, const train::StepInfo&) {
  for (const Update& update : updates_) {
    parameters_->Weight(update.weight)
        .copy_(update.base)
        .addmm_(parameters_->Weight(update.b), parameters_->Weight(update.a), 1, scale());
  }
  return true;
}

absl::StatusOr<at::Tensor> StoredMatrix(const train::VersionMemory& memory, const std::string& name, int64_t rows,
                                        int64_t columns) {
  const auto found = memory.tensors.find(name);
  const bool fits = found != memory.tensors.end() && found->second.scalar_type() == at::kFloat &&
                    found->second.dim() == 2 && (rows < 0 || found->second.size(0) == rows) &&
                    found->second.size(1) == columns && at::isfinite(found->second).all().item<bool>();
  if (fits) return found->second;
  return StatusWithReason(absl::StatusCode::kDataLoss, "MEMORY_DAMAGED",
                          absl::StrCat("what the strategy remembers is damaged: ", name));
}

}  // namespace engram::continual
