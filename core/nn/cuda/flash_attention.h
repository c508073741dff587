#pragma once

// Attention by libtorch's flash attention (Dao, "FlashAttention-2", 2023), sequence by sequence of a packed batch in one
// launch.

#include <optional>

#include "core/nn/ops/attention/attention.h"

namespace engram::nn::cuda {

// Whether this libtorch has the two operators with the arguments that are passed here. Asked once, when the table is made.
bool HasFlashAttention();

// Whether they take such tensors: bf16, and heads of a multiple of 8 up to 256 wide.
bool FlashTakes(at::ScalarType dtype, const ops::AttentionShape& shape);

// Attention and AttentionGradient of ops/attention/attention.h, by the twins for what flash attention does not take. Its dropout
// is drawn by libtorch's generator of the device, which is set for each call to a seed made of the dropout's own (FlashSeed):
// probabilities are quantised to 1/255, and the bits are not those of dropout_bits.h.
ops::AttentionResult FlashAttention(const at::Tensor& qkv, const PackedBatch& batch, const ops::AttentionShape& shape,
                                    const ops::Dropout& dropout, bool keep);
at::Tensor FlashAttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const ops::AttentionResult& kept,
                                  const PackedBatch& batch, const ops::AttentionShape& shape,
                                  const ops::Dropout& dropout);

// Flash attention's own sums as [heads, T]: it returns these, or in older forms padded ones [sequences, heads, longest].
at::Tensor UnpaddedLogsumexp(const at::Tensor& logsumexp, const PackedBatch& batch);

// Different for different seed, step or site.
uint64_t FlashSeed(const ops::Dropout& dropout);

}  // namespace engram::nn::cuda
