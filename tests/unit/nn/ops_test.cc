// The CPU kernels against the plain ATen reference, with and without dropout, in both precisions, and on one and two
// threads.

#include "core/nn/ops.h"

#include <cmath>

#include "ATen/Parallel.h"
#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "core/nn/kernels/cpu_kernels.h"
#include "core/nn/kernels/linear.h"
#include "core/nn/parameter_buffer.h"
#include "core/nn/reference_ops.h"
#include "gtest/gtest.h"

namespace engram::nn {
namespace {

// Unequal lengths, a single token, one length above the block of 16.
PackedBatch MakeBatch(const std::vector<int>& lengths = {5, 1, 19, 150, 33, 2, 64}) {
  std::vector<Sequence> sequences;
  int32_t id = 0;
  for (const int length : lengths) {
    Sequence s;
    for (int i = 0; i < length; ++i) s.ids.push_back(id++ % 11);
    sequences.push_back(s);
  }
  return *Pack(sequences, at::kCPU);
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).abs().max() / b.to(at::kDouble).abs().max().clamp_min(1e-30))
      .item<double>();
}

struct Case {
  at::ScalarType dtype;
  float dropout;
  int64_t head_dim;
};

class KernelTest : public ::testing::TestWithParam<Case> {
 protected:
  ops::Dropout dropout() const { return {GetParam().dropout, 17, 3, 5}; }
  // fp32: another order of sums. bf16: both sides round results to 8 bits of mantissa.
  double tolerance() const { return GetParam().dtype == at::kFloat ? 2e-6 : 8e-3; }
  at::Tensor Random(at::IntArrayRef shape) const { return at::randn(shape).to(GetParam().dtype); }
};

TEST_P(KernelTest, AddLayerNormForwardAndBackward) {
  const int64_t rows = 23, width = 3 * GetParam().head_dim + 1;  // no multiple of the vector width
  const at::Tensor x = Random({rows, width}), residual = Random({rows, width}), gamma = Random({width}),
                   beta = Random({width}), g = Random({rows, width});
  const auto ours = kernels::AddLayerNorm(x, residual, dropout(), gamma, beta, 1e-12, true);
  const auto theirs = reference::AddLayerNorm(x, residual, dropout(), gamma, beta, 1e-12, true);
  EXPECT_LE(Distance(ours.y, theirs.y), tolerance());
  EXPECT_LE(Distance(ours.rstd, theirs.rstd), 2e-6);
  const auto our_gradient = kernels::AddLayerNormGradient(g, theirs.normalized, theirs.rstd, gamma, dropout());
  const auto their_gradient = reference::AddLayerNormGradient(g, theirs.normalized, theirs.rstd, gamma, dropout());
  EXPECT_LE(Distance(our_gradient.residual, their_gradient.residual), tolerance());
  EXPECT_LE(Distance(our_gradient.x, their_gradient.x), tolerance());
  EXPECT_TRUE(at::equal(kernels::AddLayerNorm(x, residual, dropout(), gamma, beta, 1e-12, false).y, ours.y))
      << "keeping changes no bit";
}

TEST_P(KernelTest, AttentionForwardAndBackward) {
  const PackedBatch batch = MakeBatch();
  const int64_t heads = 3, d = heads * GetParam().head_dim;
  const at::Tensor qkv = Random({batch.tokens(), 3 * d}), g = Random({batch.tokens(), d});
  const auto ours = kernels::Attention(qkv, batch, heads, dropout(), true);
  const auto theirs = reference::Attention(qkv, batch, heads, dropout(), true);
  EXPECT_LE(Distance(ours.out, theirs.out), tolerance());
  EXPECT_LE(Distance(ours.logsumexp, theirs.logsumexp), 2e-6);
  EXPECT_LE(Distance(kernels::AttentionGradient(g, qkv, ours.logsumexp, batch, heads, dropout()),
                     reference::AttentionGradient(g, qkv, theirs.logsumexp, batch, heads, dropout())),
            tolerance());
}

