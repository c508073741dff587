#include "core/corpus/entity_rows.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"
#include "core/corpus/columns.h"
#include "core/tagging/bio.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

using Json = nlohmann::json;

struct Span {
  int64_t start = 0, end = 0;
  std::string label, surface;
};

constexpr const char* kIncomplete = "has an entity without \"start\", \"end\" (whole numbers) and \"label\"";

// The first key of `names` that the entity has.
template <size_t kSize>
const Json* FirstOf(const Json& entity, const std::array<const char*, kSize>& names) {
  for (const char* name : names) {
    if (const auto found = entity.find(name); found != entity.end()) return &*found;
  }
  return nullptr;
}

constexpr std::array kStarts = {"start", "start_offset", "start_char", "begin"};
constexpr std::array kEnds = {"end", "end_offset", "end_char"};
constexpr std::array kLabels = {"label", "type", "entity", "entity_group", "tag", "class"};
constexpr std::array kSurfaces = {"text", "word", "surface", "value"};
// What tools write beside: no annotation of the text's own.
constexpr std::array kBookkeeping = {"id", "token_start", "token_end", "score", "source", "input_hash"};

bool Known(const std::string& key) {
  const auto has = [&](const auto& names) { return std::find(names.begin(), names.end(), key) != names.end(); };
  return has(kStarts) || has(kEnds) || has(kLabels) || has(kSurfaces) || has(kBookkeeping);
}

// A span, or why it is none.
std::string ReadSpan(const Json& entity, bool others_named, Span& span) {
  const bool triple = entity.is_array() && entity.size() == 3;
  if (!triple && !entity.is_object()) return kIncomplete;
  const Json* start = triple ? &entity[0] : FirstOf(entity, kStarts);
  const Json* end = triple ? &entity[1] : FirstOf(entity, kEnds);
  const Json* label = triple ? &entity[2] : FirstOf(entity, kLabels);
  if (start == nullptr || end == nullptr || label == nullptr || !start->is_number_integer() ||
      !end->is_number_integer() || !label->is_string()) {
    return kIncomplete;
  }
  span.start = start->get<int64_t>();
  span.end = end->get<int64_t>();
  span.label = label->get<std::string>();
  if (triple) return "";
  if (const Json* surface = FirstOf(entity, kSurfaces); surface != nullptr && surface->is_string())
    span.surface = surface->get<std::string>();
  std::vector<std::string> unread;
  for (const auto& [key, value] : entity.items()) {
    if (!Known(key) && !value.is_null() && !value.empty()) unread.push_back(key);
  }
  if (unread.empty() || others_named) return "";
  return absl::StrCat("has entities with keys that would not be read: ", QuotedList(unread),
                      "; leave them out with --kind tagging");
}

// Byte offsets of code points, asked in ascending order.
class ByteFinder {
 public:
  explicit ByteFinder(std::string_view text) : text_(text) {}
  size_t At(int64_t code_point) {
    for (; place_ < code_point && at_ < text_.size(); ++place_) DecodeUtf8(text_, at_);
    return at_;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
  int64_t place_ = 0;
};

std::string CheckSpans(const std::string& text, std::vector<Span>& spans) {
  const int64_t length = CountCodePoints(text);
  for (const Span& span : spans) {
    if (span.start < 0 || span.end <= span.start || span.end > length) {
      return absl::StrCat("has an entity from ", span.start, " to ", span.end, ", outside of its ", length,
                          " code points");
    }
    if (const absl::Status name = tagging::ValidateTypeName(span.label); !name.ok()) return std::string(name.message());
  }
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.start < b.start; });
  ByteFinder bytes(text);
  for (size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    if (i > 0 && span.start < spans[i - 1].end)
      return absl::StrCat("has entities that overlap at code point ", span.start);
    const size_t begin = bytes.At(span.start), end = bytes.At(span.end);
    const std::string_view there = std::string_view(text).substr(begin, end - begin);
    if (!span.surface.empty() && tagging::TrimWhiteSpace(there) != tagging::TrimWhiteSpace(span.surface)) {
      return absl::StrCat("has the entity ", Quoted(span.surface), " from ", span.start, " to ", span.end,
                          ", where the text has ", Quoted(there), "; places are code points, the end exclusive");
    }
  }
  return "";
}

