#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/corpus/columns.h"
#include "core/corpus/place_index.h"
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

// `made`: holds the text where the data set has only its words.
RowText TextOf(const Dataset& dataset, size_t row, std::string& made) {
  if (HasTags(dataset.kind)) {
    made = dataset.sentences.text(row);
    return {made, {}};
  }
  return {dataset.texts[row], dataset.kind == DatasetKind::kPairs ? dataset.second_texts[row] : std::string_view()};
}

// The first row of each text of a data set, which outlives it.
class FirstRows {
 public:
  explicit FirstRows(const Dataset& dataset) : dataset_(dataset) {}

  std::optional<size_t> Find(const RowText& text) const {
    return index_.Find(Hash(text), [&](uint32_t row) {
      std::string made;
      return TextOf(dataset_, row, made) == text;
    });
  }
  // The first row with this row's text; itself if it is that.
  size_t Add(size_t row) {
    std::string made;
    const RowText text = TextOf(dataset_, row, made);
    if (const auto known = Find(text)) return *known;
    index_.Add(Hash(text), static_cast<uint32_t>(row), [&](uint32_t other) {
      std::string others;
      return Hash(TextOf(dataset_, other, others));
    });
    return row;
  }

 private:
  static size_t Hash(const RowText& text) { return absl::HashOf(AbslView(text.first), AbslView(text.second)); }

  const Dataset& dataset_;
  PlaceIndex index_;
};

std::string Shown(const RowText& text) {
  return text.second.empty() ? Quoted(text.first) : absl::StrCat(Quoted(text.first), " with ", Quoted(text.second));
}

void NoteConflicts(const Dataset& dataset, std::vector<Note>& notes) {
  FirstRows first_rows(dataset);
  std::vector<bool> conflicts(dataset.texts.size());  // by first row
  std::string shown, made;
  int64_t count = 0;
  for (size_t i = 0; i < dataset.texts.size(); ++i) {
    const size_t first = first_rows.Add(i);
    if (dataset.labels.number(first) == dataset.labels.number(i) || conflicts[first]) continue;
    conflicts[first] = true;
    if (++count <= 3) {
      absl::StrAppend(&shown, shown.empty() ? "" : "; ", Shown(TextOf(dataset, i, made)), " as ",
                      QuotedList({std::string(dataset.labels[first]), std::string(dataset.labels[i])}));
    }
  }
  if (count == 0) return;
  notes.push_back(
      {"LABELS_CONFLICT",
       absl::StrCat(count, " text(s) stand there under different labels: ", shown, count > 3 ? "; ..." : ""), count});
}

}  // namespace

std::vector<std::pair<std::string, int64_t>> CountLabels(const Dataset& dataset) {
  const NameList& list = HasTags(dataset.kind) ? dataset.sentences.all_tags() : dataset.labels;
  std::vector<int64_t> of_name(list.names().size());
  for (size_t i = 0; i < list.size(); ++i) ++of_name[list.number(i)];
  std::map<std::string, int64_t> counts;
  for (size_t name = 0; name < of_name.size(); ++name) {
    const std::string_view text = list.names()[name];
    if (dataset.kind != DatasetKind::kTagging) {
      counts.emplace(text, of_name[name]);
    } else if (text[0] == 'B') {
      counts.emplace(text.substr(2), of_name[name]);
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
  FirstRows known(training);
  for (int64_t i = 0; i < training.size(); ++i) known.Add(static_cast<size_t>(i));
  int64_t shared = 0;
  std::string shown, made;
  for (int64_t i = 0; i < part.size(); ++i) {
    const RowText text = TextOf(part, static_cast<size_t>(i), made);
    if (!known.Find(text)) continue;
    if (++shared <= 3) absl::StrAppend(&shown, shown.empty() ? "" : ", ", Shown(text));
  }
  if (shared == 0) return {};
  return {{which == "test" ? "TEST_IN_TRAINING" : "VALIDATION_IN_TRAINING",
           absl::StrCat(shared, " row(s) of the ", AbslView(which), " part also stand in the training part: ", shown,
                        shared > 3 ? "; ..." : ""),
           shared}};
}

}  // namespace engram::corpus
