#include "core/nn/ops/embedding/embedding.h"
#include "core/nn/ops/pooling/pooling.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

constexpr int64_t kWidth = 101;  // no multiple of any vector's width

using EmbeddingTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, EmbeddingTest, ::testing::ValuesIn(OpCases()), OpCaseName);

TEST_P(EmbeddingTest, SumIsTheSumOfTheTablesRows) {
  const PackedBatch batch = MakeBatch(device());
  const at::Tensor word = Normal({11, kWidth}), position = Normal({152, kWidth}), type = Normal({2, kWidth});
  const Matrix ids = ToMatrix(batch.ids), types = ToMatrix(batch.type_ids), word64 = ToMatrix(word),
               position64 = ToMatrix(position), type64 = ToMatrix(type);
  for (const int64_t first_position : {0, 2}) {
    Matrix all(batch.tokens(), kWidth), words(batch.tokens(), kWidth);
    for (int64_t i = 0; i < batch.sequences(); ++i) {
      for (int64_t p = 0; p < batch.length(i); ++p) {
        const int64_t t = batch.host_cu_seqlens[i] + p;
        for (int64_t c = 0; c < kWidth; ++c) {
          words(t, c) = word64(static_cast<int64_t>(ids(0, t)), c);
          all(t, c) = words(t, c) + position64(p + first_position, c) + type64(static_cast<int64_t>(types(0, t)), c);
        }
      }
    }
    EXPECT_LE(Distance(ops::EmbeddingSum(batch, word, type, position, first_position), all), tolerance());
    EXPECT_LE(Distance(ops::EmbeddingSum(batch, word, at::Tensor(), at::Tensor(), first_position), words), 0);
  }
}

TEST_P(EmbeddingTest, RowsThatATableDoesNotHaveAreRefused) {
  if (!device().is_cpu() || GetParam().target.table == &HostKernels()) GTEST_SKIP() << "kernels answer with NaN";
  const PackedBatch batch = MakeBatch(device());  // ids up to 10, positions up to 149, types up to 1
  const at::Tensor word = Normal({11, 8}), position = Normal({150, 8}), type = Normal({2, 8});
  EXPECT_NO_THROW(ops::EmbeddingSum(batch, word, type, position, 0));
  EXPECT_ANY_THROW(ops::EmbeddingSum(batch, word.narrow(0, 0, 10), type, position, 0));
  EXPECT_ANY_THROW(ops::EmbeddingSum(batch, word, type.narrow(0, 0, 1), position, 0));
  EXPECT_ANY_THROW(ops::EmbeddingSum(batch, word, type, position, 1));
}

TEST(EmbeddingKernel, RowsThatATableDoesNotHaveAreNaN) {
  const TargetScope scope({"kernels", at::kCPU, &HostKernels()});
  const PackedBatch batch = MakeBatch(at::kCPU, {3});
  const at::Tensor word = at::empty({11, 4}, at::kFloat).fill_(1), position = at::empty({3, 4}, at::kFloat).fill_(2);
  EXPECT_TRUE((ops::EmbeddingSum(batch, word, at::Tensor(), position, 0) == 3).all().item<bool>());
  const at::Tensor shifted = ops::EmbeddingSum(batch, word, at::Tensor(), position, 1);
  EXPECT_TRUE(shifted.select(0, 2).isnan().all().item<bool>());
  EXPECT_TRUE((shifted.narrow(0, 0, 2) == 3).all().item<bool>());
}

TEST_P(EmbeddingTest, GradientAddsUpRepeatedIds) {
  const std::vector<int32_t> index = {1, 1, 2, 1, 5, 1, 5, 0};
  for (const int64_t rows : {6, 40}) {  // kernels take tables of few rows otherwise
    const at::Tensor g = Normal({8, kWidth}), table = Filled32({rows, kWidth}, 0.5);
    ops::EmbeddingWeightGradient(g, Ints(index), table);
    const Matrix g64 = ToMatrix(g);
    Matrix expected(rows, kWidth, 0.5);
    for (size_t t = 0; t < index.size(); ++t) {
      for (int64_t c = 0; c < kWidth; ++c) expected(index[t], c) += g64(static_cast<int64_t>(t), c);
    }
    EXPECT_LE(Distance(table, expected), 1e-6);
  }
}

using PoolingTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, PoolingTest, ::testing::ValuesIn(OpCases()), OpCaseName);

TEST_P(PoolingTest, MeanAndFirstTokenAreTheDefinition) {
  const PackedBatch batch = MakeBatch(device());
  const int64_t n = batch.sequences();
  const at::Tensor hidden = Normal({batch.tokens(), kWidth}), g = Normal({n, kWidth});
  const Matrix h64 = ToMatrix(hidden), g64 = ToMatrix(g);
  Matrix mean(n, kWidth), first(n, kWidth), mean_gradient(batch.tokens(), kWidth), first_gradient = mean_gradient;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t begin = batch.host_cu_seqlens[i], length = batch.length(i);
    for (int64_t c = 0; c < kWidth; ++c) {
      first(i, c) = h64(begin, c);
      first_gradient(begin, c) = g64(i, c);
      for (int64_t t = begin; t < begin + length; ++t) {
        mean(i, c) += h64(t, c) / static_cast<double>(length);
        mean_gradient(t, c) = g64(i, c) / static_cast<double>(length);
      }
    }
  }
  EXPECT_LE(Distance(ops::MeanPool(hidden, batch), mean), tolerance());
  EXPECT_LE(Distance(ops::MeanPoolGradient(g, batch), mean_gradient), tolerance());
  EXPECT_LE(Distance(ops::FirstToken(hidden, batch), first), 0);
  EXPECT_LE(Distance(ops::FirstTokenGradient(g, batch), first_gradient), 0);
  EXPECT_EQ(ops::MeanPoolGradient(g, batch).scalar_type(), dtype());
}

}  // namespace
}  // namespace engram::nn
