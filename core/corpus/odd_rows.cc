#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/corpus/columns.h"
#include "core/corpus/reading.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

// Without white space at its ends, single spaces inside, lower case (ASCII).
std::string Folded(std::string_view label) {
  std::string folded;
  for (const char c : absl::AsciiStrToLower(AbslView(tagging::TrimWhiteSpace(label)))) {
    const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    if (!space) {
      folded += c;
    } else if (!folded.ends_with(' ')) {
      folded += ' ';
    }
  }
  return folded;
}

void NoteSpellings(const std::vector<std::string>& labels, std::vector<Note>& notes) {
  std::map<std::string, std::vector<std::string>> spellings;
  for (const std::string& label : labels) spellings[Folded(label)].push_back(label);
  std::string several;
  int64_t count = 0;
  std::vector<std::string> spaced;
  for (const auto& [folded, group] : spellings) {
    if (group.size() > 1) {
      if (++count <= 5) absl::StrAppend(&several, several.empty() ? "" : "; ", QuotedList(group));
    } else if (tagging::TrimWhiteSpace(group[0]).size() != group[0].size()) {
      spaced.push_back(group[0]);
    }
  }
  if (count > 0) {
    notes.push_back({"LABEL_SPELLINGS",
                     absl::StrCat("labels that differ in case or spaces alone are different labels: ", several,
                                  count > 5 ? "; and more" : ""),
                     count});
  }
  if (!spaced.empty()) {
    notes.push_back({"LABEL_SPACES", absl::StrCat("labels with spaces at an end: ", QuotedList(spaced)),
                     static_cast<int64_t>(spaced.size())});
  }
}

void NoteMissing(const std::vector<std::pair<std::string, int64_t>>& counts, std::vector<Note>& notes) {
  static const std::set<std::string> kMissing = {"nan", "none", "null", "n/a", "na", "<na>", "undefined", "-", "?"};
  for (const auto& [label, count] : counts) {
    if (!kMissing.contains(Folded(label))) continue;
    notes.push_back(
        {"LABEL_NAN",
         absl::StrCat("the label ", Quoted(label), " (", count, " rows) reads like a missing value: is it a label?"),
         count});
  }
}

// What a row is of, as far as texts are the same: its text, or both of a pair.
using RowText = std::pair<std::string_view, std::string_view>;

struct RowTextHash {
  size_t operator()(const RowText& text) const {
    constexpr std::hash<std::string_view> hash;
    return hash(text.first) * 31 + hash(text.second);
  }
};

RowText TextOf(const Dataset& dataset, int64_t row) {
  const auto i = static_cast<size_t>(row);
  if (HasTags(dataset.kind)) return {dataset.sentences[i].text, {}};
  return {dataset.texts[i], dataset.kind == DatasetKind::kPairs ? std::string_view(dataset.second_texts[i]) : ""};
}

std::string Shown(const RowText& text) {
  return text.second.empty() ? Quoted(text.first) : absl::StrCat(Quoted(text.first), " with ", Quoted(text.second));
}

void NoteConflicts(const Dataset& dataset, std::vector<Note>& notes) {
  std::unordered_map<RowText, const std::string*, RowTextHash> label_of;
  std::unordered_set<RowText, RowTextHash> conflicts;
  std::string shown;
  for (size_t i = 0; i < dataset.texts.size(); ++i) {
    const RowText text = TextOf(dataset, static_cast<int64_t>(i));
    const auto [known, added] = label_of.emplace(text, &dataset.labels[i]);
    if (added || *known->second == dataset.labels[i] || !conflicts.insert(text).second) continue;
    if (conflicts.size() <= 3) {
      absl::StrAppend(&shown, shown.empty() ? "" : "; ", Shown(text), " as ",
                      QuotedList({*known->second, dataset.labels[i]}));
    }
  }
  if (conflicts.empty()) return;
  const auto count = static_cast<int64_t>(conflicts.size());
  notes.push_back(
      {"LABELS_CONFLICT",
       absl::StrCat(count, " text(s) stand there under different labels: ", shown, count > 3 ? "; ..." : ""), count});
}

}  // namespace

std::vector<std::pair<std::string, int64_t>> CountLabels(const Dataset& dataset) {
  std::map<std::string, int64_t> counts;
  for (const std::string& label : dataset.labels) ++counts[label];
  for (const TaggedSentence& sentence : dataset.sentences) {
    for (const std::string& tag : sentence.tags) {
      if (dataset.kind == DatasetKind::kWordTags) {
        ++counts[tag];
      } else if (tag[0] == 'B') {
        ++counts[tag.substr(2)];
      }
    }
  }
  return {counts.begin(), counts.end()};
}

std::vector<Note> OddRows(const Dataset& dataset) {
  std::vector<Note> notes;
  const auto counts = CountLabels(dataset);
  std::vector<std::string> labels;
  for (const auto& [label, count] : counts) labels.push_back(label);
  NoteSpellings(labels, notes);
  if (!HasLabels(dataset.kind)) return notes;
  NoteMissing(counts, notes);
  const auto distinct = static_cast<int64_t>(labels.size());
  if (distinct * 10 > dataset.size()) {
    notes.push_back({"MANY_LABELS",
                     absl::StrCat(distinct, " labels for ", dataset.size(),
                                  " rows: fewer than ten rows per label, or the column is no label"),
                     distinct});
  }
  NoteConflicts(dataset, notes);
  return notes;
}

std::vector<Note> SharedRows(const Dataset& training, const Dataset& part, std::string_view which) {
  std::unordered_set<RowText, RowTextHash> known;
  for (int64_t i = 0; i < training.size(); ++i) known.insert(TextOf(training, i));
  int64_t shared = 0;
  std::string shown;
  for (int64_t i = 0; i < part.size(); ++i) {
    const RowText text = TextOf(part, i);
    if (!known.contains(text)) continue;
    if (++shared <= 3) absl::StrAppend(&shown, shown.empty() ? "" : ", ", Shown(text));
  }
  if (shared == 0) return {};
  return {{which == "test" ? "TEST_IN_TRAINING" : "VALIDATION_IN_TRAINING",
           absl::StrCat(shared, " row(s) of the ", AbslView(which), " part also stand in the training part: ", shown,
                        shared > 3 ? "; ..." : ""),
           shared}};
}

}  // namespace engram::corpus