TEST_P(KernelTest, LinearForwardAndBackwardAgainstFp64) {
  const int64_t rows = 37, in = 3 * GetParam().head_dim, out = 50;
  const at::Tensor x = Random({rows, in}), w = Random({out, in}), b = Random({out}), g = Random({rows, out});
  const auto fp64 = [](const at::Tensor& t) { return t.to(at::kDouble); };
  EXPECT_LE(Distance(ops::Linear(x, w, b), at::mm(fp64(x), fp64(w).t()) + fp64(b)), tolerance());
  EXPECT_LE(Distance(ops::Linear(x, kernels::PackWeight(w), b), at::mm(fp64(x), fp64(w).t()) + fp64(b)), tolerance());
  EXPECT_LE(Distance(ops::LinearInputGradient(g, w), at::mm(fp64(g), fp64(w))), tolerance());
  at::Tensor grad_w = at::zeros({out, in}) + 2.0, grad_b = at::zeros({out}) + 3.0;
  ops::LinearWeightGradient(g, x, grad_w, grad_b);
  EXPECT_LE(Distance(grad_w, at::mm(fp64(g).t(), fp64(x)) + 2.0), tolerance());
  EXPECT_LE(Distance(grad_b, fp64(g).sum(0) + 3.0), 2e-6);
}

TEST_P(KernelTest, RowKernelsAgreeWithTheReference) {
  const PackedBatch batch = MakeBatch();
  const int64_t d = 3 * GetParam().head_dim + 5;  // no multiple of the vector width
  const at::Tensor word = Random({11, d}), position = Random({151, d}), type = Random({1, d});
  EXPECT_LE(Distance(ops::EmbeddingSum(batch, word, type, position, 1),
                     reference::EmbeddingSum(batch, word, type, position, 1)),
            tolerance());
  const at::Tensor g = Random({batch.tokens(), d}), x = Random({batch.tokens(), d}) * 3.0;
  EXPECT_TRUE(at::equal(ops::ApplyDropout(x, dropout()), reference::ApplyDropout(x, dropout())));
  at::Tensor gamma = at::zeros({d}) + 1.0, beta = at::zeros({d}), gamma_too = at::zeros({d}) + 1.0,
             beta_too = at::zeros({d});
  ops::LayerNormWeightGradient(g, x, gamma, beta);
  reference::LayerNormWeightGradient(g, x, gamma_too, beta_too);
  EXPECT_LE(Distance(gamma, gamma_too), 2e-6);
  EXPECT_LE(Distance(beta, beta_too), 2e-6);
  for (const Activation act : {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kSilu}) {
    EXPECT_LE(Distance(ops::ActivationGradient(g, x, act), reference::ActivationGradient(g, x, act)), tolerance());
  }
}

// The derivative of x Phi(x) in fp64, also far out, where erf's approximation would show.
TEST(Gelu, GradientMatchesTheClosedForm) {
  std::vector<float> points;
  for (double x = -12; x <= 12; x += 0.01) points.push_back(static_cast<float>(x));
  const at::Tensor x = at::tensor(points), g = at::zeros_like(x) + 1.0;
  const at::Tensor gradient = kernels::GeluGradient(g, x);
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double v = points[i], phi = std::exp(-v * v / 2) / std::sqrt(2 * std::acos(-1.0));
    EXPECT_NEAR(gradient[i].item<double>(), std::erfc(-v / std::sqrt(2.0)) / 2 + v * phi, 4e-7) << v;
  }
}

TEST_P(KernelTest, ResultsDoNotDependOnThreads) {
  const PackedBatch batch = MakeBatch();
  const int64_t heads = 2, d = heads * GetParam().head_dim;
  const at::Tensor qkv = Random({batch.tokens(), 3 * d}), g = Random({batch.tokens(), d}), gamma = Random({d});
  const auto run = [&] {
    const auto forward = kernels::Attention(qkv, batch, heads, dropout(), true);
    const auto norm = kernels::AddLayerNorm(forward.out, at::Tensor(), dropout(), gamma, gamma, 1e-5, true);
    at::Tensor table = at::zeros({11, d});
    kernels::EmbeddingWeightGradient(g, batch.ids, table);
    return std::vector<at::Tensor>{
        norm.y, kernels::AttentionGradient(g, qkv, forward.logsumexp, batch, heads, dropout()), table};
  };
  at::set_num_threads(1);
  const auto one = run();
  at::set_num_threads(2);
  const auto two = run();
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], two[i])) << i;
}

