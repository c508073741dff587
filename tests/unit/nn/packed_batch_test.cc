#include "core/nn/packed_batch.h"

#include "ATen/ops/equal.h"
#include "ATen/ops/tensor.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

TEST(Pack, RefusesEmptySequencesAndKeepsOrder) {
  const std::vector<Sequence> bad = {{{1, 2}, {}}, {{}, {}}};
  EXPECT_FALSE(Pack(bad, at::kCPU).ok());
  const std::vector<Sequence> types = {{{1, 2}, {0}}};
  EXPECT_FALSE(Pack(types, at::kCPU).ok());
  const PackedBatch batch = MakeBatch(at::kCPU, {2, 3});
  EXPECT_EQ(batch.host_cu_seqlens, (std::vector<int32_t>{0, 2, 5}));
  EXPECT_EQ(batch.max_seqlen, 3);
  EXPECT_TRUE(at::equal(batch.positions, at::tensor({0, 1, 0, 1, 2}, at::kInt)));
}

}  // namespace
}  // namespace engram::nn
