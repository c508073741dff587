#include "core/longcontext/attention_runs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/_scaled_dot_product_flash_attention.h"
#include "ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/exp.h"
#include "ATen/ops/logsumexp.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/maximum.h"

namespace engram::longcontext {
namespace {

struct FlashResult {
  at::Tensor out;        // [1, heads, queries, head_dim]
  at::Tensor logsumexp;  // fp32 [1, heads, queries], of the scaled scores
};

// softmax(q k^T / sqrt(head_dim) + mask) v by the definition, sums in fp32. Each query sees a key.
FlashResult Plain(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask) {
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)).to(at::kFloat).mul_(scale).add_(mask);
  const at::Tensor logsumexp = at::logsumexp(scores, 3);
  const at::Tensor shares = (scores - logsumexp.unsqueeze(3)).exp_();
  return {at::matmul(shares.to(v.scalar_type()), v), logsumexp};
}

FlashResult Flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal, const at::Tensor& mask) {
  if (q.is_cpu()) {
    auto [out, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, causal, mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt);
    return {out, logsumexp};
  }
  auto result = at::_scaled_dot_product_flash_attention(q, k, v, 0.0, causal);
  return {std::get<0>(result), std::get<1>(result)};
}

// Attention over the keys of all parts: each is weighed by its share of the sum over all keys.
at::Tensor Together(const std::vector<FlashResult>& parts) {
  if (parts.size() == 1) return parts[0].out;
  at::Tensor highest = parts[0].logsumexp;
  for (const FlashResult& part : parts) highest = at::maximum(highest, part.logsumexp);
  at::Tensor sum, weights;
  for (const FlashResult& part : parts) {
    const at::Tensor weight = at::exp(part.logsumexp - highest).unsqueeze(3);
    sum = sum.defined() ? sum.add_(part.out * weight) : part.out * weight;
    weights = weights.defined() ? weights + weight : weight;
  }
  return sum.div_(weights);
}

// -infinity where a query does not see a key.
template <typename T>
void HideBeyond(T* mask, int64_t offset, int64_t queries, int64_t keys, const nn::ops::AttentionShape& shape) {
  if (shape.window < 0) return;
  const T hidden = static_cast<T>(-std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < queries; ++i, mask += keys) {
    const int64_t own = offset + i;  // the key that is the query's token
    const int64_t first = std::clamp<int64_t>(own - shape.window, 0, keys),
                  last = std::clamp<int64_t>(shape.causal ? own : own + shape.window, 0, keys - 1);
    std::fill(mask, mask + first, hidden);
    std::fill(mask + last + 1, mask + keys, hidden);
  }
}

// What distances add, or 0.
template <typename T>
void FillMask(T* mask, int64_t offset, int64_t queries, int64_t keys, const float* by_distance, int64_t farthest) {
  for (int64_t i = 0; i < queries; ++i) {
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t distance = std::clamp(j - offset - i, -farthest, farthest);
      *mask++ = static_cast<T>(by_distance != nullptr ? by_distance[distance + farthest] : 0.0F);
    }
  }
}

}  // namespace

AttentionRuns::AttentionRuns(const nn::ops::AttentionShape& shape, at::Tensor keys, at::Tensor by_distance,
                             MaskedAttention masked)
    : shape_(shape),
      keys_(std::move(keys)),
      by_distance_(std::move(by_distance)),
      plain_(masked == MaskedAttention::kPlain || !keys_.is_cpu()) {
  if (by_distance_.defined()) by_distance_ = by_distance_.to(at::kCPU).contiguous();
}

