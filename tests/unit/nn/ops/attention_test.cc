#include "core/nn/ops/attention/attention.h"

#include <functional>
#include <map>
#include <memory>
#include <tuple>

#include "ATen/Parallel.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/zeros.h"
#include "core/nn/ops/embedding/embedding.h"
#include "core/nn/ops/layer_norm/layer_norm.h"
#include "tests/unit/nn/ops/definitions.h"

namespace engram::nn {
namespace {

using AttentionTest = OpTest;
INSTANTIATE_TEST_SUITE_P(Ops, AttentionTest, ::testing::ValuesIn(OpCases()), OpCaseName);

struct Expected {
  Matrix out, logsumexp, gradient;  // of qkv
};

// What the probability of query t and key j of head h of sequence i is multiplied with.
using Mask = std::function<double(int64_t i, int64_t h, int64_t t, int64_t j)>;

// That of dropout_bits.h: the probability of unit u (sequence * heads + head) is element u 2^31 + j ceil16(length) + t.
Mask MaskOf(const ops::Dropout& dropout, const PackedBatch& batch, int64_t heads) {
  return [=](int64_t i, int64_t h, int64_t t, int64_t j) {
    const int64_t stride = (batch.length(i) + 15) / 16 * 16;
    return Keep(dropout, (static_cast<uint64_t>(i * heads + h) << 31) + j * stride + t);
  };
}

// Attention and its gradient as the textbook has them, one query at a time. The mask is data.
Expected Define(const Matrix& qkv, const Matrix& g, const PackedBatch& batch, const ops::AttentionShape& shape,
                const Mask& mask_of) {
  const int64_t heads = shape.heads, width = shape.head_dim, group = heads / shape.kv_heads;
  Expected e = {Matrix(qkv.rows, heads * width), Matrix(heads, qkv.rows), Matrix(qkv.rows, qkv.width)};
  const auto sees = [&](int64_t query, int64_t key) {
    return (!shape.causal || key <= query) && (shape.window < 0 || std::abs(query - key) <= shape.window);
  };
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const int64_t first = batch.host_cu_seqlens[i], length = batch.length(i);
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t q = h * width, k = (heads + h / group) * width, v = k + shape.kv_heads * width;
      for (int64_t t = first; t < first + length; ++t) {
        std::vector<double> p(static_cast<size_t>(length)), dp = p, mask = p;
        double total = 0, delta = 0;
        for (int64_t j = 0; j < length; ++j) {
          double score = 0;
          for (int64_t c = 0; c < width; ++c) score += qkv(t, q + c) * qkv(first + j, k + c);
          p[j] = sees(t - first, j) ? std::exp(score * scale) : 0;
          total += p[j];
          mask[j] = mask_of(i, h, t - first, j);
        }
        e.logsumexp(h, t) = std::log(total);
        for (int64_t j = 0; j < length; ++j) {
          p[j] /= total;
          for (int64_t c = 0; c < width; ++c) {
            e.out(t, q + c) += p[j] * mask[j] * qkv(first + j, v + c);
            dp[j] += mask[j] * g(t, q + c) * qkv(first + j, v + c);
          }
          delta += p[j] * dp[j];
        }
        for (int64_t j = 0; j < length; ++j) {
          const double ds = p[j] * (dp[j] - delta) * scale;
          for (int64_t c = 0; c < width; ++c) {
            e.gradient(t, q + c) += ds * qkv(first + j, k + c);
            e.gradient(first + j, k + c) += ds * qkv(t, q + c);
            e.gradient(first + j, v + c) += p[j] * mask[j] * g(t, q + c);
          }
        }
      }
    }
  }
  return e;
}

