// Attention on the CPU: one task for each head of each sequence, in products that oneDNN generates (brgemm: AMX tiles
// or AVX-512 for bf16, AVX-512 or AVX2 for fp32). Everything is computed transposed, scores^T [keys][queries]: the
// softmax then runs down the columns, sixteen queries at a time and without a horizontal sum, and every intermediate is
// already laid out as an operand of the product that follows. A block of queries at a time keeps the scores in the
// cache.
//
//   forward    S^T = K Q^T,  P^T = exp(scale S^T - max),  O^T = V^T P^T / sum
//   backward   S^T = K Q^T,  dP^T = V dO^T,  P = exp(scale S - logsumexp),  dS = scale P (dP - rowsum(P dP)),
//              dV = P^T dO,  dK = dS^T Q,  dQ^T = K^T dS^T

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <memory>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/native/CPUBlas.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "core/nn/device.h"
#include "core/nn/kernels/isa.h"
#include "core/nn/ops/dropout/dropout_keep.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

using kernels::Element, kernels::Kernels, kernels::Panel;

constexpr int64_t kQueryBlock = 64;

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Whether this processor and this libtorch multiply bf16 panels laid out as isa.h says: asked once, by a product whose
// result is known. libtorch offers no other way to ask, and an answer it gives by throwing is a no.
bool MultipliesHalfPanels() {
  if (!MultipliesBFloat16(at::kCPU)) return false;
  constexpr int64_t kM = 24, kN = 48, kK = 40;
  std::vector<at::BFloat16> left(kM * kK), right(kK * kN);
  std::vector<float> product(kM * kN);
  for (int64_t m = 0; m < kM; ++m) left[m * kK + (m + 8) % kK] = 1.0F;  // picks row m + 8 of `right`
  for (int64_t k = 0; k < kK; ++k) {
    for (int64_t n = 0; n < kN; ++n) right[(k / 2 * kN + n) * 2 + k % 2] = static_cast<float>(k * 2 + n % 2);
  }
  try {
    at::native::cpublas::brgemm(kM, kN, kK, kK, kN, kN, false, left.data(), right.data(), product.data());
    at::native::cpublas::brgemm_release();
  } catch (const std::exception&) {
    return false;
  }
  for (int64_t m = 0; m < kM; ++m) {
    for (int64_t n = 0; n < kN; ++n) {
      if (product[m * kN + n] != static_cast<float>((m + 8) * 2 + n % 2)) return false;
    }
  }
  return true;
}

Element ElementOf(const at::Tensor& x, int64_t head_dim) {
  if (x.scalar_type() == at::kFloat) return Element::kFloat32;
  static const bool multiplies_halves = MultipliesHalfPanels();
  // oneDNN's packed right operands are 16, 32, 48 or 64 columns wide.
  return multiplies_halves && head_dim % 16 == 0 && head_dim <= 64 ? Element::kBFloat16 : Element::kBFloat16AsFloat32;
}

int64_t ElementBytes(Element element) { return element == Element::kFloat32 ? 4 : 2; }
int64_t PanelBytes(Element element) { return element == Element::kBFloat16 ? 2 : 4; }

// c [m][n] (=, or += where add) left [m][k] right [k][n]; left_stride: elements from row to row of `left`.
void Multiply(Element element, int64_t m, int64_t n, int64_t k, const void* left, int64_t left_stride,
              const void* right, bool add, float* c) {
  if (element == Element::kBFloat16) {
    at::native::cpublas::brgemm(m, n, k, left_stride, n, n, add, static_cast<const at::BFloat16*>(left),
                                static_cast<const at::BFloat16*>(right), c);
  } else {
    at::native::cpublas::brgemm(m, n, k, left_stride, n, n, add, static_cast<const float*>(left),
                                static_cast<const float*>(right), c, /*is_vnni=*/false);
  }
}

