#include "core/nn/kernels/cpu_kernels.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "c10/util/Exception.h"
#include "core/nn/dropout_bits.h"
#include "core/nn/kernels/dropout_keep.h"
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
// Columns go to threads in whole cache lines.
constexpr int64_t kColumnGrain = 64;

void CheckIndex(const char* name, const int32_t* index, int64_t count, int64_t rows) {
  const auto [least, largest] = std::minmax_element(index, index + count);
  TORCH_CHECK_INDEX(count == 0 || (*least >= 0 && *largest < rows), name, " out of range");
}

// The dropout mask of one row of a [rows, width] tensor at a time.
class RowMask {
 public:
  RowMask(const ops::Dropout& dropout, int64_t width) : bits_(dropout), width_(width), active_(dropout.active()) {
    if (active_) keep_.resize((width + 2 * DropoutBits::kGroup - 1) / DropoutBits::kGroup * DropoutBits::kGroup);
  }
  // [width] bytes, valid until the next call; null if dropout is not active.
  const uint8_t* Row(int64_t row) {
    if (!active_) return nullptr;
    const int64_t element = row * width_, first = element / DropoutBits::kGroup;
    const int64_t last = (element + width_ - 1) / DropoutBits::kGroup;
    DrawKeep(bits_, static_cast<uint64_t>(first), last - first + 1, keep_.data());
    return keep_.data() + (element - first * DropoutBits::kGroup);
  }
  float scale() const { return bits_.scale; }

 private:
  const DropoutBits bits_;
  const int64_t width_;
  const bool active_;
  std::vector<uint8_t> keep_;
};

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
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    RowMask mask(dropout, width);
    for (int64_t t = begin; t < end; ++t) {
      Kernels().layer_norm_row({width, static_cast<float>(eps), Bytes(x) + t * row_bytes,
                                residual.defined() ? Bytes(residual) + t * row_bytes : nullptr, mask.Row(t),
                                mask.scale(), Bytes(gamma), Bytes(beta), MutableBytes(result.y) + t * row_bytes,
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
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    RowMask mask(dropout, width);
    for (int64_t t = begin; t < end; ++t) {
      Kernels().layer_norm_gradient_row(
          {width, Bytes(g) + t * row_bytes, Bytes(normalized) + t * row_bytes, rstd.const_data_ptr<float>()[t],
           Bytes(gamma), mask.Row(t), mask.scale(), MutableBytes(result.residual) + t * row_bytes,
           MutableBytes(result.x) + t * row_bytes},
          IsBf16(g));
    }
  });
  return result;
}

void ColumnSums(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& sum_g,
                const at::Tensor& sum_product) {
  const int64_t rows = g.size(0), width = g.size(1), element = g.element_size();
  at::parallel_for(0, (width + kColumnGrain - 1) / kColumnGrain, 1, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kColumnGrain, count = std::min(width, end * kColumnGrain) - first;
    Kernels().column_sums(
        {rows, count, width, Bytes(g) + first * element,
         normalized.defined() ? Bytes(normalized) + first * element : nullptr, sum_g.mutable_data_ptr<float>() + first,
         normalized.defined() ? sum_product.mutable_data_ptr<float>() + first : nullptr},
        IsBf16(g));
  });
}

at::Tensor ApplyDropout(const at::Tensor& x, const ops::Dropout& dropout) {
  if (!dropout.active()) return x;
  const at::Tensor from = x.contiguous();
  const int64_t width = from.size(-1), rows = from.numel() / width, row_bytes = width * from.element_size();
  at::Tensor out = at::empty_like(from);
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    RowMask mask(dropout, width);
    for (int64_t t = begin; t < end; ++t) {
      Kernels().apply_dropout(width, Bytes(from) + t * row_bytes, mask.Row(t), mask.scale(),
                              MutableBytes(out) + t * row_bytes, IsBf16(x));
    }
  });
  return out;
}

at::Tensor GeluGradient(const at::Tensor& g, const at::Tensor& pre) {
  at::Tensor out = at::empty_like(g);
  const int64_t element = g.element_size();
  at::parallel_for(0, g.numel(), kRowGrain * 256, [&](int64_t begin, int64_t end) {
    Kernels().gelu_gradient(end - begin, Bytes(g) + begin * element, Bytes(pre) + begin * element,
                            MutableBytes(out) + begin * element, IsBf16(g));
  });
  return out;
}

at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position) {
  const int64_t width = word.size(1), row_bytes = width * word.element_size();
  at::Tensor out = at::empty({batch.tokens(), width}, word.options());
  const int32_t* ids = batch.ids.const_data_ptr<int32_t>();
  const int32_t* positions = batch.positions.const_data_ptr<int32_t>();
  const int32_t* types = batch.type_ids.const_data_ptr<int32_t>();
  CheckIndex("ids", ids, batch.tokens(), word.size(0));
  if (position.defined()) CheckIndex("positions", positions, batch.tokens(), position.size(0) - first_position);
  if (type.defined()) CheckIndex("type_ids", types, batch.tokens(), type.size(0));
  at::parallel_for(0, batch.tokens(), kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      Kernels().embedding_row(
          {width, Bytes(word) + ids[t] * row_bytes,
           position.defined() ? Bytes(position) + (positions[t] + first_position) * row_bytes : nullptr,
           type.defined() ? Bytes(type) + types[t] * row_bytes : nullptr, MutableBytes(out) + t * row_bytes},
          IsBf16(word));
    }
  });
  return out;
}

void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table) {
  const at::Tensor g32 = g.to(at::kFloat).contiguous();
  const int64_t rows = g32.size(0), width = g32.size(1);
  const int32_t* id = index.const_data_ptr<int32_t>();
  const float* from = g32.const_data_ptr<float>();
  float* table = grad_table.mutable_data_ptr<float>();
  // Threads own columns, so that repeated ids add up in the order of the rows whatever the number of threads.
  at::parallel_for(0, width, kColumnGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = begin; c < end; ++c) table[id[t] * width + c] += from[t * width + c];
    }
  });
}

}  // namespace engram::nn::kernels
