#include "core/nn/cuda/flash_attention.h"

#include <cmath>
#include <mutex>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>

#include "ATen/Context.h"
#include "ATen/TensorOperators.h"
#include "ATen/core/dispatch/Dispatcher.h"
#include "ATen/ops/_flash_attention_backward_ops.h"
#include "ATen/ops/_flash_attention_forward_ops.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/repeat_interleave.h"
#include "core/base/random.h"
#include "core/nn/cuda/device_ops.h"

namespace engram::nn::cuda {
namespace {

struct Parts {
  at::Tensor q, k, v;  // views [T, heads, head_dim]
};

Parts PartsOf(const at::Tensor& qkv, const ops::AttentionShape& shape) {
  const auto part = [&](int64_t first, int64_t heads) {
    return qkv.narrow(1, first, heads * shape.head_dim).unflatten(1, {heads, shape.head_dim});
  };
  return {part(0, shape.heads), part(shape.out_width(), shape.kv_heads),
          part(shape.out_width() + shape.key_width(), shape.kv_heads)};
}

double Scale(const ops::AttentionShape& shape) { return 1.0 / std::sqrt(static_cast<double>(shape.head_dim)); }

// What lies to the left and to the right of a token; nullopt: all.
std::optional<c10::SymInt> Left(const ops::AttentionShape& shape) {
  return shape.window < 0 ? std::nullopt : std::optional<c10::SymInt>(shape.window);
}
std::optional<c10::SymInt> Right(const ops::AttentionShape& shape) {
  if (shape.window < 0) return std::nullopt;
  return c10::SymInt(shape.causal ? 0 : shape.window);
}

template <typename Operator>
bool IsThere() {
  const auto schema = c10::Dispatcher::singleton().findSchema({Operator::name, Operator::overload_name});
  if (!schema) return false;
  std::ostringstream found;
  found << schema->schema();
  const std::string text = found.str(), prefix = "aten::";
  return text.starts_with(prefix) && std::string_view(text).substr(prefix.size()) == Operator::schema_str;
}

}  // namespace

bool HasFlashAttention() {
  return IsThere<at::_ops::_flash_attention_forward>() && IsThere<at::_ops::_flash_attention_backward>();
}

bool FlashTakes(at::ScalarType dtype, const ops::AttentionShape& shape) {
  return dtype == at::kBFloat16 && shape.head_dim % 8 == 0 && shape.head_dim <= 256;
}

uint64_t FlashSeed(const ops::Dropout& dropout) {
  const auto words = Philox({static_cast<uint32_t>(dropout.step), static_cast<uint32_t>(dropout.step >> 32),
                             dropout.site, static_cast<uint32_t>(RandomPurpose::kDropout)},
                            dropout.seed);
  return static_cast<uint64_t>(words[0]) << 32 | words[1];
}

at::Tensor UnpaddedLogsumexp(const at::Tensor& logsumexp, const PackedBatch& batch) {
  if (logsumexp.dim() == 2) return logsumexp;
  const at::Tensor lengths = batch.cu_seqlens.to(at::kLong).diff();
  const at::Tensor owner = at::repeat_interleave(lengths, std::optional<int64_t>(batch.tokens()));
  const at::Tensor place = owner * logsumexp.size(2) + batch.positions;
  return at::index_select(logsumexp.transpose(1, 2).reshape({-1, logsumexp.size(1)}), 0, place).t().contiguous();
}

ops::AttentionResult FlashAttention(const at::Tensor& qkv, const PackedBatch& batch, const ops::AttentionShape& shape,
                                    const ops::Dropout& dropout, bool keep) {
  if (!FlashTakes(qkv.scalar_type(), shape)) return Twins().attention(qkv, batch, shape, dropout, keep);
  static std::mutex& generator_mutex = *new std::mutex;  // no other call may come between the seed and its use
  std::unique_lock<std::mutex> lock(generator_mutex, std::defer_lock);
  if (dropout.active()) {
    lock.lock();
    at::Generator generator = at::globalContext().defaultGenerator(qkv.device());
    const std::lock_guard<std::mutex> own(generator.mutex());
    generator.set_current_seed(FlashSeed(dropout));
    generator.set_offset(0);
  }
  const auto [q, k, v] = PartsOf(qkv, shape);
  auto [out, logsumexp, random, further, debug] = at::_ops::_flash_attention_forward::call(
      q, k, v, batch.cu_seqlens, batch.cu_seqlens, batch.max_seqlen, batch.max_seqlen,
      dropout.active() ? dropout.probability : 0.0, shape.causal, /*return_debug_mask=*/false, Scale(shape),
      Left(shape), Right(shape), std::nullopt, std::nullopt);
  ops::AttentionResult result;
  result.out = out.flatten(1);
  if (keep) {
    result.logsumexp = UnpaddedLogsumexp(logsumexp, batch);
    result.by_device = true;
    result.device_state = {random, further, logsumexp};
  }
  return result;
}

at::Tensor FlashAttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const ops::AttentionResult& kept,
                                  const PackedBatch& batch, const ops::AttentionShape& shape,
                                  const ops::Dropout& dropout) {
  if (!kept.by_device) return Twins().attention_gradient(g, qkv, kept, batch, shape, dropout);
  const auto [q, k, v] = PartsOf(qkv, shape);
  const auto by_head = [&](const at::Tensor& rows) {
    return rows.contiguous().unflatten(1, {shape.heads, shape.head_dim});
  };
  const auto [dq, dk, dv] = at::_ops::_flash_attention_backward::call(
      by_head(g), q, k, v, by_head(kept.out), kept.device_state[2], batch.cu_seqlens, batch.cu_seqlens,
      batch.max_seqlen, batch.max_seqlen, dropout.active() ? dropout.probability : 0.0, shape.causal,
      kept.device_state[0], kept.device_state[1], Scale(shape), Left(shape), Right(shape));
  return at::cat({dq.flatten(1), dk.flatten(1), dv.flatten(1)}, 1);
}

}  // namespace engram::nn::cuda