// One head of one sequence: where its rows lie and how large its panels are.
struct HeadTask {
  Element element;
  int64_t length, dim;
  int64_t keys;                // multiple of 8, >= length: what products run over
  int64_t padded;              // multiple of 16, >= keys: what panels hold
  int64_t stride, out_stride;  // elements from row to row of query, key and value; of the output
  float scale;
  const char *q, *k, *v;
  const uint8_t* keep;  // [length][padded], or null: no dropout
  float keep_scale;

  const char* Row(const char* rows, int64_t t, int64_t row_stride) const {
    return rows + t * row_stride * ElementBytes(element);
  }
  // `count` rows as a panel with room for `size` rows.
  void Fill(Panel panel, const char* rows, int64_t row_stride, int64_t count, int64_t size, void* out) const {
    Kernels().fill_panel(element, panel, {rows, row_stride, count, size, dim, out});
  }
};

// Memory of one thread, handed out piece by piece and taken back at once.
class Scratch {
 public:
  // Not cleared: every piece is written before it is read.
  explicit Scratch(int64_t bytes)
      : memory_(std::make_unique_for_overwrite<char[]>(static_cast<size_t>(bytes + kAlign))) {}
  void Reset() { used_ = 0; }
  template <typename T = void>
  T* Take(int64_t bytes) {
    const auto base = reinterpret_cast<uintptr_t>(memory_.get());
    char* taken = reinterpret_cast<char*>((base + kAlign - 1) / kAlign * kAlign) + used_;
    used_ += RoundUp(bytes, kAlign);
    return reinterpret_cast<T*>(taken);
  }

 private:
  static constexpr int64_t kAlign = 64;
  std::unique_ptr<char[]> memory_;
  int64_t used_ = 0;
};

// Enough for the panels, blocks and mask of any head of this length, forward or backward.
int64_t ScratchBytes(int64_t max_length, int64_t dim, bool dropout) {
  const int64_t padded = RoundUp(max_length, 16), block = std::min(padded, kQueryBlock);
  const int64_t panels = 5 * padded * dim + 5 * block * dim, blocks = 5 * padded * block + 4 * padded + 4 * block;
  return 4 * (panels + blocks) + (dropout ? RoundUp(padded * padded, DropoutBits::kGroup) : 0) + 32 * 64;
}

// The mask of one head of a sequence of `length` tokens.
const uint8_t* KeepMask(const DropoutBits& bits, uint64_t first_element, int64_t length, Scratch& scratch) {
  const int64_t bytes = RoundUp(length * AttentionDropoutStride(length), DropoutBits::kGroup);
  auto* keep = scratch.Take<uint8_t>(bytes);
  DrawKeep(bits, first_element / DropoutBits::kGroup, bytes / DropoutBits::kGroup, keep);
  return keep;
}

// Runs `work(task, scratch, offset, head_row)` for each head of each sequence; offset: bytes from the start of an
// output [T, d] to the head's first element; head_row: the head's first element in a [heads, T] tensor.
template <typename Work>
void ForEachHead(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads, const Dropout& dropout,
                 const Work& work) {
  const int64_t d = qkv.size(1) / 3, dim = d / heads, bytes = qkv.element_size();
  const DropoutBits bits(dropout);
  at::parallel_for(0, batch.sequences() * heads, 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(ScratchBytes(batch.max_seqlen, dim, dropout.active()));
    for (int64_t unit = begin; unit < end; ++unit) {
      scratch.Reset();
      const int64_t sequence = unit / heads, head = unit % heads, first = batch.host_cu_seqlens[sequence];
      HeadTask task{};
      task.element = ElementOf(qkv, dim);
      task.length = batch.length(sequence);
      task.dim = dim;
      task.keys = RoundUp(task.length, 8);
      task.padded = RoundUp(task.length, 16);
      task.stride = 3 * d;
      task.out_stride = d;
      task.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
      task.q = static_cast<const char*>(qkv.const_data_ptr()) + (first * 3 * d + head * dim) * bytes;
      task.k = task.q + d * bytes;
      task.v = task.q + 2 * d * bytes;
      if (dropout.active()) {
        task.keep =
            KeepMask(bits, FirstAttentionDropout(sequence, head, heads, batch.max_seqlen), task.length, scratch);
        task.keep_scale = bits.scale;
      }
      work(task, scratch, (first * d + head * dim) * bytes, head * batch.tokens() + first);
    }
    at::native::cpublas::brgemm_release();
  });
}

