#include "core/nn/packed_batch.h"

#include <algorithm>
#include <limits>
#include <string>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"

namespace engram::nn {
namespace {

absl::Status CheckSequence(const Sequence& sequence, size_t i) {
  const auto invalid = [i](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("sequence ", i, " of the batch ", what));
  };
  if (sequence.ids.empty()) return invalid("has no tokens");
  if (!sequence.type_ids.empty() && sequence.type_ids.size() != sequence.ids.size())
    return invalid(absl::StrCat("has ", sequence.ids.size(), " ids but ", sequence.type_ids.size(), " type ids"));
  if (sequence.windows.empty()) return absl::OkStatus();
  int64_t tokens = 0, counted = 0;
  for (const TextWindow& window : sequence.windows) {
    if (window.tokens < 1 || window.counted < 0) return invalid("has an impossible window");
    tokens += window.tokens;
    counted += window.counted;
  }
  if (tokens != static_cast<int64_t>(sequence.ids.size()))
    return invalid(absl::StrCat("has ", sequence.ids.size(), " ids but windows of ", tokens));
  return counted > 0 ? absl::OkStatus() : invalid("has no window that counts");
}

// Adds the sequences that a text is read as.
void AddText(const Sequence& text, PackedBatch& batch, int32_t*& position) {
  const TextWindow whole{static_cast<int32_t>(text.ids.size()), 1};
  const std::span<const TextWindow> windows = text.windows.empty() ? std::span(&whole, 1) : std::span(text.windows);
  int64_t counted = 0;
  for (const TextWindow& window : windows) counted += window.counted;
  for (const TextWindow& window : windows) {
    for (int32_t i = 0; i < window.tokens; ++i) *position++ = i;
    batch.host_cu_seqlens.push_back(batch.host_cu_seqlens.back() + window.tokens);
    batch.max_seqlen = std::max(batch.max_seqlen, window.tokens);
    batch.plans.push_back(text.positions);
    batch.text_shares.push_back(static_cast<float>(static_cast<double>(window.counted) / static_cast<double>(counted)));
  }
  batch.host_cu_texts.push_back(static_cast<int32_t>(batch.sequences()));
}

}  // namespace

absl::StatusOr<PackedBatch> Pack(std::span<const Sequence* const> sequences, at::Device device) {
  int64_t total = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(CheckSequence(*sequences[i], i));
    total += static_cast<int64_t>(sequences[i]->ids.size());
  }
  if (total > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("a batch of ", total, " tokens is too large"));
  }
  PackedBatch batch;
  const auto options = at::TensorOptions().dtype(at::kInt);
  at::Tensor ids = at::empty({total}, options), types = at::empty({total}, options),
             positions = at::empty({total}, options);
  int32_t* id = ids.mutable_data_ptr<int32_t>();
  int32_t* type = types.mutable_data_ptr<int32_t>();
  int32_t* position = positions.mutable_data_ptr<int32_t>();
  batch.host_cu_seqlens.reserve(sequences.size() + 1);
  batch.host_cu_seqlens.push_back(0);
  batch.host_cu_texts.push_back(0);
  for (const Sequence* sequence : sequences) {
    id = std::copy(sequence->ids.begin(), sequence->ids.end(), id);
    type = sequence->type_ids.empty() ? std::fill_n(type, sequence->ids.size(), 0)
                                      : std::copy(sequence->type_ids.begin(), sequence->type_ids.end(), type);
    AddText(*sequence, batch, position);
  }
  if (batch.texts() == batch.sequences()) {
    batch.host_cu_texts.clear();
    batch.text_shares.clear();
  }
  if (std::all_of(batch.plans.begin(), batch.plans.end(),
                  [](const PositionPlan& plan) { return plan == PositionPlan{}; }))
    batch.plans.clear();
  at::Tensor cu = at::empty({static_cast<int64_t>(batch.host_cu_seqlens.size())}, options);
  std::copy(batch.host_cu_seqlens.begin(), batch.host_cu_seqlens.end(), cu.mutable_data_ptr<int32_t>());
  batch.ids = ids.to(device);
  batch.type_ids = types.to(device);
  batch.positions = positions.to(device);
  batch.cu_seqlens = cu.to(device);
  return batch;
}

absl::StatusOr<PackedBatch> Pack(std::span<const Sequence> sequences, at::Device device) {
  std::vector<const Sequence*> pointers;
  pointers.reserve(sequences.size());
  for (const Sequence& sequence : sequences) pointers.push_back(&sequence);
  return Pack(std::span<const Sequence* const>(pointers), device);
}

PackedBatch Part(const PackedBatch& batch, int64_t first, int64_t count) {
  const int32_t begin = batch.host_cu_seqlens[first], end = batch.host_cu_seqlens[first + count];
  PackedBatch part;
  part.ids = batch.ids.narrow(0, begin, end - begin);
  part.type_ids = batch.type_ids.narrow(0, begin, end - begin);
  part.positions = batch.positions.narrow(0, begin, end - begin);
  part.cu_seqlens = batch.cu_seqlens.narrow(0, first, count + 1) - begin;
  for (int64_t i = first; i <= first + count; ++i) part.host_cu_seqlens.push_back(batch.host_cu_seqlens[i] - begin);
  for (int64_t i = 0; i < count; ++i) part.max_seqlen = std::max(part.max_seqlen, part.length(i));
  if (!batch.plans.empty()) part.plans.assign(batch.plans.begin() + first, batch.plans.begin() + first + count);
  return part;
}

std::vector<int64_t> BalancedParts(const PackedBatch& batch, int64_t parts) {
  const double share = static_cast<double>(batch.tokens()) / static_cast<double>(parts);
  const std::vector<int32_t>& ends = batch.host_cu_seqlens;
  std::vector<int64_t> cuts = {0};
  for (int64_t part = 1; part <= parts; ++part) {
    const double wanted = share * static_cast<double>(part);
    auto cut = std::lower_bound(ends.begin(), ends.end(), wanted);
    if (cut == ends.end()) --cut;
    if (cut != ends.begin() && wanted - *(cut - 1) < *cut - wanted) --cut;  // the nearer of the two
    cuts.push_back(cut - ends.begin());
    const auto tokens = static_cast<double>(ends[cuts[part]] - ends[cuts[part - 1]]);
    if (tokens == 0 || tokens > 1.15 * share) return {};
  }
  return cuts;
}

}  // namespace engram::nn
