#include "core/longcontext/long_positions.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/longcontext/stream_cost.h"

namespace engram::longcontext {
namespace {

// How many tokens away the farthest one is that some token sees.
int64_t FarthestSeen(const nn::EncoderConfig& config, int64_t tokens, int64_t window) {
  int64_t farthest = 0;
  for (int64_t l = 0; l < config.layers; ++l) {
    const int64_t reach = StreamReach(config, l, window);
    farthest = std::max(farthest, reach < 0 ? tokens - 1 : std::min(reach, tokens - 1));
  }
  return farthest;
}

bool BeyondTraining(const nn::EncoderConfig& config, int64_t tokens, int64_t window) {
  if (!config.family->rotary()) return tokens > config.max_length();
  return FarthestSeen(config, tokens, window) >= config.max_length();
}

nn::PositionPlan Default(const nn::EncoderConfig& config) {
  if (!config.family->rotary()) return {nn::PositionMode::kHierarchical};
  const checkpoint::RopeKind own = config.ropes.front().kind;
  const bool follows = own == checkpoint::RopeKind::kDynamic || own == checkpoint::RopeKind::kDynamicYarn;
  return {follows ? nn::PositionMode::kTrained : nn::PositionMode::kDynamicYarn};
}

}  // namespace

absl::StatusOr<LongPositions> ChoosePositions(const nn::EncoderConfig& config,
                                              const std::optional<nn::PositionPlan>& asked, int64_t tokens,
                                              int64_t window) {
  LongPositions positions;
  positions.out_of_trained_range = BeyondTraining(config, tokens, window);
  if (asked) {
    positions.plan = *asked;
  } else if (positions.out_of_trained_range) {
    positions.plan = Default(config);
  }
  ENGRAM_RETURN_IF_ERROR(CheckLength(config, positions.plan, tokens));
  positions.factor = nn::PositionFactor(config, positions.plan, tokens);
  return positions;
}

absl::Status CheckLength(const nn::EncoderConfig& config, const nn::PositionPlan& plan, int64_t tokens) {
  if (const int64_t longest = nn::LongestWith(config, plan); tokens > longest) {
    return InvalidField("positions", absl::StrCat(AbslView(nn::PositionModeName(plan.mode)), " makes ", longest,
                                                  " positions of this model's; the text has ", tokens,
                                                  " tokens: use grouped, tiled, interpolated, or the mode chunk"));
  }
  const absl::Status status = nn::CheckPositions(config, plan, tokens);
  if (status.ok() || StatusField(status) == "positions") return status;
  return InvalidField(StatusField(status) == "factor" ? "position_factor" : "positions", std::string(status.message()));
}

int64_t LongestText(const nn::EncoderConfig& config, const std::optional<nn::PositionPlan>& asked) {
  return nn::LongestWith(config, asked.value_or(Default(config)));
}

}  // namespace engram::longcontext
