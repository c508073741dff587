#include "core/corpus/folds.h"

#include <unicode/unistr.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"

namespace engram::corpus {
namespace {

// What two rows of one group have in common. Parts with their lengths: no two different rows have one key.
std::string TextKey(const Dataset& dataset, size_t row) {
  if (HasTags(dataset.kind)) {
    std::string key;
    const TaggedSentence sentence = dataset.sentences[row];
    for (const std::string& word : sentence.words) absl::StrAppend(&key, word.size(), ":", word);
    return key;
  }
  if (dataset.kind != DatasetKind::kPairs) return std::string(dataset.texts[row]);
  return absl::StrCat(dataset.texts[row].size(), ":", AbslView(dataset.texts[row]),
                      AbslView(dataset.second_texts[row]));
}

std::string FoldCase(const std::string& text) {
  std::string folded;
  icu::UnicodeString::fromUTF8(text).foldCase().toUTF8String(folded);
  return folded;
}

// The entities of a sentence as (type, words with single spaces between them).
std::vector<std::pair<std::string, std::string>> EntitiesOf(const TaggedSentence& sentence) {
  std::vector<std::pair<std::string, std::string>> entities;
  for (size_t i = 0; i < sentence.tags.size(); ++i) {
    const std::string& tag = sentence.tags[i];
    if (tag.starts_with("B-")) entities.emplace_back(tag.substr(2), sentence.words[i]);
    if (tag.starts_with("I-") && !entities.empty()) absl::StrAppend(&entities.back().second, " ", sentence.words[i]);
  }
  return entities;
}

std::vector<std::vector<int32_t>> LabelsOfRows(const Dataset& dataset) {
  std::map<std::string, int32_t, std::less<>> numbers;
  const auto number = [&](std::string_view label) {
    return numbers.emplace(label, static_cast<int32_t>(numbers.size())).first->second;
  };
  std::vector<std::vector<int32_t>> labels(static_cast<size_t>(dataset.size()));
  for (size_t row = 0; row < labels.size(); ++row) {
    if (HasLabels(dataset.kind)) labels[row].push_back(number(dataset.labels[row]));
    if (dataset.kind == DatasetKind::kTagging) {
      for (const auto& [type, words] : EntitiesOf(dataset.sentences[row])) labels[row].push_back(number(type));
    }
    if (dataset.kind == DatasetKind::kWordTags) {
      const std::vector<std::string> tags = dataset.sentences.tags(row);
      for (const std::string& tag : tags) labels[row].push_back(number(tag));
    }
  }
  return labels;
}

// A group to be dealt. Label 0 stands for the rows themselves.
struct Group {
  std::vector<int64_t> rows;  // places in what is dealt
  std::vector<std::pair<size_t, double>> counts;
};

std::vector<Group> MakeGroups(std::span<const int64_t> groups, std::span<const std::vector<int32_t>> labels) {
  std::map<int64_t, size_t> places;
  std::vector<Group> made;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto [at, added] = places.emplace(groups[i], made.size());
    if (added) made.emplace_back();
    made[at->second].rows.push_back(static_cast<int64_t>(i));
  }
  for (Group& group : made) {
    std::map<size_t, double> counts = {{0, static_cast<double>(group.rows.size())}};
    for (const int64_t row : group.rows) {
      for (const int32_t label : labels[static_cast<size_t>(row)]) ++counts[static_cast<size_t>(label) + 1];
    }
    group.counts.assign(counts.begin(), counts.end());
  }
  return made;
}

void Shuffle(std::vector<Group>& groups, uint64_t seed, uint64_t step) {
  RandomStream random(seed, RandomPurpose::kFolds, step);
  for (size_t i = groups.size(); i > 1; --i) std::swap(groups[i - 1], groups[random.NextBelow(i)]);
}

absl::Status TooFewGroups(int64_t groups, int32_t folds) {
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GROUPS",
                          absl::StrCat("the training part has ", groups, groups == 1 ? " group" : " groups",
                                       " of rows (those of one document, or with the same text, are one), and ", folds,
                                       " folds need as many: ask for fewer folds, or upload more texts"));
}

