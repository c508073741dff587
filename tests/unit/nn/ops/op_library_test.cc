#include "core/nn/ops/op_library.h"

#include <dlfcn.h>

#include <cstring>

#include "core/nn/ops/op_probe.h"
#include "core/nn/ops/op_table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/nn/ops/host_launch.h"

namespace engram::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Of the two that are right and the five that are wrong in op_library_sample.cc, by a little, in one case of several, always, by
// throwing, and only where the two passes are held together.
TEST(OpLibrary, TakesTheOpsThatAgreeAndLeavesTheOthersOut) {
  const ops::OpTable before = ops::OpsFor(at::kCPU);
  EXPECT_THAT(ops::LeftOutOps(at::kCPU), IsEmpty());
  ASSERT_TRUE(ops::LoadOpLibrary(ENGRAM_OP_LIBRARY, at::kCPU).ok());
  const ops::OpTable& table = ops::OpsFor(at::kCPU);
  EXPECT_NE(table.linear_input_gradient, before.linear_input_gradient);
  EXPECT_NE(table.first_token, before.first_token);
  EXPECT_THAT(ops::LeftOutOps(at::kCPU),
              ElementsAre("activation_gradient", "attention", "cross_entropy", "gradient_norm", "mean_pool"));
  EXPECT_EQ(table.mean_pool, before.mean_pool);
  EXPECT_EQ(table.activation_gradient, before.activation_gradient);
  EXPECT_EQ(table.gradient_norm, before.gradient_norm);
  EXPECT_EQ(table.cross_entropy, before.cross_entropy);
  EXPECT_EQ(table.attention, before.attention);
  EXPECT_EQ(table.linear, before.linear) << "what the library does not have";
  ASSERT_TRUE(ops::RegisterOps(at::kCPU, before).ok());
}

TEST(OpLibrary, WhatIsNoLibraryOfThisVersionIsRefused) {
  const auto linear = ops::OpsFor(at::kCPU).linear_input_gradient;
  EXPECT_EQ(ops::LoadOpLibrary("/nowhere/libops.so", at::kCPU).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ops::LoadOpLibrary("libm.so.6", at::kCPU).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ops::LoadOpLibrary(ENGRAM_OLD_OP_LIBRARY, at::kCPU).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ops::OpsFor(at::kCPU).linear_input_gradient, linear);
}

#if defined(ENGRAM_CUDA_LIBRARY)
// Without a GPU nothing of it can be called, but that it loads beside this libtorch, and what it would take over.
TEST(OpLibrary, TheCudaLibraryFitsThisTableAndThisLibtorch) {
  void* library = dlopen(ENGRAM_CUDA_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  auto* override_ops =
      reinterpret_cast<bool (*)(uint64_t, uint64_t, ops::OpTable*)>(dlsym(library, "engram_override_ops"));
  ASSERT_NE(override_ops, nullptr);
  ops::OpTable table = ops::ReferenceOps();
  EXPECT_FALSE(override_ops(ops::kOpTableVersion - 1, sizeof table, &table));
  EXPECT_FALSE(override_ops(ops::kOpTableVersion, sizeof table - 8, &table));
  EXPECT_EQ(std::memcmp(&table, &ops::ReferenceOps(), sizeof table), 0);
  ASSERT_TRUE(override_ops(ops::kOpTableVersion, sizeof table, &table));
  EXPECT_NE(table.attention, ops::ReferenceOps().attention);
  EXPECT_NE(table.attention_gradient, ops::ReferenceOps().attention_gradient);
  EXPECT_NE(table.squared_linear_gradient, ops::ReferenceOps().squared_linear_gradient);
  EXPECT_NE(table.adamw_step, ops::ReferenceOps().adamw_step);
  EXPECT_EQ(table.linear, ops::ReferenceOps().linear);
}
#endif

// Where they are right, and that there is a probe of each of them: what has none is left out.
TEST(OpProbe, KernelsOfOurOwnAgreeWithTheirTwins) {
  ops::OpTable table = HostKernels();
  const ops::ProbeResult result = ops::ProbeOps(at::kCPU, ops::ReferenceOps(), table);
  EXPECT_THAT(result.left_out, IsEmpty());
  EXPECT_THAT(result.taken,
              ::testing::UnorderedElementsAre(
                  "dropout_mask", "apply_dropout", "linear_activation", "activation_gradient", "add_layer_norm",
                  "add_layer_norm_gradient", "layer_norm_weight_gradient", "embedding_sum", "embedding_weight_gradient",
                  "mean_pool", "cross_entropy", "squared_linear_gradient", "squared_layer_norm_gradient",
                  "squared_embedding_gradient", "adamw_step", "gradient_norm"));
  EXPECT_EQ(std::memcmp(&table, &HostKernels(), sizeof table), 0);
}

}  // namespace
}  // namespace engram::nn
