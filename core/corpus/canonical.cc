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

// Adds one stored row; false if it is not as RenderCanonical writes it.
bool AddRow(std::string_view line, Dataset& dataset) {
  const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object()) return false;
  std::optional<std::string> text = TextAt(row, "text");
  if (!text) return false;
  const DatasetKind kind = row.contains("words")   ? DatasetKind::kTagging
                           : row.contains("label") ? DatasetKind::kClassification
                                                   : DatasetKind::kText;
  if (dataset.size() == 0) dataset.kind = kind;
  if (kind != dataset.kind) return false;
  if (kind == DatasetKind::kTagging) {
    TaggedSentence sentence{std::move(*text), {}, {}};
    if (!TextsAt(row, "words", sentence.words) || !TextsAt(row, "tags", sentence.tags) ||
        sentence.words.size() != sentence.tags.size() || !tagging::UnknownTags(sentence.tags).empty() ||
        !tagging::Deviations(sentence.tags, tagging::TagScheme::kBio2).empty()) {
      return false;
    }
    dataset.sentences.push_back(std::move(sentence));
    return true;
  }
  if (kind == DatasetKind::kClassification) {
    std::optional<std::string> label = TextAt(row, "label");
    if (!label) return false;
    dataset.labels.push_back(std::move(*label));
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
    if (dataset.kind == DatasetKind::kTagging) {
      const TaggedSentence& sentence = dataset.sentences[row];
      json = {{"text", sentence.text}, {"words", sentence.words}, {"tags", sentence.tags}};
    } else {
      json["text"] = dataset.texts[row];
      if (dataset.kind == DatasetKind::kClassification) json["label"] = dataset.labels[row];
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
