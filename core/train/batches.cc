#include "core/train/batches.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "core/base/random.h"

namespace engram::train {
namespace {

constexpr uint64_t kValidationStep = 1;  // of RandomPurpose::kSubset; importance draws with step 0

// Fisher-Yates.
template <typename T>
void Shuffle(RandomStream& random, std::vector<T>& values) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.NextBelow(i)]);
}

std::vector<int64_t> Arrival(size_t count) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

// Cuts `order` into batches within the bounds; 0: no bound.
std::vector<std::vector<int64_t>> Cut(const std::vector<int64_t>& order, std::span<const int32_t> lengths,
                                      int64_t batch_size, int64_t batch_tokens) {
  std::vector<std::vector<int64_t>> batches;
  int64_t tokens = 0;
  for (const int64_t example : order) {
    const int64_t length = lengths[example];
    const bool full = batches.empty() ||
                      (batch_size > 0 && static_cast<int64_t>(batches.back().size()) >= batch_size) ||
                      (batch_tokens > 0 && tokens + length > batch_tokens);
    if (full) {
      batches.emplace_back();
      tokens = 0;
    }
    batches.back().push_back(example);
    tokens += length;
  }
  return batches;
}

void SortByLength(std::span<const int32_t> lengths, std::vector<int64_t>& order) {
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return lengths[a] < lengths[b]; });
}

}  // namespace

std::vector<std::vector<int64_t>> MakeBatches(std::span<const int32_t> lengths, const BatchOptions& options,
                                              int64_t epoch) {
  RandomStream random(options.seed, RandomPurpose::kShuffle, static_cast<uint64_t>(epoch));
  std::vector<int64_t> order = Arrival(lengths.size());
  if (options.order != BatchOrder::kArrival) Shuffle(random, order);
  // A stable sort of a shuffled list: ties are in random order.
  if (options.order == BatchOrder::kLengthGrouped) SortByLength(lengths, order);
  std::vector<std::vector<int64_t>> batches = Cut(order, lengths, options.batch_size, options.batch_tokens);
  if (options.order == BatchOrder::kLengthGrouped) Shuffle(random, batches);
  return batches;
}

std::vector<std::vector<int64_t>> BatchesByLength(std::span<const int32_t> lengths, int64_t batch_tokens) {
  std::vector<int64_t> order = Arrival(lengths.size());
  SortByLength(lengths, order);
  return Cut(order, lengths, 0, batch_tokens);
}

ValidationSplit SplitValidation(std::span<const int64_t> texts, double fraction, uint64_t seed) {
  // Texts in the order of their first examples.
  std::map<int64_t, int64_t> numbers;
  std::vector<int64_t> text_of;
  int64_t count = 0;
  for (const int64_t text : texts) {
    const bool known = text >= 0 && !numbers.emplace(text, count).second;
    text_of.push_back(known ? numbers[text] : count++);
  }
  std::vector<bool> held_out(static_cast<size_t>(count), false);
  ValidationSplit split;
  if (fraction > 0 && count > 1) {
    split.validation_texts = std::clamp<int64_t>(std::llround(fraction * static_cast<double>(count)), 1, count - 1);
    std::vector<int64_t> order = Arrival(static_cast<size_t>(count));
    RandomStream random(seed, RandomPurpose::kSubset, kValidationStep);
    Shuffle(random, order);
    for (auto text = order.end() - split.validation_texts; text != order.end(); ++text)
      held_out[static_cast<size_t>(*text)] = true;
  }
  for (size_t i = 0; i < text_of.size(); ++i)
    (held_out[static_cast<size_t>(text_of[i])] ? split.validation : split.training).push_back(static_cast<int64_t>(i));
  return split;
}

}  // namespace engram::train