// Words [begin, end) of a text.
struct WordRange {
  size_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

// The words that the span touches.
WordRange Touched(const std::vector<tagging::Word>& words, const Span& span) {
  const auto begin = std::partition_point(words.begin(), words.end(),
                                          [&](const tagging::Word& word) { return word.end <= span.start; });
  const auto end =
      std::partition_point(begin, words.end(), [&](const tagging::Word& word) { return word.start < span.end; });
  return {static_cast<size_t>(begin - words.begin()), static_cast<size_t>(end - words.begin())};
}

// Those of them that lie inside of it whole.
WordRange Whole(const std::vector<tagging::Word>& words, const Span& span, WordRange touched) {
  if (touched.empty()) return touched;
  if (words[touched.begin].start < span.start) ++touched.begin;
  if (!touched.empty() && words[touched.end - 1].end > span.end) --touched.end;
  return touched;
}

void Append(const Span& span, std::string_view what, std::string& list) {
  constexpr size_t kMostBytes = 400;
  if (list.size() > kMostBytes) {
    if (!list.ends_with(", ...")) list += ", ...";
    return;
  }
  absl::StrAppend(&list, list.empty() ? "" : ", ", Quoted(span.label), " from ", span.start, " to ", span.end,
                  AbslView(what));
}

// Tags the words of spans, which ascend and do not overlap.
class WordTagger {
 public:
  WordTagger(const std::vector<tagging::Word>& words, const EntityRowOptions& options, EntityRow& row)
      : words_(words), options_(options), row_(row) {
    row_.sentence.tags.assign(words.size(), options.unknown ? std::string(tagging::kMissingTag) : "O");
  }

  void Add(const Span& span) {
    const WordRange touched = Touched(words_, span), whole = Whole(words_, span, touched);
    if (touched.empty()) return Append(span, "", row_.without_word);
    const bool aligned = touched.begin == whole.begin && touched.end == whole.end;
    const bool expand = options_.misaligned == SpanAlignment::kExpand;
    const WordRange range = expand ? touched : whole;
    // A word that an entity before it has stays that one's.
    const bool taken = touched.begin < taken_, left_out = range.empty() || (expand && taken);
    if (!aligned || left_out) Append(span, left_out ? " (left out)" : "", row_.misaligned);
    for (size_t i = std::max(touched.begin, taken_); i < touched.end; ++i) row_.sentence.tags[i] = tagging::kMissingTag;
    if (left_out) return;
    for (size_t i = range.begin; i < range.end; ++i)
      row_.sentence.tags[i] = absl::StrCat(i == range.begin ? "B-" : "I-", span.label);
    taken_ = range.end;
  }

 private:
  const std::vector<tagging::Word>& words_;
  const EntityRowOptions& options_;
  EntityRow& row_;
  size_t taken_ = 0;  // words before this one may be of an entity
};

// Cuts words where spans begin or end, and lists the spans that this concerns.
void CutMisaligned(const std::string& text, const std::vector<Span>& spans, std::vector<tagging::Word>& words,
                   EntityRow& row) {
  std::vector<int64_t> boundaries;
  for (const Span& span : spans) {
    const WordRange touched = Touched(words, span), whole = Whole(words, span, touched);
    if (touched.begin != whole.begin || touched.end != whole.end) Append(span, "", row.misaligned);
    boundaries.push_back(span.start);
    boundaries.push_back(span.end);
  }
  boundaries.erase(std::unique(boundaries.begin(), boundaries.end()), boundaries.end());
  tagging::CutWords(text, &words, boundaries);
}

}  // namespace

EntityRow TagEntities(const std::string& text, const Json& entities, const EntityRowOptions& options) {
  EntityRow row;
  if (!entities.is_array()) {
    row.problem = "has \"entities\" that are no list";
    return row;
  }
  std::vector<Span> spans(entities.size());
  for (size_t i = 0; i < spans.size() && row.problem.empty(); ++i)
    row.problem = ReadSpan(entities[i], options.others_named, spans[i]);
  if (row.problem.empty()) row.problem = CheckSpans(text, spans);
  absl::StatusOr<std::vector<tagging::Word>> words = tagging::SplitWords(text);
  if (row.problem.empty() && !words.ok()) row.problem = "is not UTF-8";
  if (!row.problem.empty()) return row;
  if (words->empty()) {
    row.problem = "has no words";
    return row;
  }
  if (options.misaligned == SpanAlignment::kCut) CutMisaligned(text, spans, *words, row);
  row.sentence.text = text;
  for (const tagging::Word& word : *words) row.sentence.words.emplace_back(word.In(text));
  WordTagger tagger(*words, options, row);
  for (const Span& span : spans) tagger.Add(span);
  if (options.misaligned == SpanAlignment::kStrict && !row.misaligned.empty()) {
    row.problem = absl::StrCat("has entities that begin or end inside of a word: ", row.misaligned,
                               "; correct their places, or choose what becomes of them with --misaligned");
  }
  return row;
}

}  // namespace engram::corpus
