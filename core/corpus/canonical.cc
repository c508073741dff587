#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/corpus/dataset.h"
#include "core/corpus/lines.h"
#include "core/tagging/bio.h"
#include "nlohmann/json.hpp"

namespace engram::corpus {
namespace {

using Json = nlohmann::json;

std::optional<std::string> TextAt(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

bool TextsAt(const Json& row, const char* key, std::vector<std::string>& out) {
  const auto found = row.find(key);
  if (found == row.end() || !found->is_array()) return false;
  for (const Json& item : *found) {
    if (!item.is_string()) return false;
    out.push_back(item.get<std::string>());
  }
  return !out.empty();
}

constexpr const char *kSecondText = "second_text", *kWordTags = "word_tags";

const char* TagsKey(DatasetKind kind) { return kind == DatasetKind::kWordTags ? kWordTags : "tags"; }

DatasetKind KindOf(const Json& row) {
  if (row.contains("words")) return row.contains(kWordTags) ? DatasetKind::kWordTags : DatasetKind::kTagging;
  if (row.contains(kSecondText)) return DatasetKind::kPairs;
  return row.contains("label") ? DatasetKind::kClassification : DatasetKind::kText;
}

bool AreTags(DatasetKind kind, const std::vector<std::string>& tags) {
  if (kind == DatasetKind::kTagging) {
    return tagging::UnknownTags(tags).empty() && tagging::Deviations(tags, tagging::TagScheme::kBio2).empty();
  }
  return std::all_of(tags.begin(), tags.end(),
                     [](const std::string& tag) { return tagging::ValidateTypeName(tag).ok(); });
}

// Adds one stored row; false if it is not as RenderCanonical writes it.
bool AddRow(std::string_view line, Dataset& dataset) {
  const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object()) return false;
  std::optional<std::string> text = TextAt(row, "text");
  if (!text) return false;
  const DatasetKind kind = KindOf(row);
  if (dataset.size() == 0) dataset.kind = kind;
  if (kind != dataset.kind) return false;
  if (HasTags(kind)) {
    TaggedSentence sentence{std::move(*text), {}, {}};
    if (!TextsAt(row, "words", sentence.words) || !TextsAt(row, TagsKey(kind), sentence.tags) ||
        sentence.words.size() != sentence.tags.size() || !AreTags(kind, sentence.tags)) {
      return false;
    }
    dataset.sentences.push_back(std::move(sentence));
    return true;
  }
  if (HasLabels(kind)) {
    std::optional<std::string> label = TextAt(row, "label");
    if (!label) return false;
    dataset.labels.push_back(std::move(*label));
  }
  if (kind == DatasetKind::kPairs) {
    std::optional<std::string> second = TextAt(row, kSecondText);
    if (!second) return false;
    dataset.second_texts.push_back(std::move(*second));
  }
  dataset.texts.push_back(std::move(*text));
  return true;
}

}  // namespace

std::string RenderCanonical(const Dataset& dataset) {
  std::string out;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const auto row = static_cast<size_t>(i);
    nlohmann::ordered_json json;
    if (HasTags(dataset.kind)) {
      const TaggedSentence& sentence = dataset.sentences[row];
      json = {{"text", sentence.text}, {"words", sentence.words}, {TagsKey(dataset.kind), sentence.tags}};
    } else {
      json["text"] = dataset.texts[row];
      if (dataset.kind == DatasetKind::kPairs) json[kSecondText] = dataset.second_texts[row];
      if (HasLabels(dataset.kind)) json["label"] = dataset.labels[row];
    }
    out += json.dump();
    out += '\n';
  }
  return out;
}

absl::StatusOr<Dataset> ParseCanonical(std::string_view bytes) {
  Dataset dataset;
  bool whole = true;
  ForEachLine(bytes, [&](int64_t, std::string_view line) { whole = whole && AddRow(line, dataset); });
  if (!whole) return absl::DataLossError("a stored data set is damaged; delete it and upload it again");
  return dataset;
}

}  // namespace engram::corpus
