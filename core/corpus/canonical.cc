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

constexpr const char *kSecondText = "second_text", *kWordTags = "word_tags", *kDocument = "document";

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

// Adds the document of the row that follows those that are there; false if it is no text.
bool AddDocument(const Json& row, Dataset& dataset) {
  if (!row.contains(kDocument)) {
    if (!dataset.documents.empty()) dataset.documents.push_back("");
    return true;
  }
  const std::optional<std::string> document = TextAt(row, kDocument);
  if (!document || document->empty()) return false;
  while (static_cast<int64_t>(dataset.documents.size()) < dataset.size()) dataset.documents.push_back("");
  dataset.documents.push_back(*document);
  return true;
}

// Adds one stored row; false if it is not as RenderCanonical writes it.
bool AddRow(std::string_view line, Dataset& dataset) {
  const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object()) return false;
  std::optional<std::string> text = TextAt(row, "text");
  if (!text) return false;
  const DatasetKind kind = KindOf(row);
  if (dataset.size() == 0) dataset.kind = kind;
  if (kind != dataset.kind || !AddDocument(row, dataset)) return false;
  if (HasTags(kind)) {
    TaggedSentence sentence{std::move(*text), {}, {}};
    if (!TextsAt(row, "words", sentence.words) || !TextsAt(row, TagsKey(kind), sentence.tags) ||
        sentence.words.size() != sentence.tags.size() || !AreTags(kind, sentence.tags)) {
      return false;
    }
    dataset.sentences.push_back(sentence);
    return true;
  }
  if (HasLabels(kind)) {
    std::optional<std::string> label = TextAt(row, "label");
    if (!label) return false;
    dataset.labels.push_back(*label);
  }
  if (kind == DatasetKind::kPairs) {
    std::optional<std::string> second = TextAt(row, kSecondText);
    if (!second) return false;
    dataset.second_texts.push_back(*second);
  }
  dataset.texts.push_back(*text);
  return true;
}

// ,"key":"text" or {"key":"text". `text` is UTF-8.
void AppendText(const char* lead, std::string_view text, std::string& out) {
  out += lead;
  out += Json(text).dump();
}

void AppendTexts(const char* lead, const std::vector<std::string>& texts, std::string& out) {
  out += lead;
  for (const std::string& text : texts) AppendText(&text == texts.data() ? "[" : ",", text, out);
  out += ']';
}

void AppendRow(const Dataset& dataset, size_t row, std::string& out) {
  if (HasTags(dataset.kind)) {
    const TaggedSentence sentence = dataset.sentences[row];
    AppendText(R"({"text":)", sentence.text, out);
    AppendTexts(R"(,"words":)", sentence.words, out);
    AppendTexts(dataset.kind == DatasetKind::kWordTags ? R"(,"word_tags":)" : R"(,"tags":)", sentence.tags, out);
  } else {
    AppendText(R"({"text":)", dataset.texts[row], out);
    if (dataset.kind == DatasetKind::kPairs) AppendText(R"(,"second_text":)", dataset.second_texts[row], out);
    if (HasLabels(dataset.kind)) AppendText(R"(,"label":)", dataset.labels[row], out);
  }
  if (!dataset.documents.empty() && !dataset.documents[row].empty())
    AppendText(R"(,"document":)", dataset.documents[row], out);
  out += "}\n";
}

}  // namespace

absl::Status RenderCanonical(const Dataset& dataset, const ByteSink& sink) {
  constexpr size_t kPieceBytes = size_t{256} << 10;
  std::string piece;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    AppendRow(dataset, static_cast<size_t>(i), piece);
    if (piece.size() < kPieceBytes) continue;
    ENGRAM_RETURN_IF_ERROR(sink(piece));
    piece.clear();
  }
  return piece.empty() ? absl::OkStatus() : sink(piece);
}

std::string RenderCanonical(const Dataset& dataset) {
  std::string out;
  RenderCanonical(dataset, [&](std::string_view piece) {
    out += piece;
    return absl::OkStatus();
  }).IgnoreError();  // a string takes every piece
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