// The rows that may be trained on when those of `test` are measured.
std::vector<int64_t> WithoutTerms(const std::vector<std::set<std::string>>& terms, const std::vector<int64_t>& rows,
                                  const std::vector<int64_t>& test) {
  std::set<std::string> held_out;
  for (const int64_t row : test)
    held_out.insert(terms[static_cast<size_t>(row)].begin(), terms[static_cast<size_t>(row)].end());
  std::vector<int64_t> kept;
  for (const int64_t row : rows) {
    const std::set<std::string>& own = terms[static_cast<size_t>(row)];
    if (std::none_of(own.begin(), own.end(), [&](const std::string& term) { return held_out.contains(term); }))
      kept.push_back(row);
  }
  return kept;
}

// Moves a part of fold.training into fold.development.
absl::Status HoldOutDevelopment(std::span<const int64_t> groups, std::span<const std::vector<int32_t>> labels,
                                const FoldOptions& options, uint64_t step, Fold& fold) {
  std::vector<int64_t> own_groups;
  std::vector<std::vector<int32_t>> own_labels;
  for (const int64_t row : fold.training) {
    own_groups.push_back(groups[static_cast<size_t>(row)]);
    own_labels.push_back(labels[static_cast<size_t>(row)]);
  }
  const auto distinct = static_cast<int64_t>(std::set<int64_t>(own_groups.begin(), own_groups.end()).size());
  const int64_t parts = std::min<int64_t>(distinct, std::llround(1 / options.development_fraction));
  if (parts < 2) return TooFewGroups(distinct, 2);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int32_t> part,
                          DealFolds(own_groups, own_labels, static_cast<int32_t>(parts), options.seed, step));
  std::vector<int64_t> training;
  // The last part: groups that cannot be dealt evenly go to the first ones.
  for (size_t i = 0; i < part.size(); ++i)
    (part[i] == parts - 1 ? fold.development : training).push_back(fold.training[i]);
  fold.training = std::move(training);
  return absl::OkStatus();
}

}  // namespace

std::vector<int64_t> GroupsOfRows(const Dataset& dataset) {
  const auto rows = static_cast<size_t>(dataset.size());
  std::vector<size_t> above(rows);  // a row of the same group that is not behind it; of the group's first row itself
  std::iota(above.begin(), above.end(), size_t{0});
  const auto first_of = [&above](size_t row) {
    while (above[row] != row) row = above[row] = above[above[row]];
    return row;
  };
  const auto join = [&](size_t a, size_t b) {
    a = first_of(a);
    b = first_of(b);
    above[std::max(a, b)] = std::min(a, b);
  };
  std::map<std::string, size_t> texts;  // the first row of each
  std::map<uint32_t, size_t> documents;
  for (size_t row = 0; row < rows; ++row) {
    join(texts.emplace(TextKey(dataset, row), row).first->second, row);
    if (!dataset.documents.empty() && !dataset.documents[row].empty())
      join(documents.emplace(dataset.documents.number(row), row).first->second, row);
  }
  std::map<size_t, int64_t> numbers;
  std::vector<int64_t> groups;
  for (size_t row = 0; row < rows; ++row) {
    const auto next = static_cast<int64_t>(numbers.size());
    groups.push_back(numbers.emplace(first_of(row), next).first->second);
  }
  return groups;
}

