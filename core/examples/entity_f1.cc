#include "core/examples/entity_f1.h"

#include <utility>

#include "core/nn/ops/cross_entropy/cross_entropy.h"
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

}  // namespace

train::TokenMetric EntityF1(const tagging::TagSet& tags) {
  return [tags](std::span<const train::TrainingExample> examples,
                std::span<const at::Tensor> logits) -> absl::StatusOr<double> {
    tagging::EntityScorer scorer(tags);
    for (size_t i = 0; i < examples.size(); ++i) {
      std::vector<int32_t> gold;
      std::vector<float> rows;
      for (size_t token = 0; token < examples[i].tags.size(); ++token) {
        if (examples[i].tags[token] == nn::ops::kIgnored) continue;
        gold.push_back(static_cast<int32_t>(examples[i].tags[token]));
        const float* row = logits[i].const_data_ptr<float>() + static_cast<int64_t>(token) * tags.size();
        rows.insert(rows.end(), row, row + tags.size());
      }
      ENGRAM_RETURN_IF_ERROR(Score(tags, gold, rows, scorer));
    }
    return scorer.Scores().micro.f1;
  };
}

train::TokenMetric SentenceEntityF1(const tagging::TagSet& tags, SentencePlaces places) {
  return [tags, places = std::move(places)](std::span<const train::TrainingExample> examples,
                                            std::span<const at::Tensor> logits) -> absl::StatusOr<double> {
    if (examples.size() != places.windows.size())
      return absl::InternalError("the examples are not those that the places belong to");
    std::vector<WordLogits> sentences;
    for (const std::vector<int32_t>& gold : places.gold) sentences.emplace_back(gold.size(), tags);
    for (size_t i = 0; i < examples.size(); ++i) {
      const SentencePlaces::Window& window = places.windows[i];
      sentences[window.sentence].Take(window.rows, logits[i].const_data_ptr<float>());
    }
    tagging::EntityScorer scorer(tags);
    for (size_t sentence = 0; sentence < sentences.size(); ++sentence)
      ENGRAM_RETURN_IF_ERROR(Score(tags, places.gold[sentence], sentences[sentence].values(), scorer));
    return scorer.Scores().micro.f1;
  };
}

}  // namespace engram::examples
