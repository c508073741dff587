#include <algorithm>
#include <numeric>
#include <utility>

#include "ATen/ops/empty.h"
#include "core/base/random.h"
#include "core/nn/ops.h"
#include "core/train/trainer.h"

namespace engram::train {

std::vector<int64_t> EpochOrder(std::span<const TrainingExample> examples, int64_t batch_size, uint64_t seed, int64_t epoch) {
  const int64_t count = static_cast<int64_t>(examples.size());
  RandomStream random(seed, RandomPurpose::kShuffle, static_cast<uint64_t>(epoch));
  std::vector<int64_t> order(examples.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = count - 1; i > 0; --i) std::swap(order[i], order[random.NextBelow(static_cast<uint64_t>(i) + 1)]);
  // A stable sort of a shuffled list: like lengths together, equal lengths in random order.
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return examples[a].sequence.ids.size() < examples[b].sequence.ids.size(); });
  const int64_t full = count / batch_size;
  std::vector<int64_t> batches(static_cast<size_t>((count + batch_size - 1) / batch_size));
  std::iota(batches.begin(), batches.end(), int64_t{0});
  // The short batch, if there is one, stays last: every step before it has batch_size texts.
  for (int64_t i = full - 1; i > 0; --i) std::swap(batches[i], batches[random.NextBelow(static_cast<uint64_t>(i) + 1)]);
  std::vector<int64_t> result;
  result.reserve(order.size());
  for (const int64_t batch : batches) {
    result.insert(result.end(), order.begin() + batch * batch_size, order.begin() + std::min(count, (batch + 1) * batch_size));
  }
  return result;
}

absl::StatusOr<LabelledBatch> MakeBatch(std::span<const TrainingExample> examples, std::span<const int64_t> indices, nn::HeadKind kind,
                                        at::Device device) {
  std::vector<const nn::Sequence*> sequences;
  std::vector<int64_t> targets;
  for (const int64_t index : indices) {
    const TrainingExample& example = examples[static_cast<size_t>(index)];
    sequences.push_back(&example.sequence);
    if (kind == nn::HeadKind::kSequenceClassification) {
      targets.push_back(example.label);
    } else {
      if (example.tags.size() != example.sequence.ids.size()) {
        return InvalidField("tags", "a training text has another number of tags than of tokens");
      }
      targets.insert(targets.end(), example.tags.begin(), example.tags.end());
    }
  }
  LabelledBatch labelled;
  ENGRAM_ASSIGN_OR_RETURN(labelled.batch, nn::Pack(sequences, device));
  at::Tensor host = at::empty({static_cast<int64_t>(targets.size())}, at::kLong);
  std::copy(targets.begin(), targets.end(), host.mutable_data_ptr<int64_t>());
  labelled.targets = host.to(device);
  labelled.counted = std::count_if(targets.begin(), targets.end(), [](int64_t t) { return t != nn::ops::kIgnored; });
  return labelled;
}

}  // namespace engram::train
