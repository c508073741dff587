// What of flash attention can be told without a GPU.

#include "core/nn/cuda/flash_attention.h"

#include <set>

#include "ATen/ops/empty.h"
#include "core/nn/cuda/device_ops.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

TEST(FlashAttention, TheOperatorsHaveTheArgumentsThatArePassed) { EXPECT_TRUE(cuda::HasFlashAttention()); }

TEST(FlashAttention, TakesTheHeadsThatTheKernelsAreBuiltFor) {
  for (const int64_t dim : {32, 64, 80, 128, 256}) EXPECT_TRUE(cuda::FlashTakes(at::kBFloat16, {1, 1, dim})) << dim;
  for (const int64_t dim : {12, 33, 264, 512}) EXPECT_FALSE(cuda::FlashTakes(at::kBFloat16, {1, 1, dim})) << dim;
  EXPECT_FALSE(cuda::FlashTakes(at::kFloat, {1, 1, 64}));
}

// A batch that it does not take is computed by the twin, forward and backward.
TEST(FlashAttention, WhatItDoesNotTakeGoesToTheTwin) {
  HostKernels();  // says who the twins are
  const PackedBatch batch = MakeBatch(at::kCPU, {5, 3});
  const ops::AttentionShape shape{2, 2, 12};
  const at::Tensor qkv = at::empty({8, shape.qkv_width()}, at::kFloat).fill_(0.5), g = qkv.narrow(1, 0, 24);
  const ops::AttentionResult result = cuda::FlashAttention(qkv, batch, shape, {0.1, 1, 2, 3}, true);
  const ops::AttentionResult twin = ops::ReferenceOps().attention(qkv, batch, shape, {0.1, 1, 2, 3}, true);
  EXPECT_FALSE(result.by_device);
  EXPECT_EQ(Distance(result.out, ToMatrix(twin.out)), 0);
  EXPECT_EQ(Distance(cuda::FlashAttentionGradient(g, qkv, result, batch, shape, {0.1, 1, 2, 3}),
                     ToMatrix(ops::ReferenceOps().attention_gradient(g, qkv, twin, batch, shape, {0.1, 1, 2, 3}))),
            0);
}

TEST(FlashAttention, PaddedSumsArePacked) {
  const PackedBatch batch = MakeBatch(at::kCPU, {3, 1, 2});
  at::Tensor padded = at::empty({3, 2, 3}, at::kFloat).fill_(-1);
  Matrix packed(2, 6);
  for (int64_t n = 0; n < 3; ++n) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t t = 0; t < batch.length(n); ++t) {
        const auto value = static_cast<double>(100 * n + 10 * h + t);
        padded.select(0, n).select(0, h).select(0, t).fill_(value);
        packed(h, batch.host_cu_seqlens[n] + t) = value;
      }
    }
  }
  EXPECT_EQ(Distance(cuda::UnpaddedLogsumexp(padded, batch), packed), 0);
  const at::Tensor as_it_should_be = at::empty({2, 6}, at::kFloat);
  EXPECT_TRUE(cuda::UnpaddedLogsumexp(as_it_should_be, batch).is_same(as_it_should_be));
}

TEST(FlashAttention, EverySeedStepAndSiteDrawsItsOwn) {
  std::set<uint64_t> seeds;
  for (const uint64_t seed : {0ULL, 1ULL, 1ULL << 40}) {
    for (const uint64_t step : {0ULL, 1ULL, 1ULL << 33}) {
      for (const uint32_t site : {0U, 1U, 65535U}) seeds.insert(cuda::FlashSeed({0.1F, seed, step, site}));
    }
  }
  EXPECT_EQ(seeds.size(), 27u);
  EXPECT_EQ(cuda::FlashSeed({0.1F, 5, 6, 7}), cuda::FlashSeed({0.3F, 5, 6, 7}));
}

}  // namespace
}  // namespace engram::nn
