// Controls for EWC, with the trace of the same Fisher (docs/ewc.md): l2sp spreads it evenly over all weights (Li,
// Grandvalet & Davoine, ICML 2018), permuted_ewc shuffles its values within each tensor by the run's seed. An EWC that
// does not beat both has shown nothing.

#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/full_like.h"
#include "core/base/random.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

at::Tensor Uniform(const at::Tensor& fisher, const nn::Model&, uint64_t) {
  return at::full_like(fisher, ExtentOf(fisher).sum / static_cast<double>(fisher.numel()));
}

// Within each tensor, so that the control keeps how much of the Fisher lies in which layer and loses only which weights
// it is.
at::Tensor Permuted(const at::Tensor& fisher, const nn::Model& model, uint64_t seed) {
  at::Tensor shuffled = fisher.cpu().clone();
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    float* f = shuffled.mutable_data_ptr<float>() + slice.offset;
    RandomStream random(seed, RandomPurpose::kPermutation, static_cast<uint64_t>(slot));
    for (int64_t i = slice.size - 1; i > 0; --i) std::swap(f[i], f[random.NextBelow(static_cast<uint64_t>(i) + 1)]);
  }
  return shuffled.to(fisher.device());
}

using Rearrange = at::Tensor (*)(const at::Tensor& fisher, const nn::Model& model, uint64_t seed);

using Penalties = std::vector<train::QuadraticPenalty>;

StrategyFactory MakeControl(const std::string& name, Rearrange rearrange) {
  return [name, rearrange](const StrategyOptions& options,
                           ConsolidationSource consolidations) -> absl::StatusOr<std::unique_ptr<train::Strategy>> {
    ENGRAM_RETURN_IF_ERROR(NeedConsolidations(consolidations, name));
    return MakePenaltyStrategy(
        name,
        [options, rearrange, consolidations = std::move(consolidations)](
            const nn::Model& model, const train::TaskContext& context) -> absl::StatusOr<Penalties> {
          Penalties penalties;
          for (int64_t i = 0; i < consolidations.count; ++i) {
            ENGRAM_ASSIGN_OR_RETURN(const Consolidation c, consolidations.read(i));
            penalties.push_back(MakePenalty(c, rearrange(c.fisher, model, context.seed),
                                            BayesStrength(options.lambda, c.training_count, context.training_units),
                                            options.mode));
          }
          return penalties;
        });
  };
}

const StrategyRegistration kUniform("l2sp", "control: the Fisher's trace spread evenly over all weights",
                                    MakeControl("l2sp", Uniform));
const StrategyRegistration kPermuted("permuted_ewc", "control: the Fisher's values shuffled within each tensor",
                                     MakeControl("permuted_ewc", Permuted));

}  // namespace
}  // namespace engram::continual
