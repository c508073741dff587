#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/corpus/columns.h"
#include "core/corpus/entity_rows.h"
#include "core/corpus/json_roles.h"
#include "core/corpus/json_values.h"
#include "core/corpus/readers.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

using Json = nlohmann::json;

// A label may be written as a number or a boolean; its text is then the label. A list of one label is that label.
std::optional<std::string> LabelText(const Json& value) {
  const Json& one = value.is_array() && value.size() == 1 ? value[0] : value;
  if (one.is_string()) return one.get<std::string>();
  if (one.is_number_integer() || one.is_boolean()) return one.dump();
  return std::nullopt;
}

const char* KindName(DatasetKind kind) {
  return kind == DatasetKind::kClassification ? "a label"
         : kind == DatasetKind::kPairs        ? "a pair of texts"
         : kind == DatasetKind::kTagging      ? "entities"
         : kind == DatasetKind::kWordTags     ? "tags of words"
                                              : "text alone";
}

// What the tree of a row would hide or could not bear: a key that stands there twice (the parser keeps the last one; here
// neither is better than the other), depth, and more values than memory is to be had for: each takes 16 to 100 bytes.
class RowCheck : public nlohmann::json_sax<Json> {
 public:
  static constexpr int kMaxDepth = 100;
  static constexpr int64_t kMaxValues = 1'000'000;
  std::string repeated;
  bool deep = false;
  bool many() const { return values_ > kMaxValues; }

  bool key(string_t& name) override {
    if (depth_ == 1 && !seen_.insert(name).second) repeated = name;
    return true;
  }
  bool start_object(size_t) override { return Count() && Enter(); }
  bool start_array(size_t) override { return Count() && Enter(); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  bool Count() { return ++values_ <= kMaxValues; }
  bool Enter() {
    deep = ++depth_ > kMaxDepth;
    return !deep;
  }
  bool Leave() {
    --depth_;
    return true;
  }
  int depth_ = 0;
  int64_t values_ = 0;
  std::set<std::string> seen_;
};

// The object of a row, or why there is none.
std::string ParseRow(std::string_view text, Json& json) {
  // A tree takes several times the bytes of its text.
  constexpr size_t kMaxRowBytes = size_t{64} << 20;
  if (text.size() > kMaxRowBytes) return absl::StrCat("is longer than ", kMaxRowBytes, " bytes");
  if (text.empty()) return "has an empty place in its list, or its list is never closed";
  RowCheck check;
  const bool valid = Json::sax_parse(text, &check);
  if (check.deep) return absl::StrCat("is nested deeper than ", RowCheck::kMaxDepth, " levels");
  if (check.many()) {
    return absl::StrCat("has more than ", RowCheck::kMaxValues,
                        " values; write each text, or page, as a row of its own");
  }
  if (!valid || FindZeroByte(text)) {
    const bool nan = text.find("NaN") != std::string_view::npos;
    return nan ? "is not JSON (a NaN outside of quotes is none: a missing value is null)" : "is not JSON";
  }
  if (!check.repeated.empty()) return absl::StrCat("has ", Quoted(check.repeated), " twice");
  json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_array()) return "is a list, not a JSON object; an object has its texts and annotations under their names";
  return json.is_object() ? "" : "is not a JSON object";
}

class JsonReader {
 public:
  JsonReader(const ReaderInput& input, Reading& reading) : input_(input), reading_(reading) {}

  absl::Status Read() {
    ForEachJsonValue(input_.text, [&](int64_t line, std::string_view text) {
      if (const std::string problem = Row(line, text); !problem.empty()) errors_.Add(line, problem);
    });
    if (first_) Describe();
    without_word_.AddTo(reading_.notes, "ENTITY_WITHOUT_WORD", "row(s) have entities that cover no word",
                        "; no tagger can find them");
    misaligned_.AddTo(reading_.notes, "MISALIGNED_ENTITIES", "row(s) have entities that begin or end inside of a word",
                      AlignmentText(input_.options.misaligned));
    reading_.dataset.kind = first_ ? first_->kind : DatasetKind::kText;
    reading_.dataset.documents = std::move(documents_);
    DropSingleDocuments(reading_.dataset);
    if (HasTags(reading_.dataset.kind)) FinishTagging(std::move(raw_), input_.options, errors_, reading_);
    return errors_.ToStatus(input_.field);
  }