INSTANTIATE_TEST_SUITE_P(Kernels, KernelTest,
                         ::testing::Values(Case{at::kFloat, 0, 32}, Case{at::kFloat, 0.1, 32},
                                           Case{at::kFloat, 0.5, 64}, Case{at::kFloat, 0.1, 12},
                                           Case{at::kFloat, 0, 80}, Case{at::kBFloat16, 0, 32},
                                           Case{at::kBFloat16, 0.1, 64}, Case{at::kBFloat16, 0.1, 20}));

// Attention's gradient by central differences in fp64 of the definition, written out for one head.
TEST(Attention, GradientMatchesFiniteDifferences) {
  const PackedBatch batch = MakeBatch({4, 3});
  const int64_t d = 5;
  const ops::Dropout dropout{0.25, 9, 1, 2};
  const at::Tensor qkv = at::randn({batch.tokens(), 3 * d}), g = at::randn({batch.tokens(), d});
  // sum of g * attention(qkv); the mask is taken from the reference's definition of dropout bits by differencing
  // outputs of one-hot values.
  const auto loss = [&](const at::Tensor& at_qkv) {
    return (reference::Attention(at_qkv, batch, 1, dropout, false).out.to(at::kDouble) * g.to(at::kDouble))
        .sum()
        .item<double>();
  };
  const at::Tensor gradient =
      ops::AttentionGradient(g, qkv, ops::Attention(qkv, batch, 1, dropout, true).logsumexp, batch, 1, dropout);
  for (int64_t i = 0; i < qkv.numel(); ++i) {
    const double step = 1e-2;
    at::Tensor up = qkv.clone(), down = qkv.clone();
    up.view(-1)[i].add_(step);
    down.view(-1)[i].sub_(step);
    EXPECT_NEAR((loss(up) - loss(down)) / (2 * step), gradient.view(-1)[i].item<double>(), 2e-3) << i;
  }
}

TEST(Dropout, KeepsTheMeanAndForwardEqualsBackward) {
  const ops::Dropout dropout{0.3, 4, 7, 1};
  const at::Tensor ones = at::zeros({400, 250}) + 1.0;
  const at::Tensor once = ops::ApplyDropout(ones, dropout);
  EXPECT_TRUE(at::equal(once, ops::ApplyDropout(ones, dropout)));
  EXPECT_NEAR(once.mean().item<double>(), 1.0, 0.01);
  EXPECT_NEAR((once == 0).to(at::kFloat).mean().item<double>(), 0.3, 0.01);
  ops::Dropout later = dropout;
  later.step = 8;
  EXPECT_FALSE(at::equal(once, ops::ApplyDropout(ones, later)));
  EXPECT_TRUE(at::equal(ops::ApplyDropout(ones, {}), ones));
}

TEST(CrossEntropy, AgreesWithTheDefinitionAndIgnores) {
  const at::Tensor logits = at::randn({4, 3}), target = at::tensor({2, -100, 0, 1}, at::kLong);
  const auto result = ops::CrossEntropy(logits, target, at::Tensor());
  for (int64_t r = 0; r < 4; ++r) {
    const int64_t t = target[r].item<int64_t>();
    double sum = 0;
    for (int64_t c = 0; c < 3; ++c) sum += std::exp(logits[r][c].item<double>());
    EXPECT_NEAR(result.loss[r].item<double>(), t < 0 ? 0 : std::log(sum) - logits[r][t].item<double>(), 1e-6);
    for (int64_t c = 0; c < 3; ++c) {
      const double expected = t < 0 ? 0 : std::exp(logits[r][c].item<double>()) / sum - (c == t);
      EXPECT_NEAR(result.grad[r][c].item<double>(), expected, 1e-6);
    }
  }
}

TEST(CrossEntropy, KeepsTheDigitsOfASmallGradient) {
  const at::Tensor logits = at::tensor({16.0F, 0.5F, -1.25F}).unsqueeze(0);  // p of the target is 1 - 2e-7
  const double others = std::exp(0.5 - 16) + std::exp(-1.25 - 16);
  const at::Tensor grad = ops::CrossEntropy(logits, at::tensor({0}, at::kLong), at::Tensor()).grad;
  const double expected = -others / (1 + others);
  EXPECT_NEAR(grad[0][0].item<double>() / expected, 1, 1e-5);
}

