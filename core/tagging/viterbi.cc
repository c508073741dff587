#include "core/tagging/viterbi.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/tagging/log_add.h"
#include "core/tagging/readings.h"

namespace engram::tagging {
namespace {

absl::Status CheckInput(const TagSet& tags, std::span<const float> values) {
  if (values.size() % tags.size() != 0) {
    return InvalidField("log_probabilities",
                        absl::StrCat(values.size(), " values are not a multiple of ", tags.size(), " tags"));
  }
  for (const float value : values) {
    if (std::isnan(value) || value == std::numeric_limits<float>::infinity()) {
      return InvalidField("log_probabilities", "a value is NaN or plus infinity: the model's output is not usable");
    }
  }
  return absl::OkStatus();
}

// Log sum of the scores of all tags that may stand at a word: at the beginning of the sentence no I tag may.
double LogSum(const TagSet& tags, const double* scores) {
  double high = kMinusInfinity, sum = 0;
  for (int32_t k = 0; k < tags.size(); ++k) high = std::max(high, scores[k]);
  if (high == kMinusInfinity) return high;
  for (int32_t k = 0; k < tags.size(); ++k) sum += std::exp(scores[k] - high);
  return high + std::log(sum);
}

// alpha[t, k]: log of the summed probability of all legal beginnings that end with tag k at word t (word t included).
std::vector<double> Forward(const TagSet& tags, std::span<const float> values) {
  const int32_t tag_count = tags.size();
  std::vector<double> alpha(values.size());
  double sum = 0;  // over the tags of the word before
  for (size_t row = 0; row < values.size(); row += tag_count) {
    for (int32_t k = 0; k < tag_count; ++k) {
      double before = sum;
      if (tags.prefix(k) == TagPrefix::kInside) {
        const double* previous = row == 0 ? nullptr : &alpha[row - tag_count];
        before = previous == nullptr ? kMinusInfinity : LogAdd(previous[tags.begin(tags.type(k))], previous[k]);
      }
      alpha[row + k] = before + values[row + k];
    }
    sum = LogSum(tags, &alpha[row]);
  }
  return alpha;
}

// What follows a word, given its tag.
struct Backward {
  std::vector<double> open;    // [T]: log sum over continuations that begin with no I tag
  std::vector<double> inside;  // [T, types]: over continuations that begin with I of this type
};

// Both for t = T - 1: the empty continuation counts as open.
Backward MakeBackward(const TagSet& tags, std::span<const float> values) {
  const int32_t tag_count = tags.size();
  const size_t words = values.size() / tag_count, types = tags.types().size();
  Backward result{std::vector<double>(words, 0.0), std::vector<double>(words * types, kMinusInfinity)};
  std::vector<double> fresh(types + 1);
  for (size_t t = words - 1; t-- > 0;) {
    const float* next = &values[(t + 1) * tag_count];
    const double* inside_after = &result.inside[(t + 1) * types];
    const double open_after = result.open[t + 1];
    fresh[types] = next[tags.outside()] + open_after;
    for (size_t i = 0; i < types; ++i) {
      const double after = LogAdd(open_after, inside_after[i]);
      fresh[i] = next[tags.begin(static_cast<int32_t>(i))] + after;
      const int32_t inside = tags.inside(static_cast<int32_t>(i));
      result.inside[t * types + i] = inside == TagSet::kNone ? kMinusInfinity : next[inside] + after;
    }
    const double high = *std::max_element(fresh.begin(), fresh.end());
    double sum = 0;
    for (const double value : fresh) sum += high == kMinusInfinity ? 0 : std::exp(value - high);
    result.open[t] = high == kMinusInfinity ? high : high + std::log(sum);
  }
  return result;
}

}  // namespace

std::vector<float> LogSoftmaxRows(std::span<const float> logits, int32_t tags) {
  std::vector<float> result(logits.size());
  for (size_t row = 0; row + tags <= logits.size(); row += tags) {
    const auto values = logits.subspan(row, tags);
    const double high = *std::max_element(values.begin(), values.end());
    if (high == kMinusInfinity) {  // a word without a tag stays one
      std::copy(values.begin(), values.end(), result.begin() + static_cast<std::ptrdiff_t>(row));
      continue;
    }
    double sum = 0;
    for (const float value : values) sum += std::exp(value - high);
    const double log_sum = high + std::log(sum);
    for (int32_t k = 0; k < tags; ++k) result[row + k] = static_cast<float>(values[k] - log_sum);
  }
  return result;
}

absl::StatusOr<ViterbiPath> Viterbi(const TagSet& tags, std::span<const float> log_probabilities) {
  ENGRAM_RETURN_IF_ERROR(CheckInput(tags, log_probabilities));
  const int32_t tag_count = tags.size();
  const size_t words = log_probabilities.size() / tag_count;
  ViterbiPath path;
  if (words == 0) return path;
  if (tags.reading() != TagReading::kBio2) {
    path.tags = tags.reading() == TagReading::kBioes ? BestBioes(tags, log_probabilities)
                                                     : BestOfEachWord(tags, log_probabilities);
    for (size_t t = 0; t < words; ++t) {
      if (path.tags[t] != TagSet::kNone)
        path.score += log_probabilities[t * static_cast<size_t>(tag_count) + static_cast<size_t>(path.tags[t])];
    }
    return path;
  }
  std::vector<int32_t> from(words * tag_count);
  std::vector<double> score(tag_count), next(tag_count);
  // The best tag of the word just done. Begins with O, which is legal anywhere, so that ties at minus infinity stay
  // legal; at the first word I tags do not take part.
  const auto best_of = [&tags](const std::vector<double>& scores, bool first) {
    int32_t best = tags.outside();
    for (int32_t k = 0; k < tags.size(); ++k) {
      if (first && tags.prefix(k) == TagPrefix::kInside) continue;
      if (scores[k] > scores[best] || (scores[k] == scores[best] && k < best)) best = k;
    }
    return best;
  };
  for (int32_t k = 0; k < tag_count; ++k) score[k] = log_probabilities[k];
  for (size_t t = 1; t < words; ++t) {
    const int32_t best = best_of(score, t == 1);
    for (int32_t k = 0; k < tag_count; ++k) {
      int32_t previous = best;
      if (tags.prefix(k) == TagPrefix::kInside) {
        const int32_t begin = tags.begin(tags.type(k));
        const bool longer = t > 1 && (score[k] > score[begin] || (score[k] == score[begin] && k < begin));
        previous = longer ? k : begin;
      }
      from[t * tag_count + k] = previous;
      next[k] = score[previous] + log_probabilities[t * tag_count + k];
    }
    score.swap(next);
  }
  path.tags.resize(words);
  path.tags[words - 1] = best_of(score, words == 1);
  path.score = score[path.tags[words - 1]];
  for (size_t t = words - 1; t > 0; --t) path.tags[t - 1] = from[t * tag_count + path.tags[t]];
  return path;
}

absl::StatusOr<std::vector<double>> EntityProbabilities(const TagSet& tags, std::span<const float> log_probabilities,
                                                        std::span<const TagSpan> spans) {
  ENGRAM_RETURN_IF_ERROR(CheckInput(tags, log_probabilities));
  const int32_t tag_count = tags.size();
  const auto words = static_cast<int64_t>(log_probabilities.size() / tag_count);
  const auto types = static_cast<int64_t>(tags.types().size());
  std::vector<double> result;
  if (spans.empty()) return result;
  for (const TagSpan& span : spans) {
    const bool usable = span.first_word >= 0 && span.first_word < span.end_word && span.end_word <= words &&
                        span.type >= 0 && span.type < types &&
                        (tags.reading() != TagReading::kBio2 || span.end_word == span.first_word + 1 ||
                         tags.inside(span.type) != TagSet::kNone);
    if (!usable) return InvalidField("spans", "a span is empty, outside the words or of an unknown type");
  }
  if (tags.reading() == TagReading::kBioes) return BioesProbabilities(tags, log_probabilities, spans);
  if (tags.reading() != TagReading::kBio2) return IndependentProbabilities(tags, log_probabilities, spans);
  const std::vector<double> alpha = Forward(tags, log_probabilities);
  const Backward backward = MakeBackward(tags, log_probabilities);
  const double log_z = LogSum(tags, &alpha[(words - 1) * tag_count]);
  for (const TagSpan& span : spans) {
    double log_p = alpha[span.first_word * int64_t{tag_count} + tags.begin(span.type)];
    for (int64_t t = span.first_word + 1; t < span.end_word; ++t)
      log_p += log_probabilities[t * tag_count + tags.inside(span.type)];
    log_p += backward.open[span.end_word - 1];
    result.push_back(log_z == kMinusInfinity || log_p == kMinusInfinity ? 0.0 : std::min(1.0, std::exp(log_p - log_z)));
  }
  return result;
}

}  // namespace engram::tagging
