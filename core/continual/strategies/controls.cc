// Controls for EWC, with the trace of the same Fisher (docs/ewc.md): l2sp spreads it evenly over all weights (Li,
// Grandvalet & Davoine, ICML 2018), permuted_ewc shuffles its values within each tensor by the run's seed. An EWC that
// does not beat both has shown nothing.

#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/full_like.h"
#include "core/base/random.h"
#include "core/continual/penalty_strategy.h"

namespace engram::continual {
namespace {

at::Tensor Uniform(const at::Tensor& fisher, const nn::Model&, const train::TaskContext&) {
  return at::full_like(fisher, SumAndMinOf(fisher).sum / static_cast<double>(fisher.numel()));
}

// Within each tensor, so that the control keeps how much of the Fisher lies in which layer and loses only which weights
// it is.
at::Tensor Permuted(const at::Tensor& fisher, const nn::Model& model, const train::TaskContext& context) {
  at::Tensor shuffled = fisher.cpu().clone();
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    float* f = shuffled.mutable_data_ptr<float>() + slice.offset;
    RandomStream random(context.seed, RandomPurpose::kPermutation, static_cast<uint64_t>(slot));
    for (int64_t i = slice.size - 1; i > 0; --i) std::swap(f[i], f[random.NextBelow(static_cast<uint64_t>(i) + 1)]);
  }
  return shuffled.to(fisher.device());
}

const StrategyRegistration kUniform({.name = "l2sp",
                                     .summary = "control: the Fisher's trace spread evenly over all weights",
                                     .options = OptionTable(SeparatePenaltyOptions()),
                                     .needs = {.consolidations = true},
                                     .strength = {"lambda"},
                                     .grows_heads = true,
                                     .cost = OneQuadraticPerTaskCost,
                                     .role = StrategyRole::kProtects},
                                    OneQuadraticPerTask(Uniform));
const StrategyRegistration kPermuted({.name = "permuted_ewc",
                                      .summary = "control: the Fisher's values shuffled within each tensor",
                                      .options = OptionTable(SeparatePenaltyOptions()),
                                      .needs = {.consolidations = true},
                                      .strength = {"lambda"},
                                      .grows_heads = true,
                                      .cost = OneQuadraticPerTaskCost,
                                      .role = StrategyRole::kProtects},
                                     OneQuadraticPerTask(Permuted));

}  // namespace
}  // namespace engram::continual