TEST(SquaredGradients, EqualALoopOverSequences) {
  const PackedBatch batch = MakeBatch({3, 1, 4});
  const int64_t in = 5, out = 4;
  const at::Tensor x = at::randn({8, in}), g = at::randn({8, out});
  const std::vector<float> weight = {0.5F, 2.0F, 1.0F};
  at::Tensor square_w = at::zeros({out, in}), square_b = at::zeros({out}), table = at::zeros({11, out});
  ops::SquaredLinearGradient(g, x, batch.host_cu_seqlens, weight, false, square_w, square_b);
  ops::SquaredEmbeddingGradient(g, at::tensor({1, 1, 2, 1, 5, 1, 5, 5}, at::kInt), batch.host_cu_seqlens, weight, false,
                                table);
  for (int64_t o = 0; o < out; ++o) {
    double bias = 0, repeated = 0;
    for (int n = 0; n < 3; ++n) {
      double sum = 0, of_five = 0;
      for (int t = batch.host_cu_seqlens[n]; t < batch.host_cu_seqlens[n + 1]; ++t) {
        sum += g[t][o].item<double>();
        if (t == 4 || t >= 6) of_five += g[t][o].item<double>();
      }
      bias += weight[n] * sum * sum;
      repeated += weight[n] * of_five * of_five;
    }
    EXPECT_NEAR(square_b[o].item<double>(), bias, 1e-5);
    EXPECT_NEAR(table[5][o].item<double>(), repeated, 1e-5);
    for (int64_t i = 0; i < in; ++i) {
      double expected = 0;
      for (int n = 0; n < 3; ++n) {
        double s = 0;
        for (int t = batch.host_cu_seqlens[n]; t < batch.host_cu_seqlens[n + 1]; ++t)
          s += g[t][o].item<double>() * x[t][i].item<double>();
        expected += weight[n] * s * s;
      }
      EXPECT_NEAR(square_w[o][i].item<double>(), expected, 1e-5);
    }
  }
}

TEST(Pack, RefusesEmptySequencesAndKeepsOrder) {
  const std::vector<Sequence> bad = {{{1, 2}, {}}, {{}, {}}};
  EXPECT_FALSE(Pack(bad, at::kCPU).ok());
  const std::vector<Sequence> types = {{{1, 2}, {0}}};
  EXPECT_FALSE(Pack(types, at::kCPU).ok());
  const PackedBatch batch = MakeBatch({2, 3});
  EXPECT_EQ(batch.host_cu_seqlens, (std::vector<int32_t>{0, 2, 5}));
  EXPECT_EQ(batch.max_seqlen, 3);
  EXPECT_TRUE(at::equal(batch.positions, at::tensor({0, 1, 0, 1, 2}, at::kInt)));
}

TEST(ParameterBuffer, GrowsWithoutLosingValuesAndStacksNeighbours) {
  ParameterBuffer buffer(at::kCPU, Precision::kBFloat16);
  const auto first = *buffer.Append({{"a", {2, 3}, true}, {"b", {2, 3}, true}});
  buffer.Weight(first[1]).fill_(1.0 / 3);
  buffer.RefreshCompute();
  buffer.EnableGradients();
  buffer.gradient_buffer()->Of(first[0]).fill_(2);
  ASSERT_TRUE(buffer.Append({{"c", {4}, false}}).ok());
  EXPECT_EQ(buffer.size(), 16);
  EXPECT_FLOAT_EQ(buffer.Weight(first[1])[0][0].item<float>(), 1.0F / 3);
  EXPECT_EQ(buffer.gradient_buffer()->Of(first[0])[1][2].item<float>(), 2);
  EXPECT_EQ(buffer.ComputeStacked(first[0], 2).sizes(), at::IntArrayRef({4, 3}));
  EXPECT_NEAR(buffer.Compute(first[1])[0][0].item<float>(), 1.0 / 3, 1e-3);
  EXPECT_EQ(buffer.Append({{"a", {1}, true}}).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(buffer.Find("none"), -1);
}

}  // namespace
}  // namespace engram::nn