absl::StatusOr<std::vector<int32_t>> DealFolds(std::span<const int64_t> groups,
                                               std::span<const std::vector<int32_t>> labels, int32_t folds,
                                               uint64_t seed, uint64_t step) {
  std::vector<Group> dealt = MakeGroups(groups, labels);
  if (static_cast<int64_t>(dealt.size()) < folds) return TooFewGroups(static_cast<int64_t>(dealt.size()), folds);
  Shuffle(dealt, seed, step);
  std::stable_sort(dealt.begin(), dealt.end(),
                   [](const Group& a, const Group& b) { return a.rows.size() > b.rows.size(); });
  std::vector<double> totals;
  for (const Group& group : dealt) {
    for (const auto& [label, count] : group.counts) {
      totals.resize(std::max(totals.size(), label + 1));
      totals[label] += count;
    }
  }
  std::vector<std::vector<double>> held(static_cast<size_t>(folds), std::vector<double>(totals.size()));
  std::vector<int32_t> fold_of(groups.size());
  for (const Group& group : dealt) {
    // What the group adds to a fold's sum of squares, but for its own square, which is the same in every fold.
    const auto added = [&](size_t fold) {
      double sum = 0;
      for (const auto& [label, count] : group.counts)
        sum += held[fold][label] * count / (totals[label] * totals[label]);
      return sum;
    };
    size_t best = 0;
    double least = added(0);
    for (size_t fold = 1; fold < held.size(); ++fold) {
      if (const double sum = added(fold); sum < least) least = sum, best = fold;
    }
    for (const auto& [label, count] : group.counts) held[best][label] += count;
    for (const int64_t row : group.rows) fold_of[static_cast<size_t>(row)] = static_cast<int32_t>(best);
  }
  return fold_of;
}

absl::StatusOr<FoldPlan> PlanFolds(const Dataset& dataset, const FoldOptions& options) {
  const std::vector<int64_t> groups = GroupsOfRows(dataset);
  const std::vector<std::vector<int32_t>> labels = LabelsOfRows(dataset);
  std::vector<std::set<std::string>> terms;
  if (options.term_held_out) {
    if (dataset.kind != DatasetKind::kTagging)
      return InvalidField("term_held_out", "is for taggers of entities; the data set has none");
    for (size_t row = 0; row < dataset.sentences.size(); ++row) {
      const TaggedSentence sentence = dataset.sentences[row];
      std::set<std::string>& own = terms.emplace_back();
      for (const auto& [type, words] : EntitiesOf(sentence)) own.insert(FoldCase(words));
    }
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int32_t> fold_of,
                          DealFolds(groups, labels, options.folds, options.seed, /*step=*/0));
  FoldPlan plan;
  plan.groups = static_cast<int64_t>(std::set<int64_t>(groups.begin(), groups.end()).size());
  for (int32_t number = 0; number < options.folds; ++number) {
    Fold& fold = plan.folds.emplace_back();
    for (size_t row = 0; row < fold_of.size(); ++row)
      (fold_of[row] == number ? fold.test : fold.training).push_back(static_cast<int64_t>(row));
    if (options.term_held_out) {
      std::vector<int64_t> kept = WithoutTerms(terms, fold.training, fold.test);
      fold.left_out = static_cast<int64_t>(fold.training.size() - kept.size());
      fold.training = std::move(kept);
    }
    if (fold.training.empty()) {
      return InvalidField("term_held_out", absl::StrCat("leaves no row to train on in fold ", number + 1,
                                                        ": each has an entity that occurs in the fold"));
    }
    if (options.development_fraction > 0) {
      ENGRAM_RETURN_IF_ERROR(HoldOutDevelopment(groups, labels, options, static_cast<uint64_t>(number) + 1, fold));
    }
  }
  return plan;
}

Dataset SelectRows(const Dataset& dataset, std::span<const int64_t> rows) {
  Dataset selected;
  selected.kind = dataset.kind;
  for (const int64_t row : rows) {
    const auto at = static_cast<size_t>(row);
    if (!dataset.documents.empty()) selected.documents.push_back(dataset.documents[at]);
    if (HasTags(dataset.kind)) {
      selected.sentences.push_back(dataset.sentences[at]);
      continue;
    }
    selected.texts.push_back(dataset.texts[at]);
    if (HasLabels(dataset.kind)) selected.labels.push_back(dataset.labels[at]);
    if (dataset.kind == DatasetKind::kPairs) selected.second_texts.push_back(dataset.second_texts[at]);
  }
  return selected;
}

}  // namespace engram::corpus
