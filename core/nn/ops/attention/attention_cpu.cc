// Attention on the CPU: one task for each head of each sequence, in products that oneDNN generates (brgemm: AMX tiles
// or AVX-512 for bf16, AVX-512 or AVX2 for fp32). Everything is computed transposed, scores^T [keys][queries]: the
// softmax then runs down the columns, sixteen queries at a time and without a horizontal sum, and every intermediate is
// already laid out as an operand of the product that follows. A block of queries at a time keeps the scores in the
// cache. Where a token does not see all others, a block is multiplied with the keys that one of its queries sees.
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
constexpr float kHidden = -1e30F;  // score of a key that is not seen: exp(scale kHidden - max) is 0

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

// The keys that some query of a block sees.
struct KeyRange {
  int64_t first;  // multiple of 16
  int64_t count;
  int64_t used;  // multiple of 8, >= count: what products run over
};

// One head of one sequence: where its rows lie and how large its panels are.
struct HeadTask {
  Element element;
  AttentionShape shape;
  int64_t length, dim;
  int64_t padded;              // multiple of 16, >= length: what panels hold
  int64_t stride, out_stride;  // elements from row to row of query, key and value; of the output
  float scale;
  const char *q, *k, *v;
  const uint8_t* keep;  // [length][padded], or null: no dropout
  float keep_scale;

  const char* Row(const char* rows, int64_t t, int64_t row_stride) const {
    return rows + t * row_stride * ElementBytes(element);
  }
  // The mask's rows of the block's keys, from query t on.
  const uint8_t* Keep(const KeyRange& range, int64_t t) const {
    return keep == nullptr ? nullptr : keep + range.first * padded + t;
  }
  bool sees_all() const { return shape.window < 0 && !shape.causal; }
  KeyRange Seen(int64_t t, int64_t count) const {
    const int64_t first = shape.FirstSeen(t) / 16 * 16, keys = shape.LastSeen(t + count - 1, length) + 1 - first;
    return {first, keys, RoundUp(keys, 8)};
  }
  // Hides what single queries of the block from t on do not see: scores [range.used][columns].
  void Hide(const KeyRange& range, int64_t t, int64_t columns, float* scores) const {
    if (sees_all()) return;
    for (int64_t j = 0; j < range.count; ++j, scores += columns) {
      const int64_t key = range.first + j;
      const int64_t before = shape.causal ? key : shape.window < 0 ? t : key - shape.window;
      const int64_t after = shape.window < 0 ? t + columns : key + shape.window + 1;
      const int64_t begin = std::clamp<int64_t>(before - t, 0, columns);
      std::fill(scores, scores + begin, kHidden);
      std::fill(scores + std::clamp<int64_t>(after - t, begin, columns), scores + columns, kHidden);
    }
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

// Draws the mask of one head of a sequence of `length` tokens.
int64_t KeepMaskBytes(int64_t length) { return RoundUp(length * AttentionDropoutStride(length), DropoutBits::kGroup); }
void DrawKeepMask(const DropoutBits& bits, uint64_t first_element, int64_t length, uint8_t* keep) {
  DrawKeep(bits, first_element / DropoutBits::kGroup, KeepMaskBytes(length) / DropoutBits::kGroup, keep);
}

// What a head of a sequence works on, all but its queries and its mask.
HeadTask MakeTask(const at::Tensor& qkv, const PackedBatch& batch, const AttentionShape& shape, int64_t sequence,
                  int64_t key_head) {
  const int64_t first = batch.host_cu_seqlens[sequence], bytes = qkv.element_size();
  HeadTask task{};
  task.element = ElementOf(qkv, shape.head_dim);
  task.shape = shape;
  task.length = batch.length(sequence);
  task.dim = shape.head_dim;
  task.padded = RoundUp(task.length, 16);
  task.stride = shape.qkv_width();
  task.out_stride = shape.out_width();
  task.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(task.dim)));
  task.q = static_cast<const char*>(qkv.const_data_ptr()) + first * task.stride * bytes;
  task.k = task.q + (shape.out_width() + key_head * task.dim) * bytes;
  task.v = task.k + shape.key_width() * bytes;
  return task;
}

// out: of the head's first element; logsumexp [length] or null.
void Forward(const HeadTask& task, Scratch& scratch, char* out, float* logsumexp) {
  const int64_t size = PanelBytes(task.element), padded = task.padded, dim = task.dim;
  const int64_t block = std::min(padded, kQueryBlock);
  char* keys = scratch.Take<char>(padded * dim * size);
  char* values = scratch.Take<char>(padded * dim * size);
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
    const KeyRange seen = task.Seen(t, count);
    task.Fill(Panel::kRightTransposed, task.Row(task.q, t, task.stride), task.stride, count, columns_used, query);
    Multiply(task.element, seen.used, columns_used, dim, keys + seen.first * dim * size, dim, query, false, scores);
    task.Hide(seen, t, columns_used, scores);
    Kernels().softmax(task.element, {scores, seen.count, seen.used, columns_used, task.scale, task.Keep(seen, t),
                                     padded, task.keep_scale, probabilities, block_logsumexp, inverse_sum});
    Multiply(task.element, dim, columns_used, seen.used, values + seen.first * size, padded, probabilities, false,
             columns);
    Kernels().store_transposed(task.element, columns, columns_used, inverse_sum, count, dim, task.out_stride,
                               out + t * task.out_stride * ElementBytes(task.element));
    if (logsumexp != nullptr) std::copy_n(block_logsumexp, count, logsumexp + t);
  }
}

