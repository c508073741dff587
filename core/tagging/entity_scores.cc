#include "core/tagging/entity_scores.h"

#include <algorithm>
#include <utility>

namespace engram::tagging {
namespace {

double Ratio(double numerator, double denominator) { return denominator == 0 ? 0 : numerator / denominator; }

EntityScore Score(int64_t support, int64_t predicted, int64_t correct) {
  EntityScore score{0, 0, 0, support, predicted, correct};
  score.precision = Ratio(static_cast<double>(correct), static_cast<double>(predicted));
  score.recall = Ratio(static_cast<double>(correct), static_cast<double>(support));
  score.f1 = Ratio(2 * score.precision * score.recall, score.precision + score.recall);
  return score;
}

}  // namespace

EntityScorer::EntityScorer(TagSet tags, SpanReading reading, const std::vector<std::string>& types)
    : tags_(std::move(tags)), reading_(reading), counts_(tags_.types().size()) {
  for (const std::string& type : tags_.types())
    counted_.push_back(types.empty() || std::find(types.begin(), types.end(), type) != types.end());
}

std::vector<TagSpan> EntityScorer::Spans(std::span<const int32_t> sequence) const {
  std::vector<TagSpan> spans = TagsToSpans(tags_, sequence, reading_);
  std::erase_if(spans, [this](const TagSpan& span) { return !counted_[static_cast<size_t>(span.type)]; });
  return spans;
}

absl::Status EntityScorer::Add(std::span<const int32_t> gold, std::span<const int32_t> predicted) {
  if (gold.size() != predicted.size())
    return InvalidField("predicted", "has another number of tags than the gold sentence");
  for (size_t i = 0; i < gold.size(); ++i) {
    const bool known = gold[i] == TagSet::kNone || (gold[i] >= 0 && gold[i] < tags_.size());
    if (!known || predicted[i] < 0 || predicted[i] >= tags_.size())
      return InvalidField("tags", "hold an id that the tag set does not have");
  }
  const std::vector<TagSpan> gold_spans = Spans(gold);
  std::vector<TagSpan> predicted_spans = Spans(predicted);
  std::erase_if(predicted_spans, [&gold](const TagSpan& span) {
    return std::all_of(gold.begin() + span.first_word, gold.begin() + span.end_word,
                       [](int32_t tag) { return tag == TagSet::kNone; });
  });
  for (const TagSpan& span : gold_spans) ++counts_[span.type].support;
  for (const TagSpan& span : predicted_spans) {
    ++counts_[span.type].predicted;
    // Spans of one sequence are sorted and do not overlap.
    if (std::binary_search(gold_spans.begin(), gold_spans.end(), span)) ++counts_[span.type].correct;
  }
  boundaries_.support += static_cast<int64_t>(gold_spans.size());
  boundaries_.predicted += static_cast<int64_t>(predicted_spans.size());
  for (auto expected = gold_spans.begin(); const TagSpan& span : predicted_spans) {
    while (expected != gold_spans.end() && expected->first_word < span.first_word) ++expected;
    if (expected == gold_spans.end()) break;
    if (expected->first_word == span.first_word && expected->end_word == span.end_word) ++boundaries_.correct;
  }
  ++sentences_;
  for (size_t i = 0; i < gold.size(); ++i) {
    words_ += gold[i] != TagSet::kNone;
    words_correct_ += gold[i] == predicted[i];
  }
  return absl::OkStatus();
}

EntityScores EntityScorer::Scores() const {
  EntityScores scores;
  Counts total;
  for (size_t i = 0; i < counts_.size(); ++i) {
    const Counts& counts = counts_[i];
    if (counts.support == 0 && counts.predicted == 0) continue;
    scores.by_type[tags_.types()[i]] = Score(counts.support, counts.predicted, counts.correct);
    total.support += counts.support;
    total.predicted += counts.predicted;
    total.correct += counts.correct;
  }
  scores.micro = Score(total.support, total.predicted, total.correct);
  scores.macro = scores.weighted = {0, 0, 0, total.support, total.predicted, total.correct};
  for (const auto& [type, score] : scores.by_type) {
    const double equal = 1.0 / static_cast<double>(scores.by_type.size());
    const double share = Ratio(static_cast<double>(score.support), static_cast<double>(total.support));
    for (auto [average, weight] : {std::pair{&scores.macro, equal}, std::pair{&scores.weighted, share}}) {
      average->precision += weight * score.precision;
      average->recall += weight * score.recall;
      average->f1 += weight * score.f1;
    }
  }
  scores.boundary = Score(boundaries_.support, boundaries_.predicted, boundaries_.correct);
  scores.sentences = sentences_;
  scores.words = words_;
  scores.tag_accuracy = Ratio(static_cast<double>(words_correct_), static_cast<double>(words_));
  return scores;
}

}  // namespace engram::tagging
