#pragma once

// Attention in plain ATen calls with and without a table of distances (relative_attention.h); undefined: without.

#include "core/nn/ops/attention/relative_attention.h"

namespace engram::nn::ops::reference {

AttentionResult Attend(const at::Tensor& qkv, const at::Tensor& by_distance, const PackedBatch& batch,
                       const AttentionShape& shape, const Dropout& dropout, bool keep);
RelativeAttentionGradients Gradients(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& by_distance,
                                     const at::Tensor& logsumexp, const PackedBatch& batch, const AttentionShape& shape,
                                     const Dropout& dropout);

}  // namespace engram::nn::ops::reference
