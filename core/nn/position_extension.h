#pragma once

// Positions beyond a trained table of absolute positions, without training. E: the table's n rows; p: a position, from 0.
//
//   hierarchical   a e[p / n] + (1 - a) e[p % n] with e = (E - a E[0]) / (1 - a), a = 0.4: n^2 positions without a
//                  repetition, of which the first n are E itself (Su, kexue.fm/archives/7947; bert4keras PositionEmbedding)
//   grouped        E[p / s]                                  s = ceil(length / n) (LongEmbed, arXiv 2404.12096: GP)
//   tiled          E[p % n]                                  (LongEmbed: RP)
//   interpolated   linear between E[p / s] and its next row  (LongEmbed: LPI), the last row behind the last

#include <cstdint>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"

namespace engram::nn {

enum class PositionExtension { kHierarchical, kGrouped, kTiled, kInterpolated };

// "hierarchical" and so on.
std::string_view PositionExtensionName(PositionExtension kind);

// The longest sequence whose positions `rows` trained ones make.
int64_t LongestExtended(PositionExtension kind, int64_t rows);

// How many positions stand for each trained one in a sequence of `length` tokens: s, or length / rows where there is no
// s; 1 where the trained ones are enough.
double PositionFactor(PositionExtension kind, int64_t rows, int64_t length);

// Rows [begin, end) of the positions of a sequence of `length` tokens, in the table's dtype: [end - begin, d]. `table`
// [n, d]; length <= LongestExtended. A sequence of at most n tokens has the table's own rows, to the bit.
at::Tensor ExtendedPositions(const at::Tensor& table, PositionExtension kind, int64_t length, int64_t begin,
                             int64_t end);

// Position p of that sequence as a sum of share * E[row]: what a gradient of the table is made of.
struct PositionTerm {
  int64_t row;
  double share;
};
std::vector<PositionTerm> PositionTerms(PositionExtension kind, int64_t rows, int64_t length, int64_t p);

}  // namespace engram::nn
