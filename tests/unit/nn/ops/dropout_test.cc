#include "core/nn/ops/dropout/dropout.h"

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "core/nn/ops/attention/attention.h"
#include "core/nn/ops/dropout/dropout_bits.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using DropoutTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, DropoutTest, ::testing::ValuesIn(OpCases()), OpCaseName);

TEST_P(DropoutTest, IsTheMaskOfTheCounterStream) {
  const at::Tensor x = Normal({41, 77}, 3);
  const Matrix x64 = ToMatrix(x);
  // A step above 2^16 and the largest site: every bit of the counter takes part.
  for (const ops::Dropout& dropout : {ops::Dropout{0.1, 17, 3, 5}, ops::Dropout{0.75, 1ULL << 60, 70000, 65535}}) {
    Matrix expected(41, 77);
    for (size_t e = 0; e < expected.values.size(); ++e) expected.values[e] = x64.values[e] * Keep(dropout, e);
    EXPECT_LE(Distance(ops::ApplyDropout(x, dropout), expected), fp32() ? 2e-7 : tolerance());
  }
  EXPECT_TRUE(ops::ApplyDropout(x, {}).is_same(x));
}

TEST_P(DropoutTest, MasksBeginWhereTheyAreAskedTo) {
  const ops::Dropout dropout{0.4, 21, 5, 9};
  const std::vector<int64_t> first = {256, 0, int64_t{3} << 40};
  const at::Tensor mask = ops::DropoutMask(dropout, first, 4500, device());
  Matrix expected(3, 4500);
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i < 4500; ++i)
      expected(r, i) = Keep(dropout, static_cast<uint64_t>(first[static_cast<size_t>(r)] + i));
  }
  EXPECT_LE(Distance(mask, expected), 1e-7);
}

TEST_P(DropoutTest, KeepsTheMean) {
  const at::Tensor once = ops::ApplyDropout(Filled32({400, 250}, 1), {0.3, 4, 7, 1});
  EXPECT_NEAR(once.mean().item<double>(), 1.0, 0.01);
  EXPECT_NEAR((once == 0).to(at::kFloat).mean().item<double>(), 0.3, 0.01);
  EXPECT_FALSE(at::equal(once, ops::ApplyDropout(Filled32({400, 250}, 1), {0.3, 4, 8, 1})));
}

// The bits that a training run draws are part of what resumes: these never change.
TEST(AttentionDropout, HeadsLieWhereTheyAlwaysLay) {
  for (const int64_t length : {1, 512, 8192, 46'336}) {
    EXPECT_EQ(ops::FirstAttentionDropout(0, 0, 12, length), 0u);
    EXPECT_EQ(ops::FirstAttentionDropout(3, 2, 12, length), uint64_t{38} << 31) << length;
  }
  EXPECT_EQ(ops::AttentionDropoutStride(33), 48);
  EXPECT_EQ(ops::AttentionDropoutStride(48), 48);
}

TEST(AttentionDropout, NoTwoHeadsShareAnElementAtAnyLength) {
  for (const int64_t length : std::vector<int64_t>{16, 46'336, 46'337, 65'536, 1 << 20, (1 << 24) + 1}) {
    const uint64_t spacing = ops::FirstAttentionDropout(0, 1, 2, length) - ops::FirstAttentionDropout(0, 0, 2, length);
    const uint64_t last_key = static_cast<uint64_t>(length - 1) * ops::AttentionDropoutStride(length);
    EXPECT_GE(spacing, last_key + static_cast<uint64_t>(length)) << length;
    EXPECT_EQ(spacing % 128, 0u);
    EXPECT_EQ(ops::FirstAttentionDropout(1, 0, 2, length), 2 * spacing);
  }
  EXPECT_TRUE(ops::AttentionDropoutFits(4096, 16, 8192));
  EXPECT_TRUE(ops::AttentionDropoutFits(1 << 20, 1, 46'336));
  EXPECT_FALSE(ops::AttentionDropoutFits((1 << 20) + 1, 1, 46'336));
  EXPECT_FALSE(ops::AttentionDropoutFits(1 << 20, 1, 46'337));
}

// A batch that claims more heads than there are elements for is refused before anything is computed.
TEST(AttentionDropout, ABatchWithoutElementsOfItsOwnIsRefused) {
  PackedBatch batch = MakeBatch(at::kCPU, {3});
  batch.max_seqlen = 1 << 26;
  const at::Tensor qkv = at::empty({3, 12}, at::kFloat).fill_(1);
  EXPECT_ANY_THROW(ops::Attention(qkv, batch, {2, 2, qkv.size(1) / 6}, {0.1, 1, 1, 1}, false));
}

}  // namespace
}  // namespace engram::nn
