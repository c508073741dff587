#include "core/examples/entity_f1.h"

#include <map>
#include <utility>

#include "core/tagging/entity_scores.h"
#include "core/tagging/viterbi.h"

namespace engram::examples {
namespace {

absl::Status Score(const tagging::TagSet& tags, std::span<const int32_t> gold, std::span<const float> logits,
                   tagging::EntityScorer& scorer) {
  ENGRAM_ASSIGN_OR_RETURN(const tagging::ViterbiPath path,
                          tagging::Viterbi(tags, tagging::LogSoftmaxRows(logits, tags.size())));
  return scorer.Add(gold, path.tags);
}

double MicroF1(const tagging::EntityScorer& scorer, tagging::EntityScores* scores) {
  tagging::EntityScores all = scorer.Scores();
  const double f1 = all.micro.f1;
  if (scores != nullptr) *scores = std::move(all);
  return f1;
}

}  // namespace

train::TokenMetric SentenceEntityF1(const tagging::TagSet& tags, SentencePlaces places, tagging::EntityScores* scores,
                                    std::vector<std::string> types) {
  return [tags, scores, types = std::move(types), places = std::move(places)](
             std::span<const train::TrainingExample> examples,
             std::span<const at::Tensor> logits) -> absl::StatusOr<double> {
    if (examples.size() != places.windows.size())
      return absl::InternalError("the examples are not those that the places belong to");
    std::vector<WordLogits> sentences;
    for (const std::vector<int32_t>& gold : places.gold) sentences.emplace_back(gold.size(), tags);
    for (size_t i = 0; i < examples.size(); ++i) {
      const SentencePlaces::Window& window = places.windows[i];
      sentences[window.sentence].Take(window.rows, logits[i].const_data_ptr<float>());
    }
    tagging::EntityScorer scorer(tags, tagging::SpanReading::kLenient, types);
    for (size_t sentence = 0; sentence < sentences.size(); ++sentence)
      ENGRAM_RETURN_IF_ERROR(Score(tags, places.gold[sentence], sentences[sentence].values(), scorer));
    return MicroF1(scorer, scores);
  };
}

train::TokenMetric HeldOutEntityF1(const tagging::TagSet& tags, SentencePlaces places, tagging::EntityScores* scores,
                                   std::vector<std::string> types) {
  // Where each text's windows begin: they follow each other.
  std::map<size_t, size_t> first;
  for (size_t i = 0; i < places.windows.size(); ++i) first.emplace(places.windows[i].sentence, i);
  return [tags, scores, types = std::move(types), first = std::move(first), places = std::move(places)](
             std::span<const train::TrainingExample> examples,
             std::span<const at::Tensor> logits) -> absl::StatusOr<double> {
    std::map<size_t, WordLogits> sentences;
    std::map<size_t, size_t> taken;
    for (size_t i = 0; i < examples.size(); ++i) {
      const auto text = static_cast<size_t>(examples[i].source);
      const auto begin = first.find(text);
      const size_t at = begin == first.end() ? places.windows.size() : begin->second + taken[text]++;
      if (at >= places.windows.size() || places.windows[at].sentence != text)
        return absl::InternalError("the examples are not those that the places belong to");
      const auto sentence = sentences.try_emplace(text, places.gold[text].size(), tags).first;
      sentence->second.Take(places.windows[at].rows, logits[i].const_data_ptr<float>());
    }
    tagging::EntityScorer scorer(tags, tagging::SpanReading::kLenient, types);
    for (const auto& [text, sentence] : sentences)
      ENGRAM_RETURN_IF_ERROR(Score(tags, places.gold[text], sentence.values(), scorer));
    return MicroF1(scorer, scores);
  };
}

}  // namespace engram::examples
