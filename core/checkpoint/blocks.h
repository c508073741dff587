#pragma once

// What one task may add behind the linear layers of an encoder that all tasks share, as engram.json has it: adapters,
// low-rank updates, columns of a progressive network (core/nn/task_blocks.h computes them). Their tensors lie with the
// task's head, which says which of them a version applies: the blocks of the task that is asked, and no others.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::checkpoint {

enum class BlocksKind {
  kNone,         // the task has none
  kAdapter,      // bottlenecks
  kLowRank,      // low-rank updates of the encoder's matrices, not merged
  kProgressive,  // bottlenecks that read those of earlier tasks
  kMasked,       // the task's share of an update of all weights that tasks share (core/nn/masked_update.h)
};

// Where blocks stand, in every layer.
enum class BlocksPlaces {
  kFeedForward,  // bottlenecks behind the feed-forward network
  kSublayers,    // bottlenecks behind attention and behind the feed-forward network
  kQueryValue,   // low-rank updates of the query and value matrices
  kAttention,    // low-rank updates of all four matrices of attention
  kAll,          // low-rank updates of the matrices of attention and feed-forward network
};

inline constexpr int64_t kMaxBlocksWidth = 1024;
inline constexpr size_t kMaxEarlierColumns = 256;

struct Blocks {
  BlocksKind kind = BlocksKind::kNone;
  BlocksPlaces places = BlocksPlaces::kFeedForward;  // kMasked: everywhere, whatever stands here
  int64_t width = 0;  // units of a bottleneck, or rank; in [1, kMaxBlocksWidth], 0 for kNone and kMasked
  double scale = 1;   // > 0. kLowRank: what the product of the factors is multiplied with; kMasked: the update
  // kProgressive alone: the tasks whose columns this one reads, all kProgressive, in the order of the stream.
  std::vector<std::string> earlier = {};

  friend bool operator==(const Blocks&, const Blocks&) = default;
};

// INVALID_ARGUMENT naming what is out of range or does not fit the kind; `field` leads the names.
absl::Status CheckBlocks(const Blocks& blocks, std::string_view field);

// "none", "adapter", "low_rank", "progressive", "masked".
std::string_view BlocksKindName(BlocksKind kind);
absl::StatusOr<BlocksKind> ParseBlocksKind(std::string_view name, std::string_view field = "blocks");
// "feed_forward", "sublayers", "query_value", "attention", "all".
std::string_view BlocksPlacesName(BlocksPlaces places);
absl::StatusOr<BlocksPlaces> ParseBlocksPlaces(std::string_view name, std::string_view field = "places");

}  // namespace engram::checkpoint
