#pragma once

// Decoding of a tagger's output. The model gives each word a distribution over tags, independent of its neighbours; a
// tag sequence is legal as the tag set's reading says (TagSet::Allowed; for BIO2: I-x only follows B-x or I-x), and in
// BIOES no entity is open at its end. Both functions work with the distribution over legal sequences
//   p(y) = prod_t p_t(y_t) / Z,   Z = the same product summed over the legal sequences,
// in O(T K) time (an I tag has two possible predecessors, all others share one maximum or sum), fp64 inside. Pure and
// thread-safe.

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/status.h"
#include "core/tagging/bio.h"
#include "core/tagging/spans.h"

namespace engram::tagging {

// log softmax of each row of logits [T, K] (K = `tags`), the maximum taken out first. Logits must be finite, but for a row of
// minus infinity (a word without a tag), which stays one.
std::vector<float> LogSoftmaxRows(std::span<const float> logits, int32_t tags);

struct ViterbiPath {
  std::vector<int32_t> tags;  // [T]; legal, always; kNone where a set without O has no tag for a word
  double score = 0;           // sum of the log-probabilities along the path
};

// The legal sequence of the highest score. `log_probabilities` [T, K] row-major, K = tags.size(); minus infinity is
// allowed (should every legal sequence have it somewhere, the result is still legal), NaN and plus infinity are
// INVALID_ARGUMENT. T = 0 gives an empty path. Of equal scores the one with the lower tag ids, decided from the last
// word backwards.
absl::StatusOr<ViterbiPath> Viterbi(const TagSet& tags, std::span<const float> log_probabilities);

// For each span (as TagsToSpans makes them) the probability, under p(y), that exactly these words form an entity of
// exactly this type: begins there, ends there, neither longer nor shorter. In [0, 1]. Conditions on `log_probabilities`
// as above, on spans: inside [0, T).
absl::StatusOr<std::vector<double>> EntityProbabilities(const TagSet& tags, std::span<const float> log_probabilities,
                                                        std::span<const TagSpan> spans);

}  // namespace engram::tagging
