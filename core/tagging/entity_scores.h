#pragma once

// Precision, recall and F1 of entities, equal to seqeval's: an entity counts if type, first and last word are right. Of
// words without a gold tag nothing is known: what is predicted on such words alone is neither right nor wrong, and takes
// no part; what reaches over a word that has a gold tag is judged as any.
// Types that occur neither in the gold nor in the predicted tags do not take part. A division by zero gives 0
// (seqeval's zero_division=0). Differs in one point: without any entity at all macro averages are 0, where seqeval
// gives NaN.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/tagging/bio.h"
#include "core/tagging/spans.h"

namespace engram::tagging {

struct EntityScore {
  double precision = 0, recall = 0, f1 = 0;
  int64_t support = 0;    // gold entities
  int64_t predicted = 0;  // predicted entities
  int64_t correct = 0;
};

struct EntityScores {
  std::map<std::string, EntityScore> by_type;
  EntityScore micro;     // of the counts summed over types
  EntityScore macro;     // unweighted mean over by_type
  EntityScore weighted;  // mean weighted by support
  EntityScore boundary;  // of all entities with their types left out: first and last word are right
  int64_t sentences = 0;
  int64_t words = 0;        // with a gold tag
  double tag_accuracy = 0;  // share of these words with the right tag; 0 without words
};

// Collects sentence by sentence. Not thread-safe.
class EntityScorer {
 public:
  // kLenient: seqeval's default mode. kStrict: mode="strict", scheme=IOB2.
  // `types`: entities of these alone take part, of what is expected and of what was predicted; empty: all do.
  explicit EntityScorer(TagSet tags, SpanReading reading = SpanReading::kLenient,
                        const std::vector<std::string>& types = {});
  // One sentence's tag ids; of the gold ones TagSet::kNone for a word of which nothing is known. INVALID_ARGUMENT if the
  // lengths differ or another id is not of the tag set.
  absl::Status Add(std::span<const int32_t> gold, std::span<const int32_t> predicted);
  EntityScores Scores() const;

 private:
  struct Counts {
    int64_t support = 0, predicted = 0, correct = 0;
  };
  TagSet tags_;
  SpanReading reading_;
  std::vector<TagSpan> Spans(std::span<const int32_t> sequence) const;

  std::vector<bool> counted_;   // by type
  std::vector<Counts> counts_;  // by type
  Counts boundaries_;           // of all types
  int64_t sentences_ = 0, words_ = 0, words_correct_ = 0;
};

}  // namespace engram::tagging
