#pragma once

// What attention computes between its products (core/nn/ops/attention/attention_cpu.cc), part of isa_kernels.cc. T: an element in
// memory; P: an element of a panel.

#include "core/nn/kernels/isa.h"
#include "core/nn/kernels/lanes.h"

namespace engram::nn::kernels {
namespace {  // NOLINT(google-build-namespaces): see lanes.h

// Elements of memory as raw words, and raw words as elements of a panel or as rounded elements of memory.
inline Words LoadWords(const float* p, int64_t count) { return LoadRaw<Words>(p, count); }
inline Words LoadWords(const Half* p, int64_t count) {
  return __builtin_convertvector(LoadRaw<Halves>(p, count), Words);
}
template <typename T, typename P>
inline void StoreWords(P* p, const Words& words) {
  if constexpr (sizeof(P) == 2) {
    StoreRaw(p, kLanes, __builtin_convertvector(words, Halves));
  } else if constexpr (sizeof(T) == 2) {
    StoreRaw(p, kLanes, words << 16);  // bf16 as fp32
  } else {
    StoreRaw(p, kLanes, words);
  }
}

template <typename T, typename P>
inline void CopyRow(const T* from, int64_t width, P* to) {
  if constexpr (sizeof(T) == sizeof(P)) {
    __builtin_memcpy(to, from, static_cast<uint64_t>(width) * sizeof(T));
  } else {
    ForLanes(width, [&](int64_t i, int64_t count) { Store(to + i, Load(from + i, count), count); });
  }
}

template <typename T, typename P>
void FillLeft(const PanelArguments& a) {
  auto* panel = static_cast<P*>(a.panel);
  for (int64_t r = 0; r < a.count; ++r) {
    CopyRow(static_cast<const T*>(a.rows) + r * a.stride, a.width, panel + r * a.width);
  }
  __builtin_memset(panel + a.count * a.width, 0, static_cast<uint64_t>((a.padded - a.count) * a.width) * sizeof(P));
}

// [width][padded], 16 x 16 elements at a time.
template <typename T, typename P>
void FillTransposed(const PanelArguments& a) {
  auto* panel = static_cast<P*>(a.panel);
  for (int64_t r = 0; r < a.padded; r += kLanes) {
    const T* rows = static_cast<const T*>(a.rows) + r * a.stride;
    ForLanes(a.width, [&](int64_t c, int64_t count) {
      Words block[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        block[i] = r + i < a.count ? LoadWords(rows + i * a.stride + c, count) : Words{};
      }
      Transpose(block);
      for (int64_t i = 0; i < count; ++i) StoreWords<T>(panel + (c + i) * a.padded + r, block[i]);
    });
  }
}

// bf16 rows in pairs: [padded / 2][width][2].
inline void FillRowPairs(const PanelArguments& a) {
  auto* panel = static_cast<uint32_t*>(a.panel);
  for (int64_t r = 0; r < a.padded; r += 2, panel += a.width) {
    const Half* even = static_cast<const Half*>(a.rows) + r * a.stride;
    const Half* odd = even + a.stride;
    if (r + 1 < a.count) {
      for (int64_t c = 0; c < a.width; ++c) panel[c] = even[c] | static_cast<uint32_t>(odd[c]) << 16;
    } else {
      for (int64_t c = 0; c < a.width; ++c) panel[c] = r < a.count ? even[c] : 0;
    }
  }
}

// bf16 columns in pairs: [width / 2][padded][2]; a pair of neighbours in a row moves as one 32-bit word.
inline void FillColumnPairs(const PanelArguments& a) {
  const PanelArguments words = {a.rows, a.stride / 2, a.count, a.padded, a.width / 2, a.panel};
  FillTransposed<float, float>(words);
}

template <typename T, typename P>
void FillPanel(Panel panel, const PanelArguments& a) {
  constexpr bool kPairs = sizeof(P) == 2;
  switch (panel) {
    case Panel::kLeft:
      return FillLeft<T, P>(a);
    case Panel::kLeftTransposed:
      return FillTransposed<T, P>(a);
    case Panel::kRight:
      if constexpr (kPairs) return FillRowPairs(a);
      return FillLeft<T, P>(a);
    case Panel::kRightTransposed:
      if constexpr (kPairs) return FillColumnPairs(a);
      return FillTransposed<T, P>(a);
  }
}

// Two neighbouring rows of a right operand of `columns` columns, from column `c` on.
inline void StoreRightRows(float* panel, int64_t columns, int64_t row, int64_t c, Floats even, Floats odd) {
  Store(panel + row * columns + c, even);
  Store(panel + (row + 1) * columns + c, odd);
}
inline void StoreRightRows(Half* panel, int64_t columns, int64_t row, int64_t c, Floats even, Floats odd) {
  const Words pairs = RoundToHalf(even) | RoundToHalf(odd) << 16;
  __builtin_memcpy(panel + row * columns + 2 * c, &pairs, sizeof pairs);
}

template <typename P>
void Softmax(const SoftmaxArguments& a) {
  auto* out = static_cast<P*>(a.probabilities);
  for (int64_t q = 0; q < a.queries; q += kLanes) {
    const float* scores = a.scores + q;
    Floats largest = Load(scores);
    for (int64_t j = 1; j < a.keys; ++j) {
      const Floats score = Load(scores + j * a.queries);
      largest = score > largest ? score : largest;
    }
    const Floats shift = largest * a.scale;
    Floats sum{};
    const auto weight = [&](int64_t j) {
      if (j >= a.keys) return Floats{};
      const Floats e = Exp(Load(scores + j * a.queries) * a.scale - shift);
      sum += e;
      return a.keep == nullptr ? e : e * LoadKeep(a.keep + j * a.keep_stride + q, a.keep_scale);
    };
    for (int64_t j = 0; j < a.used_keys; j += 2) {
      const Floats even = weight(j), odd = weight(j + 1);
      StoreRightRows(out, a.queries, j, q, even, odd);
    }
    Store(a.inverse_sum + q, 1.0F / sum);
    for (int lane = 0; lane < kLanes; ++lane) a.logsumexp[q + lane] = shift[lane] + __builtin_logf(sum[lane]);
  }
}

template <typename P>
void ScoreGradient(const ScoreGradientArguments& a) {
  auto* probabilities = static_cast<P*>(a.probabilities);
  auto* gradient = static_cast<P*>(a.gradient);
  for (int64_t q = 0; q < a.queries; q += kLanes) {
    const Floats logsumexp = Load(a.logsumexp + q);
    const auto keep = [&](int64_t key) {
      return a.keep == nullptr ? Fill(1.0F) : LoadKeep(a.keep + key * a.keep_stride + q, a.keep_scale);
    };
    const auto probability = [&](int64_t key) {
      return Exp(Load(a.scores + key * a.queries + q) * a.scale - logsumexp);
    };
    // Not from the rounded output (delta = dO O): the rows of dS must sum to 0, also in bf16.
    Floats delta{};
    for (int64_t j = 0; j < a.keys; ++j) delta += probability(j) * Load(a.products + j * a.queries + q) * keep(j);
    const auto row = [&](int64_t key) {
      if (key >= a.keys) {
        Store(probabilities + key * a.queries + q, Floats{});
        return Floats{};
      }
      const Floats p = probability(key), kept = keep(key);
      Store(probabilities + key * a.queries + q, p * kept);
      return p * (Load(a.products + key * a.queries + q) * kept - delta) * a.scale;
    };
    for (int64_t j = 0; j < a.used_keys; j += 2) {
      const Floats even = row(j), odd = row(j + 1);
      Store(gradient + j * a.queries + q, even);
      Store(gradient + (j + 1) * a.queries + q, odd);
      if constexpr (sizeof(P) == 2) {
        StoreRightRows(static_cast<P*>(a.gradient_right), a.queries, j, q, even, odd);
      }
    }
  }
}

template <typename T>
void StoreTransposed(const float* columns, int64_t queries, const float* factor, int64_t count, int64_t width,
                     int64_t stride, void* out) {
  for (int64_t t = 0; t < count; t += kLanes) {
    const Floats scale = factor != nullptr ? Load(factor + t) : Fill(1.0F);
    const int64_t rows = count - t < kLanes ? count - t : kLanes;
    ForLanes(width, [&](int64_t c, int64_t n) {
      Words block[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        const Floats column = i < n ? Load(columns + (c + i) * queries + t) * scale : Floats{};
        block[i] = __builtin_bit_cast(Words, column);
      }
      Transpose(block);
      for (int64_t i = 0; i < rows; ++i) {
        Store(static_cast<T*>(out) + (t + i) * stride + c, __builtin_bit_cast(Floats, block[i]), n);
      }
    });
  }
}

template <typename T>
void StoreRows(const float* rows, int64_t count, int64_t width, int64_t stride, void* out) {
  for (int64_t t = 0; t < count; ++t) {
    ForLanes(width, [&](int64_t c, int64_t n) {
      Store(static_cast<T*>(out) + t * stride + c, Load(rows + t * width + c, n), n);
    });
  }
}

}  // namespace
}  // namespace engram::nn::kernels
