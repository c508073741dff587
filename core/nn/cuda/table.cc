// What nn::ops::LoadOpLibrary asks libengram_cuda.so for.

#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/flash_attention.h"

extern "C" __attribute__((visibility("default"))) bool engram_override_ops(uint64_t version, uint64_t bytes,
                                                                           engram::nn::ops::OpTable* table) {
  using namespace engram::nn;
  if (version != ops::kOpTableVersion || bytes != sizeof *table) return false;
  cuda::OverrideWithKernels(*table);
  if (cuda::HasFlashAttention()) {
    table->attention = cuda::FlashAttention;
    table->attention_gradient = cuda::FlashAttentionGradient;
  }
  return true;
}