at::Tensor AttentionRuns::Mask(int64_t offset, int64_t queries, int64_t keys, const at::TensorOptions& options) {
  const int64_t heads = by_distance_.defined() ? shape_.heads : 1;
  if (mask_.defined() && mask_offset_ == offset && mask_.size(2) == queries && mask_.size(3) == keys) return mask_;
  mask_.reset();
  at::Tensor made = at::empty({1, heads, queries, keys}, options.device(at::kCPU));
  const auto fill = [&](auto* mask) {
    for (int64_t h = 0; h < heads; ++h, mask += queries * keys) {
      const int64_t distances = by_distance_.defined() ? by_distance_.size(1) : 1;
      const float* raise = by_distance_.defined() ? by_distance_.const_data_ptr<float>() + h * distances : nullptr;
      FillMask(mask, offset, queries, keys, raise, distances / 2);
      HideBeyond(mask, offset, queries, keys, shape_);
    }
  };
  if (made.scalar_type() == at::kFloat) {
    fill(made.mutable_data_ptr<float>());
  } else {
    fill(made.mutable_data_ptr<at::BFloat16>());
  }
  mask_ = made.to(options.device());
  mask_offset_ = offset;
  return mask_;
}

std::vector<AttentionRuns::Part> AttentionRuns::PartsOf(int64_t begin, int64_t count, const at::Tensor& queries) {
  if (by_distance_.defined()) return PartsByDistance(begin, count, queries);
  const int64_t tokens = keys_.size(0), end = begin + count;
  const int64_t window = shape_.window < 0 ? tokens : shape_.window;
  const int64_t first = std::max<int64_t>(0, begin - window);
  const int64_t last = shape_.causal ? end : std::min(tokens, end + window);
  const bool sees_all_before = end - 1 - window <= first, sees_all_behind = begin + window >= last - 1;
  if (sees_all_before && shape_.causal) {
    if (begin == first) return {{begin, count, true, {}, {}}};
    return {{first, begin - first, false, {}, {}}, {begin, count, true, {}, {}}};
  }
  if (sees_all_before && sees_all_behind) return {{first, last - first, false, {}, {}}};
  return {{first, last - first, false, Mask(begin - first, count, last - first, queries.options()), {}}};
}

std::vector<AttentionRuns::Part> AttentionRuns::PartsByDistance(int64_t begin, int64_t count,
                                                                const at::Tensor& queries) {
  const int64_t tokens = keys_.size(0), distances = by_distance_.size(1);
  const int64_t near = shape_.window < 0 ? distances / 2 : shape_.window;
  const int64_t first = std::max<int64_t>(0, begin - near), last = std::min(tokens, begin + count + near);
  std::vector<Part> parts = {
      {first, last - first, false, Mask(begin - first, count, last - first, queries.options()), {}}};
  if (shape_.window >= 0) return parts;
  const auto raise = [&](int64_t distance) {
    return by_distance_.narrow(1, distance, 1).unsqueeze(0).to(queries.device());
  };
  if (first > 0) parts.push_back({0, first, false, {}, raise(0)});
  if (last < tokens) parts.push_back({last, tokens - last, false, {}, raise(distances - 1)});
  return parts;
}

at::Tensor AttentionRuns::Keys(const Part& part, int64_t which) const {
  const int64_t width = shape_.key_width();
  return keys_.narrow(0, part.first, part.count)
      .narrow(1, which * width, width)
      .view({1, part.count, shape_.kv_heads, shape_.head_dim})
      .transpose(1, 2);
}

void AttentionRuns::Attend(const at::Tensor& queries, int64_t begin, int64_t count) {
  const std::vector<Part> parts = PartsOf(begin, count, queries);
  const int64_t group = shape_.heads / shape_.kv_heads;
  const at::Tensor rows = queries.narrow(0, begin, count).view({1, count, shape_.kv_heads, group, shape_.head_dim});
  // Of the heads that share a key, one after the other: each reads its own queries alone, so that its output may take
  // their place.
  for (int64_t j = 0; j < group; ++j) {
    const at::Tensor own = rows.select(3, j).transpose(1, 2);
    std::vector<FlashResult> results;
    for (const Part& part : parts) {
      const bool plain = plain_ && part.mask.defined();
      results.push_back(plain ? Plain(own, Keys(part, 0), Keys(part, 1), part.mask)
                              : Flash(own, Keys(part, 0), Keys(part, 1), part.diagonal, part.mask));
      if (part.raise.defined()) results.back().logsumexp = results.back().logsumexp + part.raise;
    }
    own.copy_(Together(results));
  }
}

}  // namespace engram::longcontext
