#include "core/corpus/json_roles.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/corpus/columns.h"

namespace engram::corpus {
namespace {

using Json = nlohmann::json;
using Keys = std::vector<std::string>;

enum class Shape : char {
  kNothing = 'n',  // null or an empty object
  kText = 's',     // a string
  kScalar = 'd',   // a number or a boolean
  kEmpty = 'e',    // an empty list
  kScalars = 'a',  // a list of strings, numbers or booleans
  kThings = 'o',   // a list of objects or lists
  kObject = 'm',
};

Shape ShapeOf(const Json& value) {
  if (value.is_null() || (value.is_object() && value.empty())) return Shape::kNothing;
  if (value.is_string()) return Shape::kText;
  if (value.is_object()) return Shape::kObject;
  if (!value.is_array()) return Shape::kScalar;
  if (value.empty()) return Shape::kEmpty;
  return value[0].is_object() || value[0].is_array() ? Shape::kThings : Shape::kScalars;
}

class RoleFinder {
 public:
  RoleFinder(const Json& row, const ReadOptions& options) : row_(row), options_(options) {}

  JsonRoles Find() {
    FindTagging();
    FindLabel();
    ChooseKind();
    if (roles_.words.empty()) FindTexts();
    if (!roles_.words.empty()) FindTextOfWords();
    FindOtherWordsAndDocument();
    FindRest();
    return std::move(roles_);
  }

 private:
  Shape At(const std::string& key) const { return ShapeOf(row_.at(key)); }

  Keys KeysThat(const std::function<bool(const std::string& key, const std::string& name, Shape shape)>& is) const {
    Keys keys;
    for (const auto& [key, value] : row_.items()) {
      const Shape shape = ShapeOf(value);
      if (shape != Shape::kNothing && is(key, ComparableName(key), shape)) keys.push_back(key);
    }
    return keys;
  }

  void Fail(std::string problem) {
    if (roles_.problem.empty()) roles_.problem = std::move(problem);
  }

  // The key that an option names, if the row has it.
  bool Named(const std::string& name, std::string& role) {
    if (name.empty()) return false;
    const std::string wanted = ComparableName(name);
    const Keys keys = KeysThat([&](const auto&, const auto& comparable, Shape) { return comparable == wanted; });
    if (keys.size() == 1) {
      role = keys[0];
    } else {
      Fail(absl::StrCat("has no ", Quoted(name), "; its keys are ", QuotedList(AllKeys())));
    }
    return true;
  }

  Keys AllKeys() const {
    return KeysThat([](const auto&, const auto&, Shape) { return true; });
  }

  // The only one of several candidates; an empty list says nothing where another one says something.
  std::string Only(Keys keys, const char* what, const char* option) {
    if (keys.size() > 1) std::erase_if(keys, [&](const std::string& key) { return At(key) == Shape::kEmpty; });
    if (keys.size() > 1) Fail(absl::StrCat("has several ", what, ": ", QuotedList(keys), "; name one with ", option));
    return keys.empty() ? "" : keys[0];
  }

  void FindTagging() {
    const auto list = [](Shape shape) { return shape == Shape::kScalars || shape == Shape::kEmpty; };
    if (!Named(options_.word_column, roles_.words)) {
      roles_.words = Only(KeysThat([&](const auto&, const auto& name, Shape shape) {
                            return IsWordsName(name) && (list(shape) || (name == "words" && !row_.contains("text")));
                          }),
                          "lists of words", "--word-column");
    }
    if (options_.kind == DatasetKind::kWordTags) return FindWordTags();
    if (!options_.tag_column.empty()) {
      std::string named;
      Named(options_.tag_column, named);
      const bool of_words = !roles_.words.empty() && (named.empty() || At(named) != Shape::kThings);
      (of_words ? roles_.tags : roles_.entities) = named;
      if (!of_words) roles_.words.clear();
      return;
    }
    const Keys entities = KeysThat([&](const auto&, const auto& name, Shape shape) {
      const bool maybe = IsEntitiesName(name) || ((name == "label" || name == "labels") && roles_.words.empty());
      return name != ComparableName(options_.label_column) &&
             (IsEntitiesName(name) || (maybe && (shape == Shape::kThings || shape == Shape::kEmpty)));
    });
    if (!roles_.words.empty()) {
      roles_.tags = Only(KeysThat([&](const auto& key, const auto& name, Shape shape) {
                           return IsTagsName(name) && list(shape) && key != roles_.words;
                         }),
                         "lists of tags", "--tag-column");
    }
    if (roles_.tags.empty()) roles_.entities = Only(entities, "lists of entities", "--tag-column");
    // Words without tags are how a text was cut, where the text itself and its entities are there.
    if (roles_.tags.empty() && !roles_.entities.empty()) roles_.words.clear();
  }

