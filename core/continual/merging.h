#pragma once

// Merging models that were trained from one base. theta_0 are the base's weights, tau_t = theta_t - theta_0 the t-th model's
// task vector, flat fp32 [N]; each function returns the vector that comes to theta_0. At least one vector; all of one size
// and on one device.
//
//   average      1/T sum tau_t                                      Wortsman et al., "Model soups", ICML 2022
//   Fisher       sum F_t tau_t / sum F_t, the average where all F are 0        Matena and Raffel, NeurIPS 2022
//   arithmetic   scale sum tau_t                                    Ilharco et al., "Task arithmetic", ICLR 2023
//   TIES         of each tau_t the share `keep` of its entries that are largest in size, the others 0; for each weight the
//                sign of their sum; scale times the mean of the entries that have that sign    Yadav et al., NeurIPS 2023
//   RegMean      for each linear layer the least-squares fit to what all models make of their own inputs:
//                tau' = (sum A'_t)^-1 sum A'_t tau'_t, tau' = [tau of W, tau of b]^T, A_t the mean of a a^T over the
//                model's tokens (a with a 1 behind it where there is a bias), A' = A but for its entries off the diagonal
//                times `off_diagonal`; the average for what is no linear layer    Jin et al., ICLR 2023
//
// A'_t is the mean, not the sum, over tokens: every task counts alike, whatever the size of its data. To the diagonal of
// their sum comes 1e-6 of its mean, so that inputs which are 0 throughout leave it regular.

#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/continual/kronecker.h"
#include "core/nn/masked_update.h"
#include "core/nn/parameter_buffer.h"

namespace engram::continual {

at::Tensor MergeAverage(std::span<const at::Tensor> vectors);
// `importance`: one for each vector, fp32 [N], >= 0.
at::Tensor MergeFisher(std::span<const at::Tensor> vectors, std::span<const at::Tensor> importance);
at::Tensor MergeArithmetic(std::span<const at::Tensor> vectors, double scale);
// keep in (0, 1]: at least one entry is kept. Entries as large as the smallest that is kept are kept, too.
at::Tensor MergeTies(std::span<const at::Tensor> vectors, double keep, double scale);
// EMR-Merging (Huang et al., NeurIPS 2024), the tasks named when they are asked: sigma the sign of the sum of all tau_t,
// update_i = sigma_i max_t |tau_t,i| over those with that sign, mask_t = [tau_t update > 0], and scale_t = sum |tau_t| /
// sum |mask_t update|, so that a task's share is on average as large as its own vector; 1 where nothing of it is left.
struct EmrMerge {
  at::Tensor update;  // fp32 [N]
  std::vector<nn::TaskMask> masks;
};
EmrMerge MergeEmr(std::span<const at::Tensor> vectors);
// `vectors` lie as the buffer's first elements do; `factors`: one for each vector, of the same layers.
at::Tensor MergeRegMean(const nn::ParameterBuffer& parameters, std::span<const at::Tensor> vectors,
                        std::span<const LayerFactors> factors, double off_diagonal);

}  // namespace engram::continual
