#include "core/corpus/row_lists.h"

#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "core/base/status.h"

namespace engram::corpus {
namespace {

size_t HashOf(std::string_view text) { return absl::HashOf(AbslView(text)); }

bool IsJoined(std::string_view text, const std::vector<std::string>& words) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0 && !text.starts_with(' ')) return false;
    if (i > 0) text.remove_prefix(1);
    if (!text.starts_with(words[i])) return false;
    text.remove_prefix(words[i].size());
  }
  return text.empty();
}

}  // namespace

std::string JoinWords(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) absl::StrAppend(&text, i == 0 ? "" : " ", words[i]);
  return text;
}

void NameList::push_back(std::string_view name) {
  const size_t hash = HashOf(name);
  const auto equals = [&](uint32_t place) { return names_[place] == name; };
  if (const auto known = index_.Find(hash, equals)) return numbers_.push_back(*known);
  const auto place = static_cast<uint32_t>(names_.size());
  names_.push_back(name);
  index_.Add(hash, place, [&](uint32_t other) { return HashOf(names_[other]); });
  numbers_.push_back(place);
}

void SentenceList::push_back(const TaggedSentence& sentence) {
  joined_.push_back(IsJoined(sentence.text, sentence.words));
  texts_.push_back(joined_.back() ? std::string_view() : sentence.text);
  for (const std::string& word : sentence.words) words_.push_back(word);
  for (const std::string& tag : sentence.tags) tags_.push_back(tag);
  word_ends_.push_back(words_.size());
}

TaggedSentence SentenceList::operator[](size_t i) const {
  TaggedSentence sentence;
  for (size_t at = first_word(i); at < first_word(i + 1); ++at) sentence.words.emplace_back(words_[at]);
  sentence.tags = tags(i);
  sentence.text = joined_[i] ? JoinWords(sentence.words) : std::string(texts_[i]);
  return sentence;
}

std::string SentenceList::text(size_t i) const {
  if (!joined_[i]) return std::string(texts_[i]);
  std::string text;
  for (size_t at = first_word(i); at < first_word(i + 1); ++at)
    absl::StrAppend(&text, at == first_word(i) ? "" : " ", AbslView(words_[at]));
  return text;
}

std::vector<std::string> SentenceList::tags(size_t i) const {
  std::vector<std::string> tags;
  for (size_t at = first_word(i); at < first_word(i + 1); ++at) tags.emplace_back(tags_[at]);
  return tags;
}

}  // namespace engram::corpus