 private:
  // The row's problem; empty if it was read.
  std::string Row(int64_t line, std::string_view text) {
    Json json;
    if (std::string problem = ParseRow(text, json); !problem.empty()) return problem;
    if (std::string signature = RoleSignature(json); signature != signature_) {
      signature_ = std::move(signature);
      roles_ = FindRoles(json, input_.options);
      problem_line_ = 0;
    }
    if (!roles_.problem.empty()) {
      if (problem_line_ > 0) return absl::StrCat("has the same keys as line ", problem_line_);
      problem_line_ = line;
      return roles_.problem;
    }
    if (first_ && !roles_.SameAnnotation(*first_)) return OtherRoles();
    std::string problem = HasTags(roles_.kind) ? TaggedRow(line, json) : TextRow(json);
    if (problem.empty() && !first_) first_ = roles_;
    return problem;
  }

  std::string OtherRoles() const {
    if (roles_.kind != first_->kind)
      return absl::StrCat("has ", KindName(roles_.kind), " where the first row has ", KindName(first_->kind));
    std::vector<std::string> here, there;
    const auto compare = [&](const std::string& mine, const std::string& firsts) {
      if (mine == firsts) return;
      if (!mine.empty()) here.push_back(mine);
      if (!firsts.empty()) there.push_back(firsts);
    };
    compare(roles_.text, first_->text);
    compare(roles_.second_text, first_->second_text);
    compare(roles_.label, first_->label);
    compare(roles_.words, first_->words);
    compare(roles_.tags, first_->tags);
    compare(roles_.entities, first_->entities);
    return absl::StrCat("has ", QuotedList(here), " where the first row has ", QuotedList(there));
  }

  static std::string Text(const Json& json, const std::string& key, std::string& text) {
    const Json& value = json[key];
    if (!value.is_string()) return absl::StrCat("has a ", Quoted(key), " that is no string");
    text = value.get<std::string>();
    return "";
  }
  std::string Text(const Json& json, std::string& text) const { return Text(json, roles_.text, text); }

  std::string TextRow(const Json& json) {
    std::string text, second, label;
    if (roles_.text.empty()) {
      std::vector<std::string> words;
      if (std::string problem = Words(json[roles_.words], words); !problem.empty()) return problem;
      text = JoinWords(words);
    } else if (std::string problem = Text(json, text); !problem.empty()) {
      return problem;
    }
    if (tagging::TrimWhiteSpace(text).empty())
      return absl::StrCat("has an empty ", Quoted(roles_.text.empty() ? "text" : roles_.text));
    if (roles_.kind == DatasetKind::kPairs) {
      if (std::string problem = Text(json, roles_.second_text, second); !problem.empty()) return problem;
      if (tagging::TrimWhiteSpace(second).empty()) return absl::StrCat("has an empty ", Quoted(roles_.second_text));
    }
    if (HasLabels(roles_.kind)) {
      const Json& value = json[roles_.label];
      if (value.is_array() && value.size() != 1)
        return absl::StrCat("has ", value.size(), " labels (", Quoted(roles_.label),
                            "); a classifier learns one label per text");
      const std::optional<std::string> name = LabelText(value);
      if (!name) return absl::StrCat("has a ", Quoted(roles_.label), " that is no string, whole number or boolean");
      if (tagging::TrimWhiteSpace(*name).empty()) return absl::StrCat("has an empty ", Quoted(roles_.label));
      label = *name;
    }
    Dataset& dataset = reading_.dataset;
    if (!input_.Keeps(dataset.texts.size())) return "";
    if (HasLabels(roles_.kind)) dataset.labels.push_back(label);
    if (roles_.kind == DatasetKind::kPairs) dataset.second_texts.push_back(second);
    dataset.texts.push_back(text);
    AddDocument(json);
    return "";
  }

  // A word of white space stays one, so that the tags keep their places.
  std::string Words(const Json& list, std::vector<std::string>& words) const {
    if (!list.is_array() || list.empty()) return "needs \"words\" and \"tags\", two lists of the same length";
    for (const Json& word : list) {
      if (!word.is_string()) return "has a word that is no string";
      words.push_back(word.get_ref<const std::string&>().empty() ? " " : word.get<std::string>());
    }
    return "";
  }

