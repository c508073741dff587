// Attention by runs of queries, by the device's kernel and in plain ATen, against the definition in fp64.

#include "core/longcontext/attention_runs.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "core/base/random.h"
#include "gtest/gtest.h"

namespace engram::longcontext {
namespace {

constexpr int64_t kTokens = 150, kFarthest = 6;

at::Tensor Random(int64_t rows, int64_t width, uint64_t seed) {
  at::Tensor made = at::empty({rows, width}, at::kFloat);
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < made.numel(); ++i)
    made.mutable_data_ptr<float>()[i] = static_cast<float>(random.NextNormal());
  return made;
}

// Row t, head h of softmax over the keys that t sees.
at::Tensor Definition(const nn::ops::AttentionShape& shape, const at::Tensor& queries, const at::Tensor& keys,
                      const at::Tensor& by_distance) {
  at::Tensor out = at::zeros({kTokens, shape.out_width()}, at::kDouble);
  const auto q = queries.accessor<float, 2>(), k = keys.accessor<float, 2>();
  auto o = out.accessor<double, 2>();
  for (int64_t h = 0; h < shape.heads; ++h) {
    const int64_t own = h * shape.head_dim, key = h / (shape.heads / shape.kv_heads) * shape.head_dim;
    for (int64_t t = 0; t < kTokens; ++t) {
      std::vector<double> weights;
      double sum = 0;
      const int64_t first = shape.FirstSeen(t), last = shape.LastSeen(t, kTokens);
      for (int64_t s = first; s <= last; ++s) {
        double score = 0;
        for (int64_t i = 0; i < shape.head_dim; ++i)
          score += static_cast<double>(q[t][own + i]) * static_cast<double>(k[s][key + i]);
        score /= std::sqrt(static_cast<double>(shape.head_dim));
        if (by_distance.defined()) {
          const float* raise = by_distance.const_data_ptr<float>() + h * (2 * kFarthest + 1);
          score += static_cast<double>(raise[std::clamp(s - t, -kFarthest, kFarthest) + kFarthest]);
        }
        weights.push_back(std::exp(score));
        sum += weights.back();
      }
      for (int64_t s = first; s <= last; ++s) {
        for (int64_t i = 0; i < shape.head_dim; ++i)
          o[t][own + i] +=
              weights[static_cast<size_t>(s - first)] / sum * static_cast<double>(k[s][shape.key_width() + key + i]);
      }
    }
  }
  return out;
}

struct Case {
  std::string name;
  nn::ops::AttentionShape shape;
  bool distances = false;
};

TEST(AttentionRuns, AreTheDefinitionByEitherKernel) {
  const std::vector<Case> cases = {
      {"all", {.heads = 2, .kv_heads = 2, .head_dim = 8}},
      {"window", {.heads = 2, .kv_heads = 2, .head_dim = 8, .window = 9}},
      {"causal window, shared keys", {.heads = 4, .kv_heads = 2, .head_dim = 8, .window = 11, .causal = true}},
      {"distances", {.heads = 2, .kv_heads = 2, .head_dim = 8}, true},
      {"distances in a window", {.heads = 2, .kv_heads = 2, .head_dim = 8, .window = 4}, true},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    const nn::ops::AttentionShape& shape = each.shape;
    const at::Tensor queries = Random(kTokens, shape.out_width(), 1), keys = Random(kTokens, 2 * shape.key_width(), 2);
    const at::Tensor by_distance = each.distances ? Random(shape.heads, 2 * kFarthest + 1, 3) : at::Tensor();
    const at::Tensor expected = Definition(shape, queries, keys, by_distance);
    for (const MaskedAttention masked : {MaskedAttention::kOfDevice, MaskedAttention::kPlain}) {
      for (const int64_t run : std::initializer_list<int64_t>{64, 33, kTokens}) {
        AttentionRuns runs(shape, keys.clone(), by_distance, masked);
        const at::Tensor out = queries.clone();
        for (int64_t begin = 0; begin < kTokens; begin += run) runs.Attend(out, begin, std::min(run, kTokens - begin));
        EXPECT_LT((out - expected).abs().max().item<double>(), 1e-5) << run;
      }
    }
  }
}

}  // namespace
}  // namespace engram::longcontext
