#include "core/checkpoint/blocks.h"

#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"

namespace engram::checkpoint {
namespace {

bool IsBottleneck(BlocksPlaces places) {
  return places == BlocksPlaces::kFeedForward || places == BlocksPlaces::kSublayers;
}

}  // namespace

absl::Status CheckBlocks(const Blocks& blocks, std::string_view field) {
  const std::string prefix = absl::StrCat(std::string(field), ".");
  if (blocks.kind == BlocksKind::kNone)
    return blocks == Blocks() ? absl::OkStatus() : InvalidField(prefix + "kind", "is none, and yet there are blocks");
  const bool scaled = blocks.kind == BlocksKind::kLowRank || blocks.kind == BlocksKind::kMasked;
  if (!(blocks.scale > 0) || !std::isfinite(blocks.scale) || (!scaled && blocks.scale != 1))
    return InvalidField(prefix + "scale", "must be above 0, and 1 for all but low_rank and masked");
  if (!blocks.earlier.empty() && blocks.kind != BlocksKind::kProgressive)
    return InvalidField(prefix + "earlier", "belongs to progressive alone");
  if (blocks.kind == BlocksKind::kMasked)
    return blocks.width == 0 ? absl::OkStatus() : InvalidField(prefix + "width", "must be 0 for masked");
  if (blocks.width < 1 || blocks.width > kMaxBlocksWidth)
    return InvalidField(prefix + "width", absl::StrCat("must be in [1, ", kMaxBlocksWidth, "]"));
  if ((blocks.kind != BlocksKind::kLowRank) != IsBottleneck(blocks.places)) {
    return InvalidField(prefix + "places", absl::StrCat("may not be ", std::string(BlocksPlacesName(blocks.places)),
                                                        " for ", std::string(BlocksKindName(blocks.kind))));
  }
  if (blocks.earlier.size() > kMaxEarlierColumns)
    return InvalidField(prefix + "earlier", absl::StrCat("names more than ", kMaxEarlierColumns, " tasks"));
  if (std::set<std::string>(blocks.earlier.begin(), blocks.earlier.end()).size() != blocks.earlier.size())
    return InvalidField(prefix + "earlier", "names a task twice");
  return absl::OkStatus();
}

}  // namespace engram::checkpoint
