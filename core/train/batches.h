#pragma once

// Which training examples make a batch, and in which order. The plan of an epoch is a pure function of (lengths,
// options, epoch).

#include <cstdint>
#include <span>
#include <vector>

namespace engram::train {

// kLengthGrouped  examples of like length together (ties drawn anew each epoch), batches in random order: the fastest,
//                 since attention works on groups of equal length
// kRandom         a random order of the examples
// kArrival        their own order
enum class BatchOrder { kLengthGrouped, kRandom, kArrival };

struct BatchOptions {
  int64_t batch_size = 32;   // most examples in a batch; 0: no bound
  int64_t batch_tokens = 0;  // most tokens in a batch; 0: no bound. A longer example is a batch of its own.
  BatchOrder order = BatchOrder::kLengthGrouped;
  uint64_t seed = 0;
};

// The batches of one epoch as numbers of examples: every example exactly once. At least one of the two bounds must be
// set.
std::vector<std::vector<int64_t>> MakeBatches(std::span<const int32_t> lengths, const BatchOptions& options,
                                              int64_t epoch);

// Examples ranked by length and cut at `batch_tokens`: for passes that take no gradient.
std::vector<std::vector<int64_t>> BatchesByLength(std::span<const int32_t> lengths, int64_t batch_tokens);

// A random part of the texts held out for validation, with all their examples: round(fraction * T) of T texts, at least
// 1 if fraction > 0 and T > 1. `texts[i]`: the number of the text that example i is of (TrainingExample::source);
// negative: a text of its own. The numbers of the examples; both lists ascend.
struct ValidationSplit {
  std::vector<int64_t> training, validation;
  int64_t validation_texts = 0;
};
ValidationSplit SplitValidation(std::span<const int64_t> texts, double fraction, uint64_t seed);

}  // namespace engram::train
