#include "core/continual/block_strategy.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "core/nn/task_blocks.h"

namespace engram::continual {

absl::Status BlockStrategy::BeginTask(train::TaskSetup& setup) {
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::Blocks wanted, make_(setup));
  nn::Model& model = setup.model;
  const checkpoint::Blocks known = model.heads().at(setup.task).blocks;
  if (known.kind == checkpoint::BlocksKind::kNone) {
    ENGRAM_RETURN_IF_ERROR(model.AddBlocks(setup.task, wanted, setup.seed));
  } else if (known != wanted) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the task has blocks of its own already (", std::string(checkpoint::BlocksKindName(known.kind)), ", ",
        std::string(checkpoint::BlocksPlacesName(known.places)), ", width ", known.width, "), and strategy ", name_,
        " would give it others; set the options as they were, or give the task another name"));
  }
  setup.trainable = model.HeadSlots(setup.task);
  return absl::OkStatus();
}

StrategyCost BlockCost(const checkpoint::Blocks& blocks, const StrategySizes& sizes) {
  checkpoint::EncoderSizes encoder;
  encoder.family = checkpoint::FindFamily("bert");
  encoder.hidden_size = sizes.hidden_size;
  encoder.intermediate_size = sizes.intermediate_size;
  encoder.layers = sizes.layers;
  encoder.heads = 1;
  const bool columns = blocks.kind == checkpoint::BlocksKind::kProgressive;
  const std::vector<int64_t> earlier(columns ? static_cast<size_t>(sizes.columns) : 0, blocks.width);
  const int64_t bytes = nn::TaskBlocks::Elements(blocks, encoder, earlier) * static_cast<int64_t>(sizeof(float));
  // An earlier column takes a forward pass, a third of a step.
  return {.bytes = 4 * bytes, .extra_passes = static_cast<double>(earlier.size()) / 3, .version_bytes = bytes};
}

OptionTable BottleneckOptions(int64_t width) {
  return OptionTable({Option::Whole("width", width, Closed(1, checkpoint::kMaxBlocksWidth), "units of each bottleneck"),
                      Option::Choice("places", "feed_forward", {"feed_forward", "sublayers"},
                                     "behind the feed-forward network of each layer, or behind attention as well")});
}

checkpoint::Blocks BottleneckBlocks(checkpoint::BlocksKind kind, const OptionValues& options) {
  return {kind,
          options.Text("places") == "sublayers" ? checkpoint::BlocksPlaces::kSublayers
                                                : checkpoint::BlocksPlaces::kFeedForward,
          options.Whole("width"),
          1,
          {}};
}

}  // namespace engram::continual
