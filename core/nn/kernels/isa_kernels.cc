// Compiled once for each instruction set; see isa.h. ENGRAM_ISA is the name of the table.

#include "core/nn/kernels/isa.h"

namespace engram::nn::kernels {
namespace {

using Half = uint16_t;  // raw bf16

inline float Load(const float* p, int64_t i) { return p[i]; }
inline float Load(const Half* p, int64_t i) { return __builtin_bit_cast(float, static_cast<uint32_t>(p[i]) << 16); }
inline void Store(float* p, int64_t i, float value) { p[i] = value; }
// Round to nearest even; NaN stays NaN.
inline void Store(Half* p, int64_t i, float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  p[i] = static_cast<Half>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
}

// exp by x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor polynomial of degree 7 (remainder below 1e-8 relative). x <= 0
// here: arguments are differences to a maximum; below -87 the result is 0.
inline float Exp(float x) {
  const float clamped = x < -87.0F ? -87.0F : (x > 88.0F ? 88.0F : x);
  const float n = __builtin_rintf(clamped * 1.44269504088896341F);
  const float r = clamped - n * 0.69314718055994531F;
  float p = 1.0F / 5040.0F;
  p = p * r + 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const int32_t power = static_cast<int32_t>(n) + 127;
  const float result = p * __builtin_bit_cast(float, power << 23);
  return x < -87.0F ? 0.0F : result;
}

constexpr int kLanes = 16;

// sum_i term(i) in kLanes interleaved partial sums: vectorises without leave to reorder, and the order is the same on
// every processor.
template <typename Term>
inline float Sum(int64_t count, const Term& term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (int lane = 0; i < count; ++i, ++lane) lanes[lane] += term(i);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

inline float Largest(const float* row, int64_t count) {
  float lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = row[0];
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = row[i + lane] > lanes[lane] ? row[i + lane] : lanes[lane];
  }
  for (; i < count; ++i) lanes[0] = row[i] > lanes[0] ? row[i] : lanes[0];
  float largest = lanes[0];
  for (int lane = 1; lane < kLanes; ++lane) largest = lanes[lane] > largest ? lanes[lane] : largest;
  return largest;
}

template <typename T>
void LayerNormRow(const LayerNormArguments& a) {
  const int64_t d = a.width;
  const T* x = static_cast<const T*>(a.x);
  const T* residual = static_cast<const T*>(a.residual);
  const T* gamma = static_cast<const T*>(a.gamma);
  const T* beta = static_cast<const T*>(a.beta);
  T* y = static_cast<T*>(a.y);
  T* normalized = static_cast<T*>(a.normalized);
  const float* mask = a.mask;
  const auto value = [&](int64_t i) {
    float s = Load(x, i);
    if (mask != nullptr) s *= mask[i];
    if (residual != nullptr) s += Load(residual, i);
    return s;
  };
  const float mean = Sum(d, value) / static_cast<float>(d);
  const float squares = Sum(d, [&](int64_t i) {
    const float c = value(i) - mean;
    return c * c;
  });
  const float rstd = 1.0F / __builtin_sqrtf(squares / static_cast<float>(d) + a.eps);
  for (int64_t i = 0; i < d; ++i) {
    const float n = (value(i) - mean) * rstd;
    Store(y, i, n * Load(gamma, i) + Load(beta, i));
    if (normalized != nullptr) Store(normalized, i, n);
  }
  if (a.rstd != nullptr) *a.rstd = rstd;
}

template <typename T>
void LayerNormGradientRow(const LayerNormGradientArguments& a) {
  const int64_t d = a.width;
  const T* g = static_cast<const T*>(a.g);
  const T* normalized = static_cast<const T*>(a.normalized);
  const T* gamma = static_cast<const T*>(a.gamma);
  T* residual = static_cast<T*>(a.residual);
  T* x = static_cast<T*>(a.x);
  const float mean = Sum(d, [&](int64_t i) { return Load(g, i) * Load(gamma, i); }) / static_cast<float>(d);
  const float projection =
      Sum(d, [&](int64_t i) { return Load(g, i) * Load(gamma, i) * Load(normalized, i); }) / static_cast<float>(d);
  for (int64_t i = 0; i < d; ++i) {
    const float ds = (Load(g, i) * Load(gamma, i) - mean - Load(normalized, i) * projection) * a.rstd;
    Store(residual, i, ds);
    if (a.mask != nullptr) Store(x, i, ds * a.mask[i]);
  }
}

// Scratch of one attention task, cut out of one allocation.
struct Carver {
  float* next;
  float* Take(int64_t count) {
    float* taken = next;
    next += (count + 15) / 16 * 16;
    return taken;
  }
};

constexpr int kRows = 4;  // query rows that share one pass over the keys

// transposed[c][j] = rows[j][c] for j < length, 0 for the padding up to `padded`.
template <typename T>
void Transpose(const T* rows, int64_t stride, int64_t length, int64_t padded, int64_t head_dim, float* transposed) {
  for (int64_t c = 0; c < head_dim; ++c) {
    float* out = transposed + c * padded;
    for (int64_t j = 0; j < length; ++j) out[j] = Load(rows + j * stride, c);
    for (int64_t j = length; j < padded; ++j) out[j] = 0;
  }
}

template <typename T>
void CopyRows(const T* rows, int64_t stride, int64_t length, int64_t head_dim, float* out) {
  for (int64_t j = 0; j < length; ++j) {
    for (int64_t c = 0; c < head_dim; ++c) out[j * head_dim + c] = Load(rows + j * stride, c);
  }
}

// products[r][j] = sum_c left[r][c] * transposed[c][j], for kRows rows of `left`, four vectors of j at a time.
inline void RowsTimesTransposed(const float* left, int64_t head_dim, const float* transposed, int64_t padded,
                                float* products) {
  for (int64_t j = 0; j < padded; j += kLanes) {
    float sums[kRows][kLanes] = {};
    for (int64_t c = 0; c < head_dim; ++c) {
      const float* column = transposed + c * padded + j;
      for (int r = 0; r < kRows; ++r) {
        const float factor = left[r * head_dim + c];
        for (int lane = 0; lane < kLanes; ++lane) sums[r][lane] += factor * column[lane];
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int lane = 0; lane < kLanes; ++lane) products[r * padded + j + lane] = sums[r][lane];
    }
  }
}

// sums[r][c] = sum_j weights[r][j] * rows[j][c] for kRows rows of weights.
template <int kDim>
inline void WeightedRows(const float* weights, int64_t padded, const float* rows, int64_t length, int64_t head_dim,
                         float* sums) {
  constexpr int kBlock = kDim > 0 ? kDim : 16;
  for (int64_t begin = 0; begin < head_dim; begin += kBlock) {
    const int64_t width = kDim > 0 ? kDim : (head_dim - begin < kBlock ? head_dim - begin : kBlock);
    float block[kRows][kBlock] = {};
    for (int64_t j = 0; j < length; ++j) {
      const float* row = rows + j * head_dim + begin;
      for (int r = 0; r < kRows; ++r) {
        const float factor = weights[r * padded + j];
        for (int64_t c = 0; c < (kDim > 0 ? kDim : width); ++c) block[r][c] += factor * row[c];
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < width; ++c) sums[r * head_dim + begin + c] = block[r][c];
    }
  }
}

// rows[j][c] += sum_r weights[r][j] * left[r][c].
template <int kDim>
inline void AddOuter(const float* weights, int64_t padded, const float* left, int64_t length, int64_t dim,
                     float* rows) {
  const int64_t head_dim = kDim > 0 ? kDim : dim;
  for (int64_t j = 0; j < length; ++j) {
    float* row = rows + j * head_dim;
    for (int64_t c = 0; c < head_dim; ++c) {
      float sum = row[c];
      for (int r = 0; r < kRows; ++r) sum += weights[r * padded + j] * left[r * head_dim + c];
      row[c] = sum;
    }
  }
}

// kRows rows of a matrix from row t on, fp32, zeros past the end.
template <typename T>
inline void LoadBlock(const T* rows, int64_t stride, int64_t t, int64_t length, int64_t head_dim, float factor,
                      float* block) {
  for (int r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < head_dim; ++c) {
      block[r * head_dim + c] = t + r < length ? Load(rows + (t + r) * stride, c) * factor : 0.0F;
    }
  }
}

template <typename T, int kDim>
void AttentionForward(const AttentionArguments& a) {
  const int64_t length = a.length, dim = kDim > 0 ? kDim : a.head_dim, padded = (length + 15) / 16 * 16;
  Carver carver{a.scratch};
  float* keys = carver.Take(dim * padded);
  float* values = carver.Take(padded * dim);
  float* weights = carver.Take(kRows * padded);
  float* mask = carver.Take(padded);
  float* query = carver.Take(kRows * dim);
  float* sums = carver.Take(kRows * dim);
  Transpose(static_cast<const T*>(a.k), a.stride, length, padded, dim, keys);
  CopyRows(static_cast<const T*>(a.v), a.stride, length, dim, values);
  for (int64_t t = 0; t < length; t += kRows) {
    LoadBlock(static_cast<const T*>(a.q), a.stride, t, length, dim, a.scale, query);
    RowsTimesTransposed(query, dim, keys, padded, weights);
    const int64_t rows = length - t < kRows ? length - t : kRows;
    for (int64_t r = 0; r < rows; ++r) {
      float* row = weights + r * padded;
      const float largest = Largest(row, length);
      for (int64_t j = 0; j < length; ++j) row[j] = Exp(row[j] - largest);
      const float sum = Sum(length, [&](int64_t j) { return row[j]; });
      const float inverse = 1.0F / sum;
      for (int64_t j = 0; j < length; ++j) row[j] *= inverse;
      if (a.logsumexp != nullptr) a.logsumexp[t + r] = largest + __builtin_logf(sum);
      if (a.fill_mask != nullptr) {
        a.fill_mask(a.context, t + r, mask);
        for (int64_t j = 0; j < length; ++j) row[j] *= mask[j];
      }
    }
    WeightedRows<kDim>(weights, padded, values, length, dim, sums);
    for (int64_t r = 0; r < rows; ++r) {
      T* out = static_cast<T*>(a.out) + (t + r) * a.out_stride;
      for (int64_t c = 0; c < dim; ++c) Store(out, c, sums[r * dim + c]);
    }
  }
}

template <typename T>
void StoreRows(const float* rows, int64_t length, int64_t dim, int64_t stride, void* out) {
  for (int64_t j = 0; j < length; ++j) {
    for (int64_t c = 0; c < dim; ++c) Store(static_cast<T*>(out) + j * stride, c, rows[j * dim + c]);
  }
}

// Per block of kRows query rows: P from the kept logsumexp, dV += (P*mask)^T dO, dP = dO V^T * mask, dS = P (dP - sum_j
// P dP), dQ = scale dS K, dK += scale dS^T Q.
template <typename T, int kDim>
void AttentionBackward(const AttentionArguments& a) {
  const int64_t length = a.length, dim = kDim > 0 ? kDim : a.head_dim, padded = (length + 15) / 16 * 16;
  Carver carver{a.scratch};
  float* keys_t = carver.Take(dim * padded);
  float* values_t = carver.Take(dim * padded);
  float* keys = carver.Take(padded * dim);
  float* grad_k = carver.Take(padded * dim);
  float* grad_v = carver.Take(padded * dim);
  float* weights = carver.Take(kRows * padded);
  float* grads = carver.Take(kRows * padded);
  float* mask = carver.Take(padded);
  float* query = carver.Take(kRows * dim);
  float* gradient = carver.Take(kRows * dim);
  float* grad_q = carver.Take(kRows * dim);
  Transpose(static_cast<const T*>(a.k), a.stride, length, padded, dim, keys_t);
  Transpose(static_cast<const T*>(a.v), a.stride, length, padded, dim, values_t);
  CopyRows(static_cast<const T*>(a.k), a.stride, length, dim, keys);
  for (int64_t i = 0; i < length * dim; ++i) grad_k[i] = grad_v[i] = 0;
  for (int64_t t = 0; t < length; t += kRows) {
    LoadBlock(static_cast<const T*>(a.q), a.stride, t, length, dim, a.scale, query);
    LoadBlock(static_cast<const T*>(a.g), a.out_stride, t, length, dim, 1.0F, gradient);
    RowsTimesTransposed(query, dim, keys_t, padded, weights);
    RowsTimesTransposed(gradient, dim, values_t, padded, grads);
    for (int64_t r = 0; r < kRows; ++r) {
      float* p = weights + r * padded;
      float* dp = grads + r * padded;
      if (t + r >= length) {
        for (int64_t j = 0; j < length; ++j) p[j] = dp[j] = 0;
        continue;
      }
      const float logsumexp = a.logsumexp[t + r];
      const bool dropped = a.fill_mask != nullptr;
      if (dropped) a.fill_mask(a.context, t + r, mask);
      for (int64_t j = 0; j < length; ++j) p[j] = Exp(p[j] - logsumexp);
      if (dropped) {
        for (int64_t j = 0; j < length; ++j) dp[j] *= mask[j];
      }
      const float delta = Sum(length, [&](int64_t j) { return p[j] * dp[j]; });
      for (int64_t j = 0; j < length; ++j) {
        dp[j] = p[j] * (dp[j] - delta);
        if (dropped) p[j] *= mask[j];
      }
    }
    AddOuter<kDim>(weights, padded, gradient, length, dim, grad_v);
    AddOuter<kDim>(grads, padded, query, length, dim, grad_k);  // query carries the scale
    WeightedRows<kDim>(grads, padded, keys, length, dim, grad_q);
    const int64_t rows = length - t < kRows ? length - t : kRows;
    for (int64_t r = 0; r < rows; ++r) {
      T* out = static_cast<T*>(a.grad_q) + (t + r) * a.stride;
      for (int64_t c = 0; c < dim; ++c) Store(out, c, grad_q[r * dim + c] * a.scale);
    }
  }
  StoreRows<T>(grad_k, length, dim, a.stride, a.grad_k);
  StoreRows<T>(grad_v, length, dim, a.stride, a.grad_v);
}

void LayerNormRowAny(const LayerNormArguments& a, bool bf16) { bf16 ? LayerNormRow<Half>(a) : LayerNormRow<float>(a); }
void LayerNormGradientRowAny(const LayerNormGradientArguments& a, bool bf16) {
  bf16 ? LayerNormGradientRow<Half>(a) : LayerNormGradientRow<float>(a);
}

template <typename T>
void AttentionForwardOf(const AttentionArguments& a) {
  a.head_dim == 32   ? AttentionForward<T, 32>(a)
  : a.head_dim == 64 ? AttentionForward<T, 64>(a)
                     : AttentionForward<T, 0>(a);
}
template <typename T>
void AttentionBackwardOf(const AttentionArguments& a) {
  a.head_dim == 32   ? AttentionBackward<T, 32>(a)
  : a.head_dim == 64 ? AttentionBackward<T, 64>(a)
                     : AttentionBackward<T, 0>(a);
}
void AttentionAny(const AttentionArguments& a, bool bf16) {
  bf16 ? AttentionForwardOf<Half>(a) : AttentionForwardOf<float>(a);
}
void AttentionGradientAny(const AttentionArguments& a, bool bf16) {
  bf16 ? AttentionBackwardOf<Half>(a) : AttentionBackwardOf<float>(a);
}

}  // namespace

extern const KernelTable ENGRAM_ISA;
const KernelTable ENGRAM_ISA = {LayerNormRowAny, LayerNormGradientRowAny, AttentionAny, AttentionGradientAny};

}  // namespace engram::nn::kernels
