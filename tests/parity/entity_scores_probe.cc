// Scores sentences of tags for test_seqeval.py: {"tags": [...], "gold": [[...]], "predicted": [[...]]} on standard
// input, scores on standard output.

#include <iostream>
#include <string>

#include "core/tagging/entity_scores.h"
#include "nlohmann/json.hpp"

namespace {

using engram::tagging::EntityScore;

nlohmann::json ToJson(const EntityScore& score) {
  return {{"precision", score.precision}, {"recall", score.recall}, {"f1-score", score.f1}, {"support", score.support}};
}

}  // namespace

int main(int argc, char** argv) {
  using namespace engram::tagging;
  const nlohmann::json input = nlohmann::json::parse(std::cin);
  const auto tags = TagSet::FromTags(input.at("tags"));
  if (!tags.ok()) return 1;
  const bool strict = argc > 1 && std::string(argv[1]) == "strict";
  EntityScorer scorer(*tags, strict ? SpanReading::kStrict : SpanReading::kLenient);
  const auto ids = [&](const nlohmann::json& sentence) {
    std::vector<int32_t> out;
    for (const std::string tag : sentence) out.push_back(tags->Find(tag));
    return out;
  };
  for (size_t i = 0; i < input.at("gold").size(); ++i) {
    if (!scorer.Add(ids(input["gold"][i]), ids(input["predicted"][i])).ok()) return 1;
  }
  const EntityScores scores = scorer.Scores();
  nlohmann::json out = {{"boundary", ToJson(scores.boundary)},
                        {"micro avg", ToJson(scores.micro)},
                        {"macro avg", ToJson(scores.macro)},
                        {"weighted avg", ToJson(scores.weighted)}};
  for (const auto& [type, score] : scores.by_type) out[type] = ToJson(score);
  std::cout << out.dump() << "\n";
  return 0;
}
