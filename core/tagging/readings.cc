#include "core/tagging/readings.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/tagging/log_add.h"

namespace engram::tagging {
namespace {

// Rows of log-probabilities by tag, where a tag that the set lacks has minus infinity.
class Rows {
 public:
  Rows(const TagSet& tags, std::span<const float> values)
      : values_(values), tags_(static_cast<size_t>(tags.size())), words_(static_cast<int64_t>(values.size() / tags_)) {}
  int64_t words() const { return words_; }
  double Log(int64_t word, int32_t tag) const {
    return tag == TagSet::kNone ? kMinusInfinity
                                : values_[static_cast<size_t>(word) * tags_ + static_cast<size_t>(tag)];
  }
  // Of the tag among all tags of its word, so that rows need not sum to 1. 0 outside of the text.
  double Probability(int64_t word, int32_t tag) const {
    if (word < 0 || word >= words_ || Log(word, tag) == kMinusInfinity) return 0;
    double sum = 0;
    for (int32_t other = 0; other < static_cast<int32_t>(tags_); ++other)
      sum += std::exp(Log(word, other) - Log(word, tag));
    return 1 / sum;
  }

 private:
  std::span<const float> values_;
  size_t tags_;
  int64_t words_;
};

// Log of the sum over all legal ways through the words before each word, and from each word on, between which no entity
// is open: before[t] ends behind word t - 1, after[t] begins with word t.
struct Closed {
  std::vector<double> before, after;
};

Closed SumBioes(const TagSet& tags, const Rows& rows) {
  const int64_t words = rows.words();
  const auto types = static_cast<int32_t>(tags.types().size());
  Closed closed{std::vector<double>(static_cast<size_t>(words) + 1, kMinusInfinity),
                std::vector<double>(static_cast<size_t>(words) + 1, kMinusInfinity)};
  closed.before[0] = closed.after[static_cast<size_t>(words)] = 0;
  std::vector<double> open(static_cast<size_t>(types), kMinusInfinity);  // an entity of this type is open
  for (int64_t t = 0; t < words; ++t) {
    const double before = closed.before[static_cast<size_t>(t)];
    double sum = before + rows.Log(t, tags.outside());
    for (int32_t type = 0; type < types; ++type) {
      double& inside = open[static_cast<size_t>(type)];
      sum = LogAdd(sum, LogAdd(before + rows.Log(t, tags.single(type)), inside + rows.Log(t, tags.end(type))));
      inside = LogAdd(before + rows.Log(t, tags.begin(type)), inside + rows.Log(t, tags.inside(type)));
    }
    closed.before[static_cast<size_t>(t) + 1] = sum;
  }
  open.assign(static_cast<size_t>(types), kMinusInfinity);
  for (int64_t t = words - 1; t >= 0; --t) {
    const double after = closed.after[static_cast<size_t>(t) + 1];
    double sum = after + rows.Log(t, tags.outside());
    for (int32_t type = 0; type < types; ++type) {
      double& inside = open[static_cast<size_t>(type)];
      sum = LogAdd(sum, LogAdd(after + rows.Log(t, tags.single(type)), inside + rows.Log(t, tags.begin(type))));
      inside = LogAdd(after + rows.Log(t, tags.end(type)), inside + rows.Log(t, tags.inside(type)));
    }
    closed.after[static_cast<size_t>(t)] = sum;
  }
  return closed;
}

}  // namespace

std::vector<int32_t> BestOfEachWord(const TagSet& tags, std::span<const float> log_probabilities) {
  const auto width = static_cast<size_t>(tags.size());
  std::vector<int32_t> best;
  for (size_t row = 0; row < log_probabilities.size(); row += width) {
    const auto values = log_probabilities.subspan(row, width);
    const auto highest = std::max_element(values.begin(), values.end());
    best.push_back(*highest == -std::numeric_limits<float>::infinity()
                       ? TagSet::kNone
                       : static_cast<int32_t>(highest - values.begin()));
  }
  return best;
}

std::vector<double> IndependentProbabilities(const TagSet& tags, std::span<const float> log_probabilities,
                                             std::span<const TagSpan> spans) {
  const Rows rows(tags, log_probabilities);
  std::vector<double> result;
  for (const TagSpan& span : spans) {
    if (tags.reading() == TagReading::kWords) {
      result.push_back(span.end_word - span.first_word > 1 ? 0
                                                           : rows.Probability(span.first_word, tags.single(span.type)));
      continue;
    }
    const int32_t begin = tags.begin(span.type), inside = tags.inside(span.type);
    const int64_t before = span.first_word - 1;
    const double open = rows.Probability(before, begin) + rows.Probability(before, inside);
    double p = rows.Probability(span.first_word, begin) + rows.Probability(span.first_word, inside) * (1 - open);
    for (int64_t t = span.first_word + 1; t < span.end_word; ++t) p *= rows.Probability(t, inside);
    result.push_back(std::clamp(p * (1 - rows.Probability(span.end_word, inside)), 0.0, 1.0));
  }
  return result;
}

std::vector<int32_t> BestBioes(const TagSet& tags, std::span<const float> log_probabilities) {
  const Rows rows(tags, log_probabilities);
  const int64_t words = rows.words();
  const int32_t width = tags.size();
  if (words == 0) return {};
  const auto legal_end = [&](int32_t tag) {
    return tags.prefix(tag) != TagPrefix::kBegin && tags.prefix(tag) != TagPrefix::kInside;
  };
  std::vector<int32_t> from(log_probabilities.size(), TagSet::kNone);
  std::vector<double> score(static_cast<size_t>(width)), next(static_cast<size_t>(width));
  // The best tag that no entity is open behind; O is one, so that there is always one.
  const auto best_closed = [&](const std::vector<double>& scores) {
    int32_t best = tags.outside();
    for (int32_t tag = 0; tag < width; ++tag) {
      const double value = scores[static_cast<size_t>(tag)], highest = scores[static_cast<size_t>(best)];
      if (legal_end(tag) && (value > highest || (value == highest && tag < best))) best = tag;
    }
    return best;
  };
  for (int32_t tag = 0; tag < width; ++tag)
    score[static_cast<size_t>(tag)] = tags.Allowed(TagSet::kNone, tag) ? rows.Log(0, tag) : kMinusInfinity;
  for (int64_t t = 1; t < words; ++t) {
    const int32_t closed = best_closed(score);
    for (int32_t tag = 0; tag < width; ++tag) {
      int32_t previous = closed;
      if (tags.prefix(tag) == TagPrefix::kInside || tags.prefix(tag) == TagPrefix::kEnd) {
        const int32_t begin = tags.begin(tags.type(tag)), inside = tags.inside(tags.type(tag));
        const auto value = [&](int32_t of) {
          return of == TagSet::kNone ? kMinusInfinity : score[static_cast<size_t>(of)];
        };
        previous = value(inside) > value(begin) || (value(inside) == value(begin) && inside != TagSet::kNone &&
                                                    (begin == TagSet::kNone || inside < begin))
                       ? inside
                       : begin;
      }
      from[static_cast<size_t>(t * width + tag)] = previous;
      next[static_cast<size_t>(tag)] =
          previous == TagSet::kNone ? kMinusInfinity : score[static_cast<size_t>(previous)] + rows.Log(t, tag);
    }
    score.swap(next);
  }
  std::vector<int32_t> path(static_cast<size_t>(words));
  path.back() = best_closed(score);
  for (int64_t t = words - 1; t > 0; --t)
    path[static_cast<size_t>(t) - 1] = from[static_cast<size_t>(t * width + path[static_cast<size_t>(t)])];
  return path;
}

std::vector<double> BioesProbabilities(const TagSet& tags, std::span<const float> log_probabilities,
                                       std::span<const TagSpan> spans) {
  const Rows rows(tags, log_probabilities);
  const Closed closed = SumBioes(tags, rows);
  const double log_z = closed.after[0];
  std::vector<double> result;
  for (const TagSpan& span : spans) {
    double log_p =
        closed.before[static_cast<size_t>(span.first_word)] + closed.after[static_cast<size_t>(span.end_word)];
    if (span.end_word - span.first_word == 1) {
      log_p += rows.Log(span.first_word, tags.single(span.type));
    } else {
      log_p += rows.Log(span.first_word, tags.begin(span.type)) + rows.Log(span.end_word - 1, tags.end(span.type));
      for (int64_t t = span.first_word + 1; t < span.end_word - 1; ++t) log_p += rows.Log(t, tags.inside(span.type));
    }
    result.push_back(log_z == kMinusInfinity || log_p == kMinusInfinity ? 0.0 : std::min(1.0, std::exp(log_p - log_z)));
  }
  return result;
}

}  // namespace engram::tagging
