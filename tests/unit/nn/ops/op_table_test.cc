#include "core/nn/ops/op_table.h"

#include "ATen/ops/empty.h"
#include "ATen/ops/ones.h"
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

}  // namespace
}  // namespace engram::nn
