#include "core/nn/task_blocks.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/nn/initialize.h"
#include "core/nn/ops/activation/activation.h"
#include "core/nn/ops/linear/linear.h"

namespace engram::nn {
namespace {

using checkpoint::Blocks;
using checkpoint::BlocksKind;
using checkpoint::BlocksPlaces;

size_t Place(size_t layer, BlockSite site) { return layer * kBlockSites + static_cast<size_t>(site); }

// Uniform in +-1 / sqrt(in), as peft draws A.
void DrawDown(const std::vector<SlotId>& slots, uint64_t seed, ParameterBuffer& parameters) {
  for (size_t i = 0; i < slots.size(); ++i) {
    RandomStream random(seed, RandomPurpose::kLowRank, i);
    at::Tensor a = at::empty(parameters.slice(slots[i]).shape, at::kFloat);
    const double bound = 1 / std::sqrt(static_cast<double>(a.size(1)));
    auto* values = a.mutable_data_ptr<float>();
    std::generate(values, values + a.numel(),
                  [&] { return static_cast<float>(bound * (2 * random.NextDouble() - 1)); });
    parameters.Weight(slots[i]).copy_(a);
  }
  parameters.RefreshCompute();
}

}  // namespace

// A part as every layer has it.
struct TaskBlocks::PartPlan {
  BlockSite site;
  const char* name;
  int64_t first_row, rows, columns;
};

std::vector<TaskBlocks::PartPlan> TaskBlocks::PlanLayer(const Blocks& blocks, const checkpoint::EncoderSizes& sizes) {
  const int64_t d = sizes.hidden_size, q = sizes.query_width(), k = sizes.key_width(), inner = sizes.intermediate_size;
  const PartPlan attention{BlockSite::kAttentionOutput, "attention_output", 0, d, q};
  const PartPlan output{BlockSite::kOutput, "output", 0, d, inner};
  const PartPlan query{BlockSite::kQueryKeyValue, "query", 0, q, d}, key{BlockSite::kQueryKeyValue, "key", q, k, d},
      value{BlockSite::kQueryKeyValue, "value", q + k, k, d};
  switch (blocks.places) {
    case BlocksPlaces::kFeedForward:
      return {output};
    case BlocksPlaces::kSublayers:
      return {attention, output};
    case BlocksPlaces::kQueryValue:
      return {query, value};
    case BlocksPlaces::kAttention:
      return {query, key, value, attention};
    case BlocksPlaces::kAll:
      break;
  }
  const bool gated = sizes.family->block.gated;
  return {query, key, value, attention, {BlockSite::kIntermediate, "intermediate", 0, gated ? 2 * inner : inner, d},
          output};
}

int64_t TaskBlocks::Elements(const Blocks& blocks, const checkpoint::EncoderSizes& sizes,
                             const std::vector<int64_t>& earlier_widths) {
  if (blocks.kind == BlocksKind::kNone || blocks.kind == BlocksKind::kMasked) return 0;
  const int64_t laterals = std::accumulate(earlier_widths.begin(), earlier_widths.end(), int64_t{0});
  int64_t elements = 0;
  for (const PartPlan& part : PlanLayer(blocks, sizes)) {
    elements += blocks.kind == BlocksKind::kLowRank ? blocks.width * (part.rows + part.columns)
                                                    : blocks.width * (2 * part.rows + 1 + laterals) + part.rows;
  }
  return sizes.layers * elements;
}

absl::StatusOr<TaskBlocks> TaskBlocks::Create(const std::string& task, const Blocks& blocks,
                                              const EncoderConfig& config,
                                              const std::vector<const TaskBlocks*>& earlier,
                                              ParameterBuffer* parameters, uint64_t seed) {
  if (blocks.kind == BlocksKind::kNone || blocks.kind == BlocksKind::kMasked)
    return InvalidField("blocks.kind", "is none with parts in the layers");
  ENGRAM_RETURN_IF_ERROR(checkpoint::CheckBlocks(blocks, "blocks"));
  for (const TaskBlocks* column : earlier) {
    if (column->blocks_.kind != BlocksKind::kProgressive || column->blocks_.places != blocks.places)
      return InvalidField("blocks.earlier", "names a task that has no column, or one at other places");
  }
  TaskBlocks made(blocks, config.activation, parameters);
  const bool low_rank = blocks.kind == BlocksKind::kLowRank;
  std::vector<ParameterSpec> specs;
  std::vector<size_t> drawn;  // numbers of the specs that do not begin at 0
  const auto first = static_cast<SlotId>(parameters->slices().size());
  made.layers_.resize(static_cast<size_t>(config.layers));
  for (size_t layer = 0; layer < made.layers_.size(); ++layer) {
    for (const PartPlan& plan : PlanLayer(blocks, config)) {
      const std::string prefix = absl::StrCat("heads.", task, ".blocks.", layer, ".", plan.name, ".");
      const auto add = [&](const std::string& name, std::vector<int64_t> shape, bool draw) {
        if (draw) drawn.push_back(specs.size());
        specs.push_back({prefix + name, std::move(shape)});
        specs.back().decay = specs.back().shape.size() > 1;
        return first + static_cast<SlotId>(specs.size()) - 1;
      };
      Part part{plan.first_row, plan.rows, -1, -1, -1, -1, {}};
      part.down = add("down.weight", {blocks.width, low_rank ? plan.columns : plan.rows}, /*draw=*/true);
      if (!low_rank) part.down_bias = add("down.bias", {blocks.width}, /*draw=*/false);
      for (size_t j = 0; j < earlier.size(); ++j) {
        part.lateral.push_back(
            add(absl::StrCat("lateral.", j, ".weight"), {blocks.width, earlier[j]->blocks_.width}, /*draw=*/true));
      }
      part.up = add("up.weight", {plan.rows, blocks.width}, /*draw=*/false);
      if (!low_rank) part.up_bias = add("up.bias", {plan.rows}, /*draw=*/false);
      made.layers_[layer][static_cast<size_t>(plan.site)].push_back(std::move(part));
    }
  }
  ENGRAM_ASSIGN_OR_RETURN(made.slots_, parameters->Append(specs));
  std::vector<SlotId> down;
  for (const size_t i : drawn) down.push_back(made.slots_[i]);
  if (low_rank) {
    DrawDown(down, seed, *parameters);
  } else {
    InitializeSlots(down, config.initializer_range, seed, *parameters);
  }
  return made;
}

const std::vector<TaskBlocks::Part>& TaskBlocks::Parts(size_t layer, BlockSite site) const {
  return layers_[layer][static_cast<size_t>(site)];
}

bool TaskBlocks::At(BlockSite site) const { return !layers_.empty() && !Parts(0, site).empty(); }

at::Tensor TaskBlocks::Forward(size_t layer, BlockSite site, const at::Tensor& x, at::Tensor y,
                               std::span<const BlockCodes> earlier, BlockSiteTape* tape, at::Tensor* code) const {
  const std::vector<Part>& parts = Parts(layer, site);
  if (blocks_.kind != BlocksKind::kLowRank)
    return parts.empty() ? y : Bottleneck(parts.front(), Place(layer, site), std::move(y), earlier, tape, code);
  for (const Part& part : parts) {
    const at::Tensor reduced = ops::Linear(x, parameters_->Compute(part.down), at::Tensor()).mul_(blocks_.scale);
    y.narrow(1, part.first_row, part.rows).add_(ops::Linear(reduced, parameters_->Compute(part.up), at::Tensor()));
    if (tape != nullptr) tape->reduced.push_back(reduced);
  }
  if (tape != nullptr) tape->input = x;
  return y;
}

at::Tensor TaskBlocks::Bottleneck(const Part& part, size_t place, at::Tensor y, std::span<const BlockCodes> earlier,
                                  BlockSiteTape* tape, at::Tensor* code) const {
  const ParameterBuffer& p = *parameters_;
  at::Tensor pre = ops::Linear(y, p.Compute(part.down), p.Compute(part.down_bias));
  for (size_t j = 0; j < part.lateral.size(); ++j)
    pre.add_(ops::Linear(earlier[j][place], p.Compute(part.lateral[j]), at::Tensor()));
  const at::Tensor z = ops::Activate(pre, activation_);
  at::Tensor out = ops::Linear(z, p.Compute(part.up), p.Compute(part.up_bias)).add_(y);
  if (code != nullptr) *code = z;
  if (tape != nullptr) {
    *tape = {std::move(y), {}, std::move(pre), z, {}};
    for (const BlockCodes& codes : earlier) tape->earlier.push_back(codes[place]);
  }
  return out;
}

TaskBlocks::Gradient TaskBlocks::Backward(size_t layer, BlockSite site, const at::Tensor& g, const BlockSiteTape& tape,
                                          const RowOwners& rows, GradientSink& sink) const {
  const std::vector<Part>& parts = Parts(layer, site);
  if (parts.empty()) return {g, at::Tensor()};
  if (blocks_.kind != BlocksKind::kLowRank) return BottleneckGradient(parts.front(), g, tape, rows, sink);
  Gradient gradient{g, at::Tensor()};
  for (size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const at::Tensor own = g.narrow(1, part.first_row, part.rows).contiguous();
    sink.Linear(part.up, -1, 1, tape.reduced[i], own, rows);
    const at::Tensor reduced = ops::LinearInputGradient(own, parameters_->Compute(part.up)).mul_(blocks_.scale);
    sink.Linear(part.down, -1, 1, tape.input, reduced, rows);
    at::Tensor share = ops::LinearInputGradient(reduced, parameters_->Compute(part.down));
    gradient.x = gradient.x.defined() ? gradient.x.add_(share) : std::move(share);
  }
  return gradient;
}

TaskBlocks::Gradient TaskBlocks::BottleneckGradient(const Part& part, const at::Tensor& g, const BlockSiteTape& tape,
                                                    const RowOwners& rows, GradientSink& sink) const {
  const ParameterBuffer& p = *parameters_;
  sink.Linear(part.up, part.up_bias, 1, tape.code, g, rows);
  const at::Tensor pre =
      ops::ActivationGradient(ops::LinearInputGradient(g, p.Compute(part.up)), tape.pre, activation_);
  sink.Linear(part.down, part.down_bias, 1, tape.input, pre, rows);
  for (size_t j = 0; j < part.lateral.size(); ++j) sink.Linear(part.lateral[j], -1, 1, tape.earlier[j], pre, rows);
  return {ops::LinearInputGradient(pre, p.Compute(part.down)).add_(g), at::Tensor()};
}

BlockPass::BlockPass(const TaskBlocks& blocks, size_t layers, std::span<const BlockCodes> earlier,
                     std::vector<BlockSiteTape>* tape, BlockCodes* codes)
    : blocks_(blocks), earlier_(earlier), tape_(tape), codes_(codes) {
  if (tape_ != nullptr) tape_->assign(layers * kBlockSites, {});
  if (codes_ != nullptr) codes_->assign(layers * kBlockSites, {});
}

at::Tensor BlockPass::Apply(size_t layer, BlockSite site, const at::Tensor& x, at::Tensor y) const {
  const size_t place = Place(layer, site);
  return blocks_.Forward(layer, site, x, std::move(y), earlier_, tape_ != nullptr ? &(*tape_)[place] : nullptr,
                         codes_ != nullptr ? &(*codes_)[place] : nullptr);
}

}  // namespace engram::nn
