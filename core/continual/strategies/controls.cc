// Controls for EWC, with the trace of the same Fisher (docs/ewc.md): l2sp spreads it evenly over all weights (Li,
// Grandvalet & Davoine, ICML 2018), permuted_ewc shuffles it within each task's Fisher by the run's seed. An EWC that
// does not beat both has shown nothing.

#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/full_like.h"
#include "core/base/random.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

at::Tensor Uniform(const at::Tensor& fisher, uint64_t) {
  return at::full_like(fisher, fisher.mean(at::kDouble).item<double>());
}

at::Tensor Permuted(const at::Tensor& fisher, uint64_t seed) {
  at::Tensor shuffled = fisher.cpu().clone();
  float* f = shuffled.mutable_data_ptr<float>();
  RandomStream random(seed, RandomPurpose::kPermutation, 0);
  for (int64_t i = shuffled.numel() - 1; i > 0; --i) std::swap(f[i], f[random.NextBelow(static_cast<uint64_t>(i) + 1)]);
  return shuffled.to(fisher.device());
}

using Rearrange = at::Tensor (*)(const at::Tensor& fisher, uint64_t seed);

StrategyFactory MakeControl(const std::string& name, Rearrange rearrange) {
  return
      [name, rearrange](const StrategyOptions& options,
                        std::vector<Consolidation> consolidations) -> absl::StatusOr<std::unique_ptr<train::Strategy>> {
        ENGRAM_RETURN_IF_ERROR(NeedConsolidations(consolidations, name));
        return MakePenaltyStrategy(
            name, [options, rearrange, consolidations = std::move(consolidations)](const train::TaskContext& context) {
              std::vector<train::QuadraticPenalty> penalties;
              for (const Consolidation& c : consolidations) {
                penalties.push_back(MakePenalty(c, rearrange(c.fisher, context.seed),
                                                BayesStrength(options.lambda, c.training_count, context.training_units),
                                                options.mode));
              }
              return penalties;
            });
      };
}

const StrategyRegistration kUniform("l2sp", "control: the Fisher's trace spread evenly over all weights",
                                    MakeControl("l2sp", Uniform));
const StrategyRegistration kPermuted("permuted_ewc", "control: the Fisher's values shuffled over the weights",
                                     MakeControl("permuted_ewc", Permuted));

}  // namespace
}  // namespace engram::continual