// The mask that a forward pass applied, read out of it: with a value of 1 for one key in each column and 0 for all others, the
// output is those keys' probabilities, masked. For tables that draw their own.
Mask RecoverMask(const at::Tensor& qkv, const PackedBatch& batch, const ops::AttentionShape& shape,
                 const ops::Dropout& dropout) {
  auto kept = std::make_shared<std::map<std::tuple<int64_t, int64_t, int64_t, int64_t>, double>>();
  const int64_t values = shape.out_width() + shape.key_width(), width = shape.head_dim;
  for (int64_t first_key = 0; first_key < batch.max_seqlen; first_key += width) {
    at::Tensor v = at::zeros({qkv.size(0), shape.kv_heads, width}, qkv.options().device(at::kCPU));
    for (int64_t i = 0; i < batch.sequences(); ++i) {
      for (int64_t j = first_key; j < std::min<int64_t>(first_key + width, batch.length(i)); ++j)
        v.select(0, batch.host_cu_seqlens[i] + j).select(1, j - first_key).fill_(1);
    }
    at::Tensor probing = qkv.clone();
    probing.narrow(1, values, shape.key_width()).copy_(v.view({qkv.size(0), shape.key_width()}));
    const Matrix out = ToMatrix(ops::Attention(probing, batch, shape, dropout, true).out);
    for (int64_t i = 0; i < batch.sequences(); ++i) {
      const int64_t length = batch.length(i);
      for (int64_t h = 0; h < shape.heads; ++h) {
        for (int64_t t = 0; t < length; ++t) {
          for (int64_t j = first_key; j < std::min(first_key + width, length); ++j) {
            const double seen = out(batch.host_cu_seqlens[i] + t, h * width + j - first_key);
            (*kept)[{i, h, t, j}] = seen == 0 ? 0 : 1 / (1 - static_cast<double>(dropout.probability));
          }
        }
      }
    }
  }
  return [kept](int64_t i, int64_t h, int64_t t, int64_t j) { return kept->at({i, h, t, j}); };
}

// Of the tables that draw as dropout_bits.h says, so that it holds for those that do not.
TEST_P(AttentionTest, TheMaskCanBeReadOutOfTheForwardPass) {
  const PackedBatch batch = MakeBatch(device(), {5, 1, 19});
  const ops::AttentionShape shape{4, 2, 8};
  const ops::Dropout dropout{0.5, 1, 2, 3};  // a probability that quantises to itself
  const at::Tensor qkv = Normal({batch.tokens(), shape.qkv_width()}, 0.3);
  if (ops::Attention(qkv, batch, shape, dropout, true).by_device) GTEST_SKIP() << "draws its own";
  const Mask read = RecoverMask(qkv, batch, shape, dropout), drawn = MaskOf(dropout, batch, shape.heads);
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t t = 0; t < batch.length(i); ++t) {
        for (int64_t j = 0; j < batch.length(i); ++j)
          ASSERT_EQ(read(i, h, t, j), drawn(i, h, t, j)) << i << h << t << j;
      }
    }
  }
}

TEST_P(AttentionTest, ForwardAndBackwardAreTheDefinition) {
  const PackedBatch batch = MakeBatch(device());
  struct Case {
    ops::AttentionShape shape;
    ops::Dropout dropout;
  };
  // Widths that bf16 panels take (32, 64), that they do not (12, 80), and no dropout, little and much; then windows, on
  // both sides and behind, narrower and wider than a block of queries, and keys that heads share.
  for (const auto& [shape, dropout] :
       {Case{{3, 3, 32}, {}}, Case{{2, 2, 64}, {0.1, 17, 3, 5}}, Case{{3, 3, 12}, {0.5, 1ULL << 40, 9, 1}},
        Case{{1, 1, 80}, {}}, Case{{2, 2, 20}, {0.1, 3, 70000, 65535}}, Case{{2, 2, 32, 0}, {}},
        Case{{2, 2, 32, 5}, {0.1, 4, 5, 6}}, Case{{1, 1, 16, 70}, {}}, Case{{2, 1, 32, -1, true}, {0.1, 7, 8, 9}},
        Case{{6, 2, 16, 20, true}, {0.5, 1, 2, 3}}, Case{{4, 2, 12, 63}, {}}}) {
    const at::Tensor qkv = Normal({batch.tokens(), shape.qkv_width()}), g = Normal({batch.tokens(), shape.out_width()});
    const auto result = ops::Attention(qkv, batch, shape, dropout, true);
    const Mask mask = result.by_device && dropout.active() ? RecoverMask(qkv, batch, shape, dropout)
                                                           : MaskOf(dropout, batch, shape.heads);
    const Expected expected = Define(ToMatrix(qkv), ToMatrix(g), batch, shape, mask);
    SCOPED_TRACE(testing::Message() << shape.heads << " heads on " << shape.kv_heads << ", " << shape.head_dim
                                    << " wide, window " << shape.window << (shape.causal ? ", causal" : ""));
    EXPECT_LE(Distance(result.out, expected.out), tolerance(1.5));
    EXPECT_LE(Distance(result.logsumexp, expected.logsumexp), 2e-6);
    EXPECT_LE(Distance(ops::AttentionGradient(g, qkv, result, batch, shape, dropout), expected.gradient),
              tolerance(1.5));
    const auto forgotten = ops::Attention(qkv, batch, shape, dropout, false);
    EXPECT_TRUE(at::equal(forgotten.out, result.out)) << "keeping changes no bit";
    EXPECT_FALSE(forgotten.logsumexp.defined());
  }
}