// out: of the head's first element; logsumexp [length] or null.
void Forward(const HeadTask& task, Scratch& scratch, char* out, float* logsumexp) {
  const int64_t size = PanelBytes(task.element), padded = task.padded, dim = task.dim;
  const int64_t block = std::min(padded, kQueryBlock);
  void* keys = scratch.Take(padded * dim * size);
  void* values = scratch.Take(padded * dim * size);
  void* query = scratch.Take(block * dim * size);
  auto* scores = scratch.Take<float>(padded * block * 4);
  void* probabilities = scratch.Take(padded * block * size);
  auto* columns = scratch.Take<float>(dim * block * 4);
  auto* inverse_sum = scratch.Take<float>(block * 4);
  auto* block_logsumexp = scratch.Take<float>(block * 4);
  task.Fill(Panel::kLeft, task.k, task.stride, task.length, padded, keys);
  task.Fill(Panel::kLeftTransposed, task.v, task.stride, task.length, padded, values);
  for (int64_t t = 0; t < task.length; t += block) {
    const int64_t count = std::min(block, task.length - t), columns_used = RoundUp(count, 16);
    task.Fill(Panel::kRightTransposed, task.Row(task.q, t, task.stride), task.stride, count, columns_used, query);
    Multiply(task.element, task.keys, columns_used, dim, keys, dim, query, false, scores);
    Kernels().softmax(task.element, {scores, task.length, task.keys, columns_used, task.scale,
                                     task.keep != nullptr ? task.keep + t : nullptr, padded, task.keep_scale,
                                     probabilities, block_logsumexp, inverse_sum});
    Multiply(task.element, dim, columns_used, task.keys, values, padded, probabilities, false, columns);
    Kernels().store_transposed(task.element, columns, columns_used, inverse_sum, count, dim, task.out_stride,
                               out + t * task.out_stride * ElementBytes(task.element));
    if (logsumexp != nullptr) std::copy_n(block_logsumexp, count, logsumexp + t);
  }
}

struct BackwardRows {
  const char* g;           // of the head's first element of the output's gradient
  const float* logsumexp;  // [length]
  char *q, *k, *v;         // gradients
};

