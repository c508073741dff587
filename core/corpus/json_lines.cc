#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"
#include "core/corpus/lines.h"
#include "core/corpus/readers.h"
#include "core/corpus/row_errors.h"
#include "core/tagging/bio.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

using Json = nlohmann::json;

// What one row is, or why it is none.
struct JsonRow {
  DatasetKind kind = DatasetKind::kText;
  std::string text, label, problem;
  TaggedSentence sentence;
};

JsonRow Problem(std::string what) {
  JsonRow row;
  row.problem = std::move(what);
  return row;
}

// A label may be written as a number; its text is then the label.
std::optional<std::string> LabelText(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  return std::nullopt;
}

JsonRow WordsRow(const Json& json) {
  JsonRow row;
  row.kind = DatasetKind::kTagging;
  const auto words = json.find("words"), tags = json.find("tags");
  if (tags == json.end() || !words->is_array() || !tags->is_array() || words->size() != tags->size() ||
      words->empty()) {
    return Problem("needs \"words\" and \"tags\", two lists of the same length");
  }
  for (size_t i = 0; i < words->size(); ++i) {
    if (!(*words)[i].is_string() || !(*tags)[i].is_string()) return Problem("has a word or a tag that is no string");
    row.sentence.words.push_back((*words)[i].get<std::string>());
    row.sentence.tags.push_back((*tags)[i].get<std::string>());
    if (tagging::TrimWhiteSpace(row.sentence.words.back()).empty()) return Problem("has an empty word");
  }
  const auto problem = tagging::NormaliseTags(row.sentence.tags, tagging::TagScheme::kBio2).problem;
  if (problem) return Problem(absl::StrCat("word ", problem->word + 1, ": ", problem->message));
  const auto text = json.find("text");
  if (text != json.end() && !text->is_string()) return Problem("has a \"text\" that is no string");
  for (const std::string& word : row.sentence.words)
    absl::StrAppend(&row.sentence.text, row.sentence.text.empty() ? "" : " ", word);
  if (text != json.end()) row.sentence.text = text->get<std::string>();
  return row;
}

struct Span {
  int64_t start, end;
  std::string label;
};

// Entities in code points become BIO2 tags of the text's words.
JsonRow EntitiesRow(const std::string& text, const Json& entities) {
  JsonRow row;
  row.kind = DatasetKind::kTagging;
  if (!entities.is_array()) return Problem("has \"entities\" that are no list");
  const int64_t length = CountCodePoints(text);
  std::vector<Span> spans;
  for (const Json& entity : entities) {
    const bool whole = entity.is_object() && entity.contains("start") && entity.contains("end") &&
                       entity.contains("label") && entity["start"].is_number_integer() &&
                       entity["end"].is_number_integer() && entity["label"].is_string();
    if (!whole) return Problem("has an entity without \"start\", \"end\" (whole numbers) and \"label\"");
    Span span{entity["start"].get<int64_t>(), entity["end"].get<int64_t>(), entity["label"].get<std::string>()};
    if (span.start < 0 || span.end <= span.start || span.end > length) {
      return Problem(absl::StrCat("has an entity from ", span.start, " to ", span.end, ", outside of its ", length,
                                  " code points"));
    }
    if (const absl::Status name = tagging::ValidateTypeName(span.label); !name.ok()) {
      return Problem(std::string(name.message()));
    }
    spans.push_back(std::move(span));
  }
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.start < b.start; });
  std::vector<int64_t> boundaries;
  for (size_t i = 0; i < spans.size(); ++i) {
    if (i > 0 && spans[i].start < spans[i - 1].end) {
      return Problem(absl::StrCat("has entities that overlap at code point ", spans[i].start));
    }
    boundaries.push_back(spans[i].start);
    boundaries.push_back(spans[i].end);
  }
  boundaries.erase(std::unique(boundaries.begin(), boundaries.end()), boundaries.end());
  absl::StatusOr<std::vector<tagging::Word>> words = tagging::SplitWords(text);
  if (!words.ok()) return Problem("is not UTF-8");
  tagging::CutWords(text, &*words, boundaries);
  row.sentence.text = text;
  size_t next = 0;
  for (const tagging::Word& word : *words) {
    while (next < spans.size() && spans[next].end <= word.start) ++next;
    const bool inside = next < spans.size() && word.start >= spans[next].start;
    row.sentence.words.emplace_back(word.In(text));
    row.sentence.tags.push_back(
        !inside ? "O" : absl::StrCat(word.start == spans[next].start ? "B-" : "I-", spans[next].label));
  }
  // An entity that begins with white space has its first word later than its start.
  for (size_t i = 0; i < row.sentence.tags.size(); ++i) {
    std::string& tag = row.sentence.tags[i];
    if (tag[0] != 'I') continue;
    if (i == 0 || row.sentence.tags[i - 1] == "O" || row.sentence.tags[i - 1].substr(2) != tag.substr(2)) tag[0] = 'B';
  }
  if (row.sentence.words.empty()) return Problem("has no words");
  return row;
}