  // Tags that make no entities, one for each word.
  void FindWordTags() {
    if (Named(options_.tag_column, roles_.tags)) return;
    roles_.tags =
        Only(KeysThat([&](const auto& key, const auto& name, Shape shape) {
               return (IsTagsName(name) || IsPartOfSpeechName(name)) && shape == Shape::kScalars && key != roles_.words;
             }),
             "lists of tags", "--tag-column");
  }

  void FindLabel() {
    if (Named(options_.label_column, roles_.label)) return;
    roles_.label = Only(KeysThat([&](const auto& key, const auto& name, Shape shape) {
                          const bool value = shape == Shape::kText || shape == Shape::kScalar ||
                                             shape == Shape::kScalars || shape == Shape::kEmpty;
                          return IsLabelName(name) && value && key != roles_.tags && key != roles_.entities;
                        }),
                        "labels", "--label-column");
  }

  void ChooseKind() {
    const bool tagging = !roles_.entities.empty() || !roles_.tags.empty(), label = !roles_.label.empty();
    if (options_.kind) {
      roles_.kind = *options_.kind;
    } else if (tagging && label && options_.label_column.empty() == options_.tag_column.empty()) {
      Fail(absl::StrCat("has a label (", Quoted(roles_.label), ") and entities (",
                        Quoted(roles_.tags.empty() ? roles_.entities : roles_.tags),
                        "); a data set has one kind: --kind classification or --kind tagging"));
    } else if (label && (!tagging || !options_.label_column.empty())) {
      roles_.kind = DatasetKind::kClassification;
    } else if (tagging) {
      roles_.kind = DatasetKind::kTagging;
    }
    if (HasTags(roles_.kind) && !tagging) {
      Fail(roles_.words.empty() ? absl::StrCat("has no entities or tags; its keys are ", QuotedList(AllKeys()))
                                : "needs \"words\" and \"tags\", two lists of the same length");
    }
    if (HasLabels(roles_.kind) && !label) Fail(absl::StrCat("has no label; its keys are ", QuotedList(AllKeys())));
    if (!HasTags(roles_.kind)) roles_.entities.clear(), roles_.tags.clear();
    if (!HasLabels(roles_.kind)) roles_.label.clear();
    const bool has_text = !options_.text_column.empty() || !Texts().all.empty();
    if (!HasTags(roles_.kind) && has_text) roles_.words.clear();
    if (roles_.kind == DatasetKind::kText && !has_text && !roles_.words.empty() && !options_.kind)
      Fail("needs \"words\" and \"tags\", two lists of the same length");
  }

  TextNames Texts() const {
    return FindTextNames(KeysThat(
        [&](const auto& key, const auto&, Shape) { return key != roles_.label && key != roles_.second_text; }));
  }

  void FindTexts() {
    const bool second_named = Named(options_.pair_column, roles_.second_text);
    if (!Named(options_.text_column, roles_.text)) {
      const TextNames texts = Texts();
      if (texts.all.empty()) return Fail(NoText());
      const bool pairs = texts.pair && !second_named && !HasTags(roles_.kind) &&
                         options_.kind.value_or(DatasetKind::kPairs) == DatasetKind::kPairs;
      if (texts.all.size() > 1 && !pairs) Fail(SeveralTexts(texts));
      roles_.text = pairs ? texts.pair->first : texts.all[0];
      if (pairs) roles_.second_text = texts.pair->second;
    }
    for (const std::string& key : {roles_.text, roles_.second_text}) {
      if (!key.empty()) CheckText(key);
    }
    if (roles_.second_text.empty()) {
      if (roles_.kind == DatasetKind::kPairs)
        Fail(absl::StrCat("has one text only (", Quoted(roles_.text), "); name the second with --pair-column"));
      return;
    }
    if (roles_.second_text == roles_.text) Fail("has one key for both texts");
    if (!HasLabels(roles_.kind)) {
      Fail(absl::StrCat("has a pair of texts (", QuotedList({roles_.text, roles_.second_text}),
                        ") and no label; its keys are ", QuotedList(AllKeys()),
                        ": name the label's with --label-column, or one text with --text-column"));
    }
    roles_.kind = DatasetKind::kPairs;
  }