void Backward(const HeadTask& task, Scratch& scratch, const BackwardRows& rows) {
  const int64_t size = PanelBytes(task.element), padded = task.padded, dim = task.dim;
  const int64_t block = std::min(padded, kQueryBlock);
  void* keys = scratch.Take(padded * dim * size);
  void* keys_transposed = scratch.Take(padded * dim * size);
  void* values = scratch.Take(padded * dim * size);
  auto* grad_k = scratch.Take<float>(padded * dim * 4);
  auto* grad_v = scratch.Take<float>(padded * dim * 4);
  void* query_columns = scratch.Take(block * dim * size);
  void* query_rows = scratch.Take(block * dim * size);
  void* g_columns = scratch.Take(block * dim * size);
  void* g_rows = scratch.Take(block * dim * size);
  auto* scores = scratch.Take<float>(padded * block * 4);
  auto* products = scratch.Take<float>(padded * block * 4);
  void* probabilities = scratch.Take(padded * block * size);
  void* gradient = scratch.Take(padded * block * size);
  void* gradient_right = task.element == Element::kBFloat16 ? scratch.Take(padded * block * size) : gradient;
  auto* columns = scratch.Take<float>(dim * block * 4);
  auto* logsumexp = scratch.Take<float>(padded * 4);
  std::fill(std::copy_n(rows.logsumexp, task.length, logsumexp), logsumexp + padded,
            std::numeric_limits<float>::infinity());  // P is 0 for queries past the end
  task.Fill(Panel::kLeft, task.k, task.stride, task.length, padded, keys);
  task.Fill(Panel::kLeftTransposed, task.k, task.stride, task.length, padded, keys_transposed);
  task.Fill(Panel::kLeft, task.v, task.stride, task.length, padded, values);
  for (int64_t t = 0; t < task.length; t += block) {
    const int64_t count = std::min(block, task.length - t), used = RoundUp(count, 16);
    const char* query = task.Row(task.q, t, task.stride);
    const char* g = task.Row(rows.g, t, task.out_stride);
    task.Fill(Panel::kRightTransposed, query, task.stride, count, used, query_columns);
    task.Fill(Panel::kRight, query, task.stride, count, used, query_rows);
    task.Fill(Panel::kRightTransposed, g, task.out_stride, count, used, g_columns);
    task.Fill(Panel::kRight, g, task.out_stride, count, used, g_rows);
    Multiply(task.element, task.keys, used, dim, keys, dim, query_columns, false, scores);
    Multiply(task.element, task.keys, used, dim, values, dim, g_columns, false, products);
    Kernels().score_gradient(task.element, {scores, products, task.length, task.keys, used, task.scale,
                                            task.keep != nullptr ? task.keep + t : nullptr, padded, task.keep_scale,
                                            logsumexp + t, probabilities, gradient, gradient_right});
    Multiply(task.element, task.keys, dim, used, probabilities, used, g_rows, t > 0, grad_v);
    Multiply(task.element, task.keys, dim, used, gradient, used, query_rows, t > 0, grad_k);
    Multiply(task.element, dim, used, task.keys, keys_transposed, padded, gradient_right, false, columns);
    Kernels().store_transposed(task.element, columns, used, nullptr, count, dim, task.stride,
                               rows.q + t * task.stride * ElementBytes(task.element));
  }
  Kernels().store_rows(task.element, grad_k, task.length, dim, task.stride, rows.k);
  Kernels().store_rows(task.element, grad_v, task.length, dim, task.stride, rows.v);
}

AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads, const Dropout& dropout,
                          bool keep) {
  AttentionResult result;
  result.out = at::empty({qkv.size(0), qkv.size(1) / 3}, qkv.options());
  if (keep) result.logsumexp = at::empty({heads, qkv.size(0)}, at::kFloat);
  auto* out = static_cast<char*>(result.out.mutable_data_ptr());
  float* logsumexp = keep ? result.logsumexp.mutable_data_ptr<float>() : nullptr;
  ForEachHead(qkv, batch, heads, dropout,
              [&](const HeadTask& task, Scratch& scratch, int64_t offset, int64_t head_row) {
                Forward(task, scratch, out + offset, keep ? logsumexp + head_row : nullptr);
              });
  return result;
}

at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& logsumexp,
                             const PackedBatch& batch, int64_t heads, const Dropout& dropout) {
  at::Tensor gradient = at::empty_like(qkv);
  const auto* from = static_cast<const char*>(qkv.const_data_ptr());
  auto* to = static_cast<char*>(gradient.mutable_data_ptr());
  const auto* g_rows = static_cast<const char*>(g.const_data_ptr());
  const float* normalizers = logsumexp.const_data_ptr<float>();
  ForEachHead(qkv, batch, heads, dropout,
              [&](const HeadTask& task, Scratch& scratch, int64_t offset, int64_t head_row) {
                Backward(task, scratch,
                         {g_rows + offset, normalizers + head_row, to + (task.q - from), to + (task.k - from),
                          to + (task.v - from)});
              });
  return gradient;
}

}  // namespace

void SetAttention(OpTable& table) {
  table.attention = Attention;
  table.attention_gradient = AttentionGradient;
}

}  // namespace engram::nn::ops::cpu