JsonRow ToRow(std::string_view line) {
  // The parser keeps the last of two equal keys; here neither is better than the other.
  std::set<std::string> seen;
  std::string repeated;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::key && depth == 1 && !seen.insert(value.get_ref<const std::string&>()).second)
      repeated = value.get_ref<const std::string&>();
    return true;
  };
  const Json json = Json::parse(line, check, /*allow_exceptions=*/false);
  if (json.is_discarded() || FindZeroByte(line)) return Problem("is not JSON");
  if (!repeated.empty()) return Problem(absl::StrCat("has ", Quoted(repeated), " twice"));
  if (!json.is_object()) return Problem("is not a JSON object");
  if (json.contains("words")) return WordsRow(json);
  const auto text = json.find("text");
  if (text == json.end()) return Problem("has no \"text\"");
  if (!text->is_string()) return Problem("has a \"text\" that is no string");
  JsonRow row;
  row.text = text->get<std::string>();
  if (tagging::TrimWhiteSpace(row.text).empty()) return Problem("has an empty \"text\"");
  if (const auto entities = json.find("entities"); entities != json.end()) return EntitiesRow(row.text, *entities);
  const auto label = json.find("label");
  if (label == json.end()) return row;
  const std::optional<std::string> name = LabelText(*label);
  if (!name) return Problem("has a \"label\" that is no string");
  if (tagging::TrimWhiteSpace(*name).empty()) return Problem("has an empty \"label\"");
  row.kind = DatasetKind::kClassification;
  row.label = *name;
  return row;
}

const char* KindName(DatasetKind kind) {
  return kind == DatasetKind::kClassification ? "a label" : kind == DatasetKind::kTagging ? "entities" : "text alone";
}

}  // namespace

absl::StatusOr<Dataset> ReadJsonLines(std::string_view text, std::string_view field) {
  Dataset dataset;
  RowErrors errors;
  bool first = true;
  ForEachLine(text, [&](int64_t number, std::string_view line) {
    if (tagging::TrimWhiteSpace(line).empty()) return;
    JsonRow row = ToRow(line);
    if (row.problem.empty() && first) {
      dataset.kind = row.kind;
      first = false;
    }
    if (row.problem.empty() && row.kind != dataset.kind) {
      row.problem = absl::StrCat("has ", KindName(row.kind), " where the first row has ", KindName(dataset.kind));
    }
    if (!row.problem.empty()) {
      errors.Add(number, row.problem);
    } else if (row.kind == DatasetKind::kTagging) {
      dataset.sentences.push_back(std::move(row.sentence));
    } else {
      dataset.texts.push_back(std::move(row.text));
      if (row.kind == DatasetKind::kClassification) dataset.labels.push_back(std::move(row.label));
    }
  });
  ENGRAM_RETURN_IF_ERROR(errors.ToStatus(field));
  return dataset;
}

}  // namespace engram::corpus
