#pragma once

// Texts that are read in windows (PackedBatch::host_cu_texts): what a head of whole texts makes of each window is
// averaged,
//
//   logits of a text = sum over its windows of share x logits of the window
//
// which is what the output layer, being linear, makes of the mean of what it reads.

#include <cstdint>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/nn/encoder_config.h"
#include "core/nn/packed_batch.h"

namespace engram::nn {

// Tokens whose windows are held at once: with more, a batch of texts in windows is read in groups, and a training runs
// each group again on the way back, so that memory does not grow with the length of a text.
inline constexpr int64_t kWindowTokens = 4096;

// Sequences [first, first + count) of a batch.
struct WindowGroup {
  int64_t first = 0, count = 0;
};
// Runs of neighbouring windows of at most `most_tokens` tokens, or of a single window that is longer.
std::vector<WindowGroup> GroupWindows(const PackedBatch& batch, int64_t most_tokens);

// fp32 [texts, sequences] on the batch's device: each sequence's share in its text, else 0. For batches with
// host_cu_texts.
at::Tensor TextShares(const PackedBatch& batch);
// `rows` [sequences, width], one for each sequence, as those of the texts [texts, width]: their means, in fp32; a batch
// whose sequences are texts has them already.
at::Tensor TextMeans(const at::Tensor& rows, const PackedBatch& batch);

// The mode that group number `group` of a training batch runs in: dropout of its own, the same each time. That of the
// first group is `mode`.
std::optional<TrainingMode> ModeOfGroup(const std::optional<TrainingMode>& mode, size_t group);

}  // namespace engram::nn