// The definition's own gradient, by central differences of its output.
TEST(AttentionDefinition, GradientIsTheDerivative) {
  const PackedBatch batch = MakeBatch(at::kCPU, {4, 3});
  const ops::Dropout dropout{0.25, 9, 1, 2};
  const ops::AttentionShape shape{4, 2, 3, 2, true};
  const Mask mask = MaskOf(dropout, batch, shape.heads);
  std::mt19937_64 random(4);
  std::normal_distribution<double> normal;
  Matrix qkv(7, 24), g(7, 12);
  for (double& value : qkv.values) value = normal(random);
  for (double& value : g.values) value = normal(random);
  const auto loss = [&] {
    const Matrix out = Define(qkv, g, batch, shape, mask).out;
    double sum = 0;
    for (size_t i = 0; i < out.values.size(); ++i) sum += out.values[i] * g.values[i];
    return sum;
  };
  const Matrix gradient = Define(qkv, g, batch, shape, mask).gradient;
  for (size_t i = 0; i < qkv.values.size(); ++i) {
    const double before = qkv.values[i], h = 1e-5;
    qkv.values[i] = before + h;
    const double up = loss();
    qkv.values[i] = before - h;
    EXPECT_NEAR((up - loss()) / (2 * h), gradient.values[i], 1e-8) << i;
    qkv.values[i] = before;
  }
}

// What the CPU's own kernels promise.
TEST(CpuOps, ResultsDoNotDependOnThreads) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const PackedBatch batch = MakeBatch(at::kCPU);
    const ops::AttentionShape shape{2, 2, 32};
    const int64_t d = 64;
    std::mt19937_64 random(4);
    std::normal_distribution<float> normal;
    const auto draw = [&](at::IntArrayRef shape) {
      at::Tensor tensor = at::empty(shape, at::kFloat);
      for (float& value : std::span(tensor.mutable_data_ptr<float>(), tensor.numel())) value = normal(random);
      return tensor.to(dtype);
    };
    const at::Tensor qkv = draw({batch.tokens(), 3 * d}), g = draw({batch.tokens(), d}), gamma = draw({d});
    const ops::Dropout dropout{0.1, 17, 3, 5};
    const auto run = [&] {
      const auto forward = ops::Attention(qkv, batch, shape, dropout, true);
      const auto norm = ops::AddLayerNorm(forward.out, at::Tensor(), dropout, gamma, gamma, 1e-5, true);
      const at::Tensor table = at::zeros({11, d});
      ops::EmbeddingWeightGradient(g, batch.ids, table);
      return std::vector<at::Tensor>{norm.y, ops::AttentionGradient(g, qkv, forward, batch, shape, dropout), table};
    };
    const int before = at::get_num_threads();
    at::set_num_threads(1);
    const auto one = run();
    at::set_num_threads(2);
    const auto two = run();
    at::set_num_threads(before);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], two[i])) << i;
  }
}

}  // namespace
}  // namespace engram::nn
