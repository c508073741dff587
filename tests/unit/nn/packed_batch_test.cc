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

// Windows are sequences of their own, from position 0; what they count in their text sums to 1.
TEST(Pack, TextsInWindowsAreSequencesThatKnowTheirText) {
  Sequence long_text{{1, 2, 3, 4, 5}, {}};
  long_text.windows = {{2, 1}, {2, 3}, {1, 0}};
  const std::vector<Sequence> texts = {{{6, 7}, {}}, long_text};
  const PackedBatch batch = *Pack(texts, at::kCPU);
  EXPECT_EQ(batch.host_cu_seqlens, (std::vector<int32_t>{0, 2, 4, 6, 7}));
  EXPECT_TRUE(at::equal(batch.positions, at::tensor({0, 1, 0, 1, 0, 1, 0}, at::kInt)));
  EXPECT_TRUE(at::equal(batch.ids, at::tensor({6, 7, 1, 2, 3, 4, 5}, at::kInt)));
  EXPECT_EQ(batch.max_seqlen, 2);
  EXPECT_EQ(batch.texts(), 2);
  EXPECT_EQ(batch.host_cu_texts, (std::vector<int32_t>{0, 1, 4}));
  EXPECT_EQ(batch.text_shares, (std::vector<float>{1, 0.25F, 0.75F, 0}));
  EXPECT_TRUE(Part(batch, 1, 2).host_cu_texts.empty());
  // Without windows, or with one, each sequence is a text.
  Sequence whole{{1, 2, 3}, {}};
  whole.windows = {{3, 3}};
  EXPECT_TRUE(Pack(std::vector<Sequence>{whole}, at::kCPU)->host_cu_texts.empty());
  EXPECT_EQ(MakeBatch(at::kCPU, {2, 3}).texts(), 2);
}

TEST(Pack, WindowsThatCannotBeAreRefused) {
  const std::vector<std::vector<TextWindow>> impossible = {{{2, 1}, {2, 1}},  {{2, 1}, {4, 1}},  {{5, 1}, {0, 1}},
                                                           {{6, 1}, {-1, 1}}, {{2, 2}, {3, -1}}, {{2, 0}, {3, 0}}};
  for (const std::vector<TextWindow>& windows : impossible) {
    Sequence text{{1, 2, 3, 4, 5}, {}};
    text.windows = windows;
    EXPECT_TRUE(absl::IsInvalidArgument(Pack(std::vector<Sequence>{text}, at::kCPU).status()));
  }
}

}  // namespace
}  // namespace engram::nn