  std::string NoText() const {
    const Keys all = AllKeys();
    const auto is = [&](Shape shape) { return [=, this](const std::string& key) { return At(key) == shape; }; };
    const auto lists = std::count_if(all.begin(), all.end(), is(Shape::kThings));
    const auto empty = std::count_if(all.begin(), all.end(), is(Shape::kEmpty));
    if (lists > 0 && lists + empty == static_cast<int64_t>(all.size())) {
      return absl::StrCat("has no \"text\", but lists (", QuotedList(all),
                          "): write the rows of one of them alone, one object per line");
    }
    return absl::StrCat("has no \"text\"; ", all.empty() ? std::string("it has no keys")
                                                         : absl::StrCat("its keys are ", QuotedList(all),
                                                                        "; name the text's with --text-column"));
  }

  void CheckText(const std::string& key) {
    const Shape shape = At(key);
    if (shape == Shape::kObject || shape == Shape::kScalars || shape == Shape::kThings) {
      Fail(absl::StrCat("has a ", Quoted(key),
                        " that is no string but holds several: if these are the rows, write one object per line "
                        "(pandas: to_json with orient=\"records\", lines=True); if they are the texts of one pair, "
                        "write them under two names (\"text1\", \"text2\")"));
    }
  }

  // The text beside words is kept, if it is there.
  void FindTextOfWords() {
    if (Named(options_.text_column, roles_.text)) return;
    const TextNames texts = Texts();
    if (texts.all.size() == 1) roles_.text = texts.all[0];
  }

  void FindOtherWordsAndDocument() {
    const auto named = [this](auto... names) {
      return KeysThat([&](const auto& key, const auto& name, Shape shape) {
        return ((name == names) || ...) && key != roles_.text && (shape == Shape::kText || shape == Shape::kScalar);
      });
    };
    if (const Keys keys = named("other_words"); !roles_.entities.empty() && !keys.empty()) roles_.other_words = keys[0];
    if (const Keys keys = named("doc_id", "document_id"); !keys.empty()) roles_.document = keys[0];
  }

  void FindRest() {
    const bool named = options_.kind || !options_.label_column.empty() || !options_.tag_column.empty();
    const Keys rest = KeysThat([&](const auto& key, const auto& name, Shape shape) {
      const bool used = key == roles_.text || key == roles_.label || key == roles_.words || key == roles_.tags ||
                        key == roles_.entities || key == roles_.second_text || key == roles_.other_words;
      // Prodigy's and others' tokens say where words begin and end, and bookkeeping says nothing of the text.
      const bool no_annotation = (name == "tokens" && shape == Shape::kThings) || IsNumberName(name) ||
                                 name == "_input_hash" || name == "_task_hash" || shape == Shape::kEmpty;
      return !used && !no_annotation;
    });
    if (!rest.empty() && !named) {
      Fail(absl::StrCat("has keys that would not be read: ", QuotedList(rest),
                        "; name what is to be read with --label-column or --tag-column and the others are left out, or "
                        "leave all of them out with --kind"));
    }
    roles_.unread = rest;
  }

  const Json& row_;
  const ReadOptions& options_;
  JsonRoles roles_;
};

}  // namespace

JsonRoles FindRoles(const Json& row, const ReadOptions& options) { return RoleFinder(row, options).Find(); }

std::string RoleSignature(const Json& row) {
  std::string signature;
  for (const auto& [key, value] : row.items())
    absl::StrAppend(&signature, key, absl::string_view("\0", 1), std::string(1, static_cast<char>(ShapeOf(value))));
  return signature;
}

}  // namespace engram::corpus