// Memory of a backward pass over the heads that share a key.
struct BackwardScratch {
  BackwardScratch(const HeadTask& task, Scratch& scratch) {
    const int64_t size = PanelBytes(task.element), padded = task.padded, dim = task.dim;
    block = std::min(padded, kQueryBlock);
    keys = scratch.Take<char>(padded * dim * size);
    keys_transposed = scratch.Take<char>(padded * dim * size);
    values = scratch.Take<char>(padded * dim * size);
    grad_k = scratch.Take<float>(padded * dim * 4);
    grad_v = scratch.Take<float>(padded * dim * 4);
    query_columns = scratch.Take(block * dim * size);
    query_rows = scratch.Take(block * dim * size);
    g_columns = scratch.Take(block * dim * size);
    g_rows = scratch.Take(block * dim * size);
    scores = scratch.Take<float>(padded * block * 4);
    products = scratch.Take<float>(padded * block * 4);
    probabilities = scratch.Take(padded * block * size);
    gradient = scratch.Take(padded * block * size);
    gradient_right = task.element == Element::kBFloat16 ? scratch.Take(padded * block * size) : gradient;
    columns = scratch.Take<float>(dim * block * 4);
    logsumexp = scratch.Take<float>(padded * 4);
  }
  int64_t block;
  char *keys, *keys_transposed, *values;
  float *grad_k, *grad_v;
  void *query_columns, *query_rows, *g_columns, *g_rows;
  float *scores, *products;
  void *probabilities, *gradient, *gradient_right;
  float *columns, *logsumexp;
};

struct BackwardRows {
  const char* g;           // of the head's first element of the output's gradient
  const float* logsumexp;  // [length]
  char* q;                 // gradient
};

// One head; what it adds to grad_k and grad_v is the first where `first`.
void Backward(const HeadTask& task, const BackwardScratch& s, const BackwardRows& rows, bool first) {
  const int64_t size = PanelBytes(task.element), padded = task.padded, dim = task.dim;
  std::fill(std::copy_n(rows.logsumexp, task.length, s.logsumexp), s.logsumexp + padded,
            std::numeric_limits<float>::infinity());  // P is 0 for queries past the end
  for (int64_t t = 0; t < task.length; t += s.block) {
    const int64_t count = std::min(s.block, task.length - t), used = RoundUp(count, 16);
    const KeyRange seen = task.Seen(t, count);
    const int64_t panel_row = seen.first * dim;
    const char* query = task.Row(task.q, t, task.stride);
    const char* g = task.Row(rows.g, t, task.out_stride);
    task.Fill(Panel::kRightTransposed, query, task.stride, count, used, s.query_columns);
    task.Fill(Panel::kRight, query, task.stride, count, used, s.query_rows);
    task.Fill(Panel::kRightTransposed, g, task.out_stride, count, used, s.g_columns);
    task.Fill(Panel::kRight, g, task.out_stride, count, used, s.g_rows);
    Multiply(task.element, seen.used, used, dim, s.keys + panel_row * size, dim, s.query_columns, false, s.scores);
    task.Hide(seen, t, used, s.scores);
    Multiply(task.element, seen.used, used, dim, s.values + panel_row * size, dim, s.g_columns, false, s.products);
    Kernels().score_gradient(task.element,
                             {s.scores, s.products, seen.count, seen.used, used, task.scale, task.Keep(seen, t), padded,
                              task.keep_scale, s.logsumexp + t, s.probabilities, s.gradient, s.gradient_right});
    const bool add = !first || t > 0;
    Multiply(task.element, seen.used, dim, used, s.probabilities, used, s.g_rows, add, s.grad_v + panel_row);
    Multiply(task.element, seen.used, dim, used, s.gradient, used, s.query_rows, add, s.grad_k + panel_row);
    Multiply(task.element, dim, used, seen.used, s.keys_transposed + seen.first * size, padded, s.gradient_right, false,
             s.columns);
    Kernels().store_transposed(task.element, s.columns, used, nullptr, count, dim, task.stride,
                               rows.q + t * task.stride * ElementBytes(task.element));
  }
}

AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, const AttentionShape& shape,
                          const Dropout& dropout, bool keep) {
  AttentionResult result;
  result.out = at::empty({qkv.size(0), shape.out_width()}, qkv.options());
  if (keep) result.logsumexp = at::empty({shape.heads, qkv.size(0)}, at::kFloat);
  auto* out = static_cast<char*>(result.out.mutable_data_ptr());
  float* logsumexp = keep ? result.logsumexp.mutable_data_ptr<float>() : nullptr;
  const int64_t bytes = qkv.element_size();
  const DropoutBits bits(dropout);
  at::parallel_for(0, batch.sequences() * shape.heads, 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(ScratchBytes(batch.max_seqlen, shape.head_dim, dropout.active()));
    for (int64_t unit = begin; unit < end; ++unit) {
      scratch.Reset();
      const int64_t sequence = unit / shape.heads, head = unit % shape.heads, first = batch.host_cu_seqlens[sequence];
      HeadTask task = MakeTask(qkv, batch, shape, sequence, head / (shape.heads / shape.kv_heads));
      task.q += head * task.dim * bytes;
      if (dropout.active()) {
        auto* mask = scratch.Take<uint8_t>(KeepMaskBytes(task.length));
        DrawKeepMask(bits, FirstAttentionDropout(sequence, head, shape.heads, batch.max_seqlen), task.length, mask);
        task.keep = mask;
        task.keep_scale = bits.scale;
      }
      Forward(task, scratch, out + (first * task.out_stride + head * task.dim) * bytes,
              keep ? logsumexp + head * batch.tokens() + first : nullptr);
    }
    at::native::cpublas::brgemm_release();
  });
  return result;
}

// All heads that share one key of one sequence.
void BackwardKeyHead(const HeadTask& shared, const PackedBatch& batch, int64_t sequence, int64_t key_head,
                     const DropoutBits& bits, Scratch& scratch, const BackwardRows& rows, char* grad_k, char* grad_v) {
  const int64_t group = shared.shape.heads / shared.shape.kv_heads, bytes = ElementBytes(shared.element);
  auto* mask = bits.threshold > 0 ? scratch.Take<uint8_t>(KeepMaskBytes(shared.length)) : nullptr;
  const BackwardScratch s(shared, scratch);
  shared.Fill(Panel::kLeft, shared.k, shared.stride, shared.length, shared.padded, s.keys);
  shared.Fill(Panel::kLeftTransposed, shared.k, shared.stride, shared.length, shared.padded, s.keys_transposed);
  shared.Fill(Panel::kLeft, shared.v, shared.stride, shared.length, shared.padded, s.values);
  if (!shared.sees_all()) {  // blocks write different rows: all of them add
    std::fill_n(s.grad_k, shared.padded * shared.dim, 0.0F);
    std::fill_n(s.grad_v, shared.padded * shared.dim, 0.0F);
  }
  for (int64_t head = key_head * group; head < (key_head + 1) * group; ++head) {
    HeadTask task = shared;
    const int64_t offset = head * task.dim * bytes;
    task.q += offset;
    if (mask != nullptr) {
      DrawKeepMask(bits, FirstAttentionDropout(sequence, head, task.shape.heads, batch.max_seqlen), task.length, mask);
      task.keep = mask;
      task.keep_scale = bits.scale;
    }
    Backward(task, s, {rows.g + offset, rows.logsumexp + head * batch.tokens(), rows.q + offset},
             head == key_head * group && task.sees_all());
  }
  Kernels().store_rows(shared.element, s.grad_k, shared.length, shared.dim, shared.stride, grad_k);
  Kernels().store_rows(shared.element, s.grad_v, shared.length, shared.dim, shared.stride, grad_v);
}

at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const AttentionResult& kept,
                             const PackedBatch& batch, const AttentionShape& shape, const Dropout& dropout) {
  at::Tensor gradient = at::empty_like(qkv);
  const auto* from = static_cast<const char*>(qkv.const_data_ptr());
  auto* to = static_cast<char*>(gradient.mutable_data_ptr());
  const auto* g_rows = static_cast<const char*>(g.const_data_ptr());
  const float* normalizers = kept.logsumexp.const_data_ptr<float>();
  const DropoutBits bits(dropout);
  at::parallel_for(0, batch.sequences() * shape.kv_heads, 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(ScratchBytes(batch.max_seqlen, shape.head_dim, dropout.active()));
    for (int64_t unit = begin; unit < end; ++unit) {
      scratch.Reset();
      const int64_t sequence = unit / shape.kv_heads, key_head = unit % shape.kv_heads,
                    first = batch.host_cu_seqlens[sequence];
      const HeadTask task = MakeTask(qkv, batch, shape, sequence, key_head);
      BackwardKeyHead(
          task, batch, sequence, key_head, bits, scratch,
          {g_rows + first * task.out_stride * qkv.element_size(), normalizers + first, to + (task.q - from)},
          to + (task.k - from), to + (task.v - from));
    }
    at::native::cpublas::brgemm_release();
  });
  return gradient;
}

}  // namespace

void SetAttention(OpTable& table) {
  table.attention = Attention;
  table.attention_gradient = AttentionGradient;
}

}  // namespace engram::nn::ops::cpu
