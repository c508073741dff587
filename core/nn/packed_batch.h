#pragma once

// A batch without padding: the token ids of all sequences, one after the other, and where each begins.
//
//   sequences "a b c", "d e"  ->  ids [a b c d e]   cu_seqlens [0 3 5]   T = 5 tokens, n = 2 sequences
//
// Each window of a text that is read in windows is a sequence of the batch; which text it belongs to matters to heads of
// whole texts alone.
//
// Every layer, in training, importance and serving, works on [T, width] rows; no layer ever sees a padding token.

#include <cstdint>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/position_plan.h"

namespace engram::nn {

// A window of a text: a run of its tokens that the encoder reads by itself.
struct TextWindow {
  int32_t tokens = 0;   // special ones included
  int32_t counted = 0;  // what the window counts in the mean over the text's windows, >= 0

  friend bool operator==(const TextWindow&, const TextWindow&) = default;
};

// One tokenized text, special tokens included.
struct Sequence {
  std::vector<int32_t> ids;       // [length], length >= 1
  std::vector<int32_t> type_ids;  // [length], or empty: all 0
  PositionPlan positions = {};    // how its positions are made
  // Of a text that is read in windows: those, which lie in `ids` one after the other. Empty: the text is read at once.
  std::vector<TextWindow> windows = {};
};

// How position ids are made (per family): position of the i-th token is first + i.
// BERT and DistilBERT: first = 0. RoBERTa: first = pad_token_id + 1.
struct PackedBatch {
  at::Tensor ids;         // int32 [T], on `device`
  at::Tensor type_ids;    // int32 [T]
  at::Tensor positions;   // int32 [T], index within the sequence, from 0 (the encoder adds its family's offset)
  at::Tensor cu_seqlens;  // int32 [n+1], on `device`
  std::vector<int32_t> host_cu_seqlens;  // the same on the host
  std::vector<PositionPlan> plans;       // of each sequence; empty: all PositionMode::kTrained
  int32_t max_seqlen = 0;
  // Where texts are read in windows: text i is the sequences [host_cu_texts[i], host_cu_texts[i + 1]), and each counts
  // text_shares[sequence] in its text's mean; shares of a text sum to 1. Both empty: each sequence is a text.
  std::vector<int32_t> host_cu_texts;
  std::vector<float> text_shares;

  int64_t tokens() const { return host_cu_seqlens.empty() ? 0 : host_cu_seqlens.back(); }
  int64_t sequences() const { return host_cu_seqlens.empty() ? 0 : static_cast<int64_t>(host_cu_seqlens.size()) - 1; }
  int64_t texts() const { return host_cu_texts.empty() ? sequences() : static_cast<int64_t>(host_cu_texts.size()) - 1; }
  int32_t length(int64_t i) const { return host_cu_seqlens[i + 1] - host_cu_seqlens[i]; }
  PositionPlan plan(int64_t i) const { return plans.empty() ? PositionPlan{} : plans[static_cast<size_t>(i)]; }
};

// INVALID_ARGUMENT if a sequence or one of its windows is empty, if type_ids and ids differ in length, if windows do not
// cover the ids, none of them counts, or if the batch passes 2^31 - 1 tokens.
absl::StatusOr<PackedBatch> Pack(std::span<const Sequence* const> sequences, at::Device device);
absl::StatusOr<PackedBatch> Pack(std::span<const Sequence> sequences, at::Device device);

// Sequences [first, first + count) as a batch of their own, each a text; ids, types and positions are views.
PackedBatch Part(const PackedBatch& batch, int64_t first, int64_t count);

// Cuts a batch into `parts` runs of neighbouring sequences of about equal numbers of tokens: the first sequence of
// each, and last the number of sequences. Empty if that cannot be done without one part being more than 15 % above its
// share.
std::vector<int64_t> BalancedParts(const PackedBatch& batch, int64_t parts);

}  // namespace engram::nn