  std::string TaggedRow(int64_t line, const Json& json) {
    TaggedSentence sentence;
    if (!roles_.entities.empty()) {
      std::string text;
      if (std::string problem = Text(json, text); !problem.empty()) return problem;
      if (tagging::TrimWhiteSpace(text).empty()) return "has an empty \"text\"";
      EntityRowOptions options;
      options.others_named = input_.options.kind == DatasetKind::kTagging;
      options.misaligned = input_.options.misaligned;
      if (std::string problem = OtherWords(json, options.unknown); !problem.empty()) return problem;
      EntityRow row = TagEntities(text, json[roles_.entities], options);
      if (!row.problem.empty()) return row.problem;
      if (!row.misaligned.empty()) misaligned_.Add(line, row.misaligned);
      if (!row.without_word.empty()) {
        without_word_.Add(line, row.without_word);
        if (input_.options.strict) return absl::StrCat("has an entity that covers no word: ", row.without_word);
      }
      sentence = std::move(row.sentence);
    } else {
      const Json& tags = json[roles_.tags];
      if (std::string problem = Words(json[roles_.words], sentence.words); !problem.empty()) return problem;
      if (!tags.is_array() || tags.size() != sentence.words.size())
        return "needs \"words\" and \"tags\", two lists of the same length";
      for (const Json& tag : tags) {
        if (tag.is_number())
          return absl::StrCat("has tags that are numbers (", Quoted(roles_.tags),
                              "), and their names are not in the file; write the names (\"B-PER\")");
        if (!tag.is_string()) return "has a tag that is no string";
        sentence.tags.push_back(tag.get<std::string>());
      }
      sentence.text = JoinWords(sentence.words);
      if (!roles_.text.empty()) {
        if (std::string problem = Text(json, sentence.text); !problem.empty()) return problem;
      }
    }
    if (!input_.Keeps(raw_.sentences.size())) return "";
    raw_.Add(sentence, line);
    AddDocument(json);
    return "";
  }

  // `unknown`: nothing is known of the words outside of the entities.
  std::string OtherWords(const Json& json, bool& unknown) const {
    if (roles_.other_words.empty()) return "";
    const Json& said = json[roles_.other_words];
    unknown = said == "unknown";
    return unknown || said == "outside" ? "" : "has an \"other_words\" that is neither \"unknown\" nor \"outside\"";
  }

  // Of the row that was kept last.
  void AddDocument(const Json& json) {
    const Json* const name = roles_.document.empty() ? nullptr : &json[roles_.document];
    documents_.push_back(name == nullptr ? "" : name->is_string() ? name->get<std::string>() : name->dump());
  }

  static const char* AlignmentText(SpanAlignment alignment) {
    return alignment == SpanAlignment::kContract
               ? "; they are the words inside of them, what they cover in part is unknown"
           : alignment == SpanAlignment::kExpand
               ? "; they are the words that they touch"
               : "; in training the words are cut there, texts to be tagged are not: choose with --misaligned";
  }

  void Describe() {
    const auto add = [&](const std::string& key, const char* role) {
      if (!key.empty()) reading_.columns.emplace_back(key, role);
    };
    add(first_->text, "text");
    add(first_->second_text, "second text");
    add(first_->label, "label");
    add(first_->words, HasTags(first_->kind) ? "words" : "text");
    add(first_->tags, "tags");
    add(first_->entities, "entities");
    add(first_->other_words, "other words");
    add(first_->document, "document");
    for (const std::string& key : first_->unread) add(key, "not read");
    if (!first_->unread.empty()) {
      reading_.notes.push_back({"COLUMNS_NOT_READ",
                                absl::StrCat("not read, as asked for: ", QuotedList(first_->unread)),
                                static_cast<int64_t>(first_->unread.size())});
    }
  }

  const ReaderInput& input_;
  Reading& reading_;
  RawSentences raw_;
  RowErrors errors_;
  NameList documents_;  // of the rows that are kept
  LineList without_word_, misaligned_;
  std::optional<std::string> signature_;
  JsonRoles roles_;           // of rows with that signature
  int64_t problem_line_ = 0;  // the first line that had their problem
  std::optional<JsonRoles> first_;
};

}  // namespace

absl::Status ReadJson(const ReaderInput& input, Reading& reading) {
  reading.format = "jsonl";
  return JsonReader(input, reading).Read();
}

}  // namespace engram::corpus
