#include "core/tagging/aggregation.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace engram::tagging {
namespace {

// Adds the softmax of `logits` to `sums`; returns its highest value.
double AddSoftmax(std::span<const float> logits, std::vector<double>& sums) {
  const double high = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float value : logits) total += std::exp(value - high);
  for (size_t k = 0; k < logits.size(); ++k) sums[k] += std::exp(logits[k] - high) / total;
  return 1 / total;
}

}  // namespace

void AggregateTokens(Aggregation aggregation, std::span<const float> tokens, std::span<float> word) {
  const size_t tags = word.size(), count = tokens.size() / tags;
  std::vector<double> sums(tags);
  size_t surest = 0;
  double highest = -1;
  for (size_t n = 0; n < count && aggregation != Aggregation::kFirst; ++n) {
    const double top = AddSoftmax(tokens.subspan(n * tags, tags), sums);
    if (top > highest) highest = top, surest = n;
  }
  if (aggregation == Aggregation::kAverage) {
    for (size_t k = 0; k < tags; ++k) word[k] = static_cast<float>(std::log(sums[k] / static_cast<double>(count)));
    return;
  }
  std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(surest * tags), tags, word.begin());
}

}  // namespace engram::tagging
