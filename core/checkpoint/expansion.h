#pragma once

// A fixed random expansion of pooled features, which a head may have before its linear layer (core/nn/fixed_expansion.h
// computes it). It is never learned: kind, width and seed say all of it. Names are those of engram.json.

#include <cstdint>
#include <string_view>

#include "core/base/status.h"

namespace engram::checkpoint {

enum class ExpansionKind {
  kNone,  // the head has none
  kUnit,  // scaled to length 1 and not expanded; the width is that of the features
  kRelu,  // ReLU of random projections
  kRff,   // random Fourier features of the Gaussian kernel
  kKwta,  // k winners take all: the largest random projections, the others 0
};

inline constexpr int64_t kMaxExpansionWidth = 16384;

struct Expansion {
  ExpansionKind kind = ExpansionKind::kNone;
  int64_t width = 0;  // in [1, kMaxExpansionWidth]; 0 for kNone
  uint64_t seed = 0;

  friend bool operator==(const Expansion&, const Expansion&) = default;
};

// "none", "unit", "relu", "rff", "kwta".
std::string_view ExpansionKindName(ExpansionKind kind);
// The inverse. INVALID_ARGUMENT for `field` for another name; the nearest known one is proposed.
absl::StatusOr<ExpansionKind> ParseExpansionKind(std::string_view name, std::string_view field = "expansion");

}  // namespace engram::checkpoint
