#include "core/corpus/dataset.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/tagging/bio.h"

namespace engram::corpus {
std::vector<std::string> DistinctLabels(const Dataset& dataset) {
  std::set<std::string_view> labels;
  for (const std::string_view label : dataset.labels.names()) labels.insert(label);
  for (const std::string_view tag : dataset.sentences.all_tags().names()) {
    if (dataset.kind == DatasetKind::kWordTags) {
      labels.insert(tag);
    } else if (tag != "O" && tag != tagging::kMissingTag) {
      labels.insert(tag.substr(2));
    }
  }
  return {labels.begin(), labels.end()};
}

void DropSingleDocuments(Dataset& dataset) {
  std::vector<bool> seen(dataset.documents.names().size());
  for (size_t row = 0; row < dataset.documents.size(); ++row) {
    if (dataset.documents[row].empty()) continue;
    if (seen[dataset.documents.number(row)]) return;
    seen[dataset.documents.number(row)] = true;
  }
  dataset.documents.clear();
}

absl::Status CheckTrainingPart(const Dataset& training) {
  const std::vector<std::string> labels = DistinctLabels(training);
  if (HasLabels(training.kind) && labels.size() < 2) {
    return InvalidField("training",
                        absl::StrCat("has one label only (\"", labels[0], "\"); a classifier needs at least two"));
  }
  if (training.kind == DatasetKind::kWordTags && labels.size() < 2) {
    return InvalidField("training",
                        absl::StrCat("has one tag only (\"", labels[0], "\"); a tagger needs at least two"));
  }
  if (training.kind == DatasetKind::kTagging && labels.empty()) {
    return InvalidField("training", "has no entity: every tag is O; a tagger needs at least one");
  }
  return absl::OkStatus();
}

absl::Status CheckFurtherPart(const Dataset& training, const Dataset& part, std::string_view which) {
  if (training.kind != part.kind) return InvalidField(which, "has rows of another kind than the training part");
  const std::vector<std::string> known = DistinctLabels(training);
  std::vector<std::string> unknown;
  for (const std::string& label : DistinctLabels(part)) {
    if (!std::binary_search(known.begin(), known.end(), label)) unknown.push_back(absl::StrCat("\"", label, "\""));
  }
  if (unknown.empty()) return absl::OkStatus();
  const size_t shown = std::min<size_t>(unknown.size(), 20);
  return InvalidField(
      which, absl::StrCat("has ", unknown.size(), " label(s) that the training part does not have: ",
                          absl::StrJoin(unknown.begin(), unknown.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                          shown < unknown.size() ? ", ..." : "",
                          "; correct them, or add rows of these labels to the training part"));
}

}  // namespace engram::corpus
