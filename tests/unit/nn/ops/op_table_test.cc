#include "core/nn/ops/op_table.h"

#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "core/nn/ops/op_library.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

at::Tensor OnMeta(at::IntArrayRef shape) { return at::empty(shape, at::TensorOptions(at::kFloat).device(at::kMeta)); }

TEST(OpTable, ADeviceWithoutATableComputesWithTheReference) {
  EXPECT_EQ(&ops::OpsFor(at::Device(at::kXLA)), &ops::ReferenceOps());
  EXPECT_NE(ops::OpsFor(at::kCPU).attention, ops::ReferenceOps().attention);
  EXPECT_EQ(ops::OpsFor(at::kCPU).cross_entropy, ops::ReferenceOps().cross_entropy)
      << "what the CPU has no own form of";
}

TEST(OpTable, ATableWithAHoleIsRefused) {
  ops::OpTable table = ops::ReferenceOps();
  table.mean_pool = nullptr;
  EXPECT_EQ(ops::RegisterOps(at::kXLA, table).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(&ops::OpsFor(at::Device(at::kXLA)), &ops::ReferenceOps());
}

TEST(OpTable, TheDeviceOfTheTensorsChoosesAndTheTableThatWasFoundStays) {
  const ops::OpTable& before = ops::OpsFor(at::Device(at::kMeta));
  ops::OpTable table = ops::ReferenceOps();
  table.mean_pool = [](const at::Tensor&, const PackedBatch&) { return at::ones({7}); };
  ASSERT_TRUE(ops::RegisterOps(at::kMeta, table).ok());
  EXPECT_EQ(ops::MeanPool(OnMeta({4, 2}), {}).numel(), 7);
  EXPECT_EQ(before.mean_pool, ops::ReferenceOps().mean_pool);
  const PackedBatch batch = MakeBatch(at::kCPU, {2});
  EXPECT_EQ(ops::MeanPool(at::ones({2, 3}), batch).numel(), 3) << "the CPU goes on as before";
  ASSERT_TRUE(ops::RegisterOps(at::kMeta, before).ok());
}

// tests/unit/nn/ops/op_library_sample.cc overrides two ops.
TEST(OpLibrary, OverridesSomeOpsAndLeavesTheOthers) {
  const ops::OpTable before = ops::OpsFor(at::Device(at::kMeta));
  ASSERT_TRUE(ops::LoadOpLibrary(ENGRAM_OP_LIBRARY, at::kMeta).ok());
  const ops::OpTable& table = ops::OpsFor(at::Device(at::kMeta));
  EXPECT_EQ(ops::Linear(OnMeta({4, 2}), OnMeta({5, 2}), at::Tensor()).sizes(), at::IntArrayRef({4, 5}));
  EXPECT_EQ(ops::Linear(OnMeta({4, 2}), OnMeta({5, 2}), at::Tensor()).device(), at::Device(at::kCPU))
      << "the library's result lies on the CPU";
  EXPECT_NE(table.linear, ops::ReferenceOps().linear);
  EXPECT_NE(table.gradient_norm, ops::ReferenceOps().gradient_norm);
  EXPECT_EQ(ops::GradientNorm(OnMeta({4}), {}), 42);
  EXPECT_EQ(table.attention, ops::ReferenceOps().attention);
  EXPECT_EQ(table.adamw_step, ops::ReferenceOps().adamw_step);
  ASSERT_TRUE(ops::RegisterOps(at::kMeta, before).ok());
}

TEST(OpLibrary, WhatIsNoLibraryOfThisVersionIsRefused) {
  const auto linear = ops::OpsFor(at::Device(at::kMeta)).linear;
  EXPECT_EQ(ops::LoadOpLibrary("/nowhere/libops.so", at::kMeta).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ops::LoadOpLibrary("libm.so.6", at::kMeta).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ops::LoadOpLibrary(ENGRAM_OLD_OP_LIBRARY, at::kMeta).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ops::OpsFor(at::Device(at::kMeta)).linear, linear);
}

}  // namespace
}  // namespace engram::nn
