#pragma once

// From the logits of a word's tokens to the word's own, as transformers' TokenClassificationPipeline has it
// (aggregation_strategy "first", "average", "max").

#include <cstdint>
#include <span>

namespace engram::tagging {

// kFirst: the first token's. kAverage: the mean of the tokens' probabilities. kMax: those of the token whose highest
// probability is the highest; of equal ones the first.
enum class Aggregation : uint8_t { kFirst, kAverage, kMax };

// `tokens`: [n, K] row-major, n > 0, K = `word`.size(). Leaves values whose softmax is the word's distribution: logits of
// one token (kFirst, kMax), or log-probabilities (kAverage). fp64 inside. Pure and thread-safe.
void AggregateTokens(Aggregation aggregation, std::span<const float> tokens, std::span<float> word);

}  // namespace engram::tagging
