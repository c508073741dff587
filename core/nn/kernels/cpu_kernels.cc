#include "core/nn/kernels/cpu_kernels.h"

#include <cmath>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "core/nn/attention_layout.h"
#include "core/nn/dropout_bits.h"
#include "core/nn/kernels/isa.h"

namespace engram::nn::kernels {

const KernelTable& Kernels() {
  static const KernelTable& table =
      [] {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
          return std::cref(kAvx512Kernels);
        }
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return std::cref(kAvx2Kernels);
        return std::cref(kBaselineKernels);
      }()
          .get();
  return table;
}

namespace {

bool IsBf16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

const char* Bytes(const at::Tensor& x) { return static_cast<const char*>(x.const_data_ptr()); }
char* MutableBytes(const at::Tensor& x) { return static_cast<char*>(x.mutable_data_ptr()); }

// Rows are cheap: hand a thread enough of them.
constexpr int64_t kRowGrain = 32;

}  // namespace

ops::LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const ops::Dropout& dropout,
                                  const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep) {
  const int64_t rows = x.size(0), width = x.size(1), row_bytes = width * x.element_size();
  ops::LayerNormResult result;
  result.y = at::empty_like(x);
  if (keep) {
    result.normalized = at::empty_like(x);
    result.rstd = at::empty({rows}, at::kFloat);
  }
  const DropoutBits bits(dropout);
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    std::vector<float> mask(dropout.active() ? width : 0);
    for (int64_t t = begin; t < end; ++t) {
      if (dropout.active()) bits.Fill(static_cast<uint64_t>(t * width), width, mask.data());
      Kernels().layer_norm_row(
          {width, static_cast<float>(eps), Bytes(x) + t * row_bytes,
           residual.defined() ? Bytes(residual) + t * row_bytes : nullptr, dropout.active() ? mask.data() : nullptr,
           Bytes(gamma), Bytes(beta), MutableBytes(result.y) + t * row_bytes,
           keep ? MutableBytes(result.normalized) + t * row_bytes : nullptr,
           keep ? result.rstd.mutable_data_ptr<float>() + t : nullptr},
          IsBf16(x));
    }
  });
  return result;
}

ops::AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                     const at::Tensor& rstd, const at::Tensor& gamma,
                                                     const ops::Dropout& dropout) {
  const int64_t rows = g.size(0), width = g.size(1), row_bytes = width * g.element_size();
  ops::AddLayerNormGradientResult result;
  result.residual = at::empty_like(g);
  result.x = dropout.active() ? at::empty_like(g) : result.residual;
  const DropoutBits bits(dropout);
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    std::vector<float> mask(dropout.active() ? width : 0);
    for (int64_t t = begin; t < end; ++t) {
      if (dropout.active()) bits.Fill(static_cast<uint64_t>(t * width), width, mask.data());
      Kernels().layer_norm_gradient_row(
          {width, Bytes(g) + t * row_bytes, Bytes(normalized) + t * row_bytes, rstd.const_data_ptr<float>()[t],
           Bytes(gamma), dropout.active() ? mask.data() : nullptr, MutableBytes(result.residual) + t * row_bytes,
           MutableBytes(result.x) + t * row_bytes},
          IsBf16(g));
    }
  });
  return result;
}

namespace {

// What the mask callback of one (sequence, head) task needs.
struct MaskContext {
  const DropoutBits& bits;
  const PackedBatch& batch;
  int64_t first_row, head, heads, length;
};

void FillMask(const void* opaque, int64_t row, float* mask) {
  const auto& context = *static_cast<const MaskContext*>(opaque);
  context.bits.Fill(AttentionDropoutRow(context.batch, context.first_row + row, context.head, context.heads),
                    context.length, mask);
}

// Runs `task(arguments)` for each head of each sequence, with the parts of AttentionArguments that forward and backward
// share.
template <typename Task>
void ForEachHead(const at::Tensor& qkv, const at::Tensor& logsumexp, const PackedBatch& batch, int64_t heads,
                 const ops::Dropout& dropout, const Task& task) {
  const int64_t d = qkv.size(1) / 3, head_dim = d / heads, element = qkv.element_size();
  const DropoutBits bits(dropout);
  at::parallel_for(0, batch.sequences() * heads, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(AttentionScratch(batch.max_seqlen, head_dim)));
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t sequence = unit / heads, head = unit % heads, first = batch.host_cu_seqlens[sequence];
      const MaskContext context{bits, batch, first, head, heads, batch.length(sequence)};
      AttentionArguments a{};
      a.length = batch.length(sequence);
      a.head_dim = head_dim;
      a.stride = 3 * d;
      a.out_stride = d;
      a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
      a.q = Bytes(qkv) + (first * 3 * d + head * head_dim) * element;
      a.k = static_cast<const char*>(a.q) + d * element;
      a.v = static_cast<const char*>(a.q) + 2 * d * element;
      a.logsumexp = logsumexp.defined() ? logsumexp.mutable_data_ptr<float>() + head * batch.tokens() + first : nullptr;
      a.fill_mask = dropout.active() ? FillMask : nullptr;
      a.context = &context;
      a.scratch = scratch.data();
      task(a, (first * d + head * head_dim) * element);
    }
  });
}

}  // namespace

ops::AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads,
                               const ops::Dropout& dropout, bool keep) {
  ops::AttentionResult result;
  result.out = at::empty({qkv.size(0), qkv.size(1) / 3}, qkv.options());
  if (keep) result.logsumexp = at::empty({heads, qkv.size(0)}, at::kFloat);
  ForEachHead(qkv, result.logsumexp, batch, heads, dropout, [&](AttentionArguments& a, int64_t out_offset) {
    a.out = MutableBytes(result.out) + out_offset;
    Kernels().attention(a, IsBf16(qkv));
  });
  return result;
}

at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const ops::AttentionResult& forward,
                             const PackedBatch& batch, int64_t heads, const ops::Dropout& dropout) {
  at::Tensor gradient = at::empty_like(qkv);
  const int64_t part = qkv.size(1) / 3 * qkv.element_size();
  ForEachHead(qkv, forward.logsumexp, batch, heads, dropout, [&](AttentionArguments& a, int64_t out_offset) {
    a.g = Bytes(g) + out_offset;
    a.grad_q = MutableBytes(gradient) + (static_cast<const char*>(a.q) - Bytes(qkv));
    a.grad_k = static_cast<char*>(a.grad_q) + part;
    a.grad_v = static_cast<char*>(a.grad_q) + 2 * part;
    Kernels().attention_gradient(a, IsBf16(qkv));
  });
  return gradient;
}

void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table) {
  const at::Tensor g32 = g.to(at::kFloat).contiguous();
  const int64_t rows = g32.size(0), width = g32.size(1);
  const int32_t* id = index.const_data_ptr<int32_t>();
  const float* from = g32.const_data_ptr<float>();
  float* table = grad_table.mutable_data_ptr<float>();
  // Threads own columns, so that repeated ids add up in the order of the rows whatever the number of threads.
  at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = begin; c < end; ++c) table[id[t] * width + c] += from[t * width + c];
    }
  });
}

}  // namespace engram::nn::kernels
