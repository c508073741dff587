#include "core/corpus/columns.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

// Sorted, for the search.
constexpr std::array kTexts = std::to_array<std::string_view>(
    {"abstract",  "body",       "comment",    "comment_text", "content",    "context",    "description", "document",
     "headline",  "hypothesis", "message",    "news",         "passage",    "post",       "premise",     "query",
     "question",  "question1",  "question2",  "question_1",   "question_2", "review",     "review_text", "sentence",
     "sentence1", "sentence2",  "sentence_1", "sentence_2",   "sentence_a", "sentence_b", "sms",         "statement",
     "summary",   "text",       "text1",      "text2",        "text_1",     "text_2",     "text_a",      "text_b",
     "text_pair", "texts",      "title",      "tweet",        "tweet_text", "utterance"});
constexpr std::array kLabels = std::to_array<std::string_view>(
    {"annotation", "categories",   "category", "class",        "class_index", "class_label", "class_name",
     "classes",    "coarse_label", "emotion",  "fine_label",   "gold",        "gold_label",  "intent",
     "intents",    "is_duplicate", "label",    "label_coarse", "label_fine",  "label_name",  "label_text",
     "labels",     "polarity",     "rating",   "sentiment",    "stance",      "stars",       "tag",
     "target",     "topic",        "y"});
constexpr std::array kNumbers = std::to_array<std::string_view>({"",
                                                                 "#",
                                                                 "__index_level_0__",
                                                                 "_id",
                                                                 "comment_id",
                                                                 "doc_id",
                                                                 "document_id",
                                                                 "example_id",
                                                                 "guid",
                                                                 "id",
                                                                 "idx",
                                                                 "index",
                                                                 "nr",
                                                                 "pair_id",
                                                                 "pairid",
                                                                 "post_id",
                                                                 "prompt_id",
                                                                 "promptid",
                                                                 "qid",
                                                                 "qid1",
                                                                 "qid2",
                                                                 "review_id",
                                                                 "row",
                                                                 "row_id",
                                                                 "rowid",
                                                                 "sample_id",
                                                                 "sent_id",
                                                                 "sentence_id",
                                                                 "sid",
                                                                 "text_id",
                                                                 "tweet_id",
                                                                 "uid",
                                                                 "uuid"});

// First and second text of pairs.
constexpr std::array kPairs =
    std::to_array<std::pair<std::string_view, std::string_view>>({{"claim", "evidence"},
                                                                  {"context", "response"},
                                                                  {"premise", "hypothesis"},
                                                                  {"q1", "q2"},
                                                                  {"query", "document"},
                                                                  {"query", "passage"},
                                                                  {"question", "answer"},
                                                                  {"question", "context"},
                                                                  {"question", "passage"},
                                                                  {"question", "sentence"},
                                                                  {"question1", "question2"},
                                                                  {"question_1", "question_2"},
                                                                  {"s1", "s2"},
                                                                  {"sent1", "sent2"},
                                                                  {"sentence1", "sentence2"},
                                                                  {"sentence_1", "sentence_2"},
                                                                  {"sentence_a", "sentence_b"},
                                                                  {"text", "text_pair"},
                                                                  {"text1", "text2"},
                                                                  {"text_1", "text_2"},
                                                                  {"text_a", "text_b"}});

template <size_t kSize>
bool Has(const std::array<std::string_view, kSize>& names, std::string_view name) {
  return std::binary_search(names.begin(), names.end(), name);
}
static_assert(std::is_sorted(kTexts.begin(), kTexts.end()) && std::is_sorted(kLabels.begin(), kLabels.end()) &&
              std::is_sorted(kNumbers.begin(), kNumbers.end()));

}  // namespace

std::string ComparableName(std::string_view name) {
  std::string lower = absl::AsciiStrToLower(AbslView(tagging::TrimWhiteSpace(name)));
  std::replace_if(
      lower.begin(), lower.end(), [](char c) { return c == '-' || c == ' '; }, '_');
  return lower;
}

bool IsTextName(std::string_view name) { return Has(kTexts, name); }
bool IsLabelName(std::string_view name) { return Has(kLabels, name); }
bool IsWordsName(std::string_view name) { return name == "words" || name == "tokens"; }
bool IsEntitiesName(std::string_view name) { return name == "entities" || name == "spans"; }

TextNames FindTextNames(const std::vector<std::string>& names) {
  constexpr size_t kMostBytes = 256;  // beyond it no name is known: a first row may be a cell of megabytes
  std::vector<std::string> comparable;
  for (const std::string& name : names) comparable.push_back(name.size() > kMostBytes ? name : ComparableName(name));
  std::vector<std::pair<size_t, size_t>> pairs;
  const auto find = [&](std::string_view wanted) {
    return static_cast<size_t>(std::find(comparable.begin(), comparable.end(), wanted) - comparable.begin());
  };
  for (const auto& [first, second] : kPairs) {
    const size_t a = find(first), b = find(second);
    if (a < names.size() && b < names.size()) pairs.emplace_back(a, b);
  }
  TextNames texts;
  for (size_t i = 0; i < names.size(); ++i) {
    const bool of_pair = std::any_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
      return names[pair.first] == names[i] || names[pair.second] == names[i];
    });
    if (of_pair || IsTextName(comparable[i])) texts.all.push_back(names[i]);
  }
  if (pairs.size() == 1 && texts.all.size() == 2) texts.pair = {names[pairs[0].first], names[pairs[0].second]};
  return texts;
}

std::string SeveralTexts(const TextNames& texts) {
  return absl::StrCat("has several texts: ", QuotedList(texts.all),
                      "; name one with --text-column, or the two of a pair with --text-column and --pair-column");
}

bool IsPartOfSpeechName(std::string_view name) {
  return name == "pos" || name == "pos_tags" || name == "upos" || name == "xpos" || name == "upos_tags";
}

bool IsTagsName(std::string_view name) {
  return name == "tags" || name == "ner_tags" || name == "ner" || name == "ner_labels" || name == "labels" ||
         name == "bio_tags" || name == "iob_tags";
}

bool IsNumberName(std::string_view name) {
  constexpr std::string_view kPandas = "unnamed:_";
  if (Has(kNumbers, name)) return true;
  return name.starts_with(kPandas) && name.size() > kPandas.size() &&
         name.find_first_not_of("0123456789", kPandas.size()) == std::string_view::npos;
}

std::optional<size_t> ColumnNumber(std::string_view name) {
  constexpr int kMost = 10'000;
  int number = 0;
  if (!absl::SimpleAtoi(AbslView(name), &number) || number < 1 || number > kMost) return std::nullopt;
  return static_cast<size_t>(number) - 1;
}

std::string QuotedList(const std::vector<std::string>& names) {
  constexpr size_t kShown = 20;
  std::string list;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i)
    absl::StrAppend(&list, list.empty() ? "" : ", ", Quoted(names[i]));
  if (names.size() > kShown) absl::StrAppend(&list, " and ", names.size() - kShown, " more");
  return list;
}

absl::StatusOr<size_t> FindColumn(const std::vector<std::string>& columns, std::string_view name,
                                  std::string_view option) {
  const std::string wanted = ComparableName(name);
  std::vector<size_t> found;
  for (size_t i = 0; i < columns.size(); ++i) {
    if (ComparableName(columns[i]) == wanted) found.push_back(i);
  }
  if (found.size() == 1) return found[0];
  return InvalidField(option,
                      absl::StrCat(Quoted(name), found.empty() ? " is no column" : " is the name of two columns",
                                   "; the columns are ", QuotedList(columns)));
}

}  // namespace engram::corpus
