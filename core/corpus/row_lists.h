#pragma once

// The rows of data sets, close together in memory. A file of 32 MiB may hold eight million rows: a std::string for each
// cell, and a vector for each sentence, takes thirty times the file. These lists take 4 to 20 bytes beside each text.
//
// They grow at their end, and give their elements by value: views are valid until the list grows or goes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/corpus/place_index.h"

namespace engram::corpus {

// Numbers none of which is smaller than the one before it, in 4 bytes each.
class AscendingNumbers {
 public:
  void push_back(uint64_t number) {
    while (number >> 32 > carries_.size()) carries_.push_back(low_.size());
    low_.push_back(static_cast<uint32_t>(number));
  }
  uint64_t operator[](size_t i) const {
    const auto carried = std::upper_bound(carries_.begin(), carries_.end(), i) - carries_.begin();
    return static_cast<uint64_t>(carried) << 32 | low_[i];
  }
  size_t size() const { return low_.size(); }
  void clear() { *this = {}; }

 private:
  std::vector<uint32_t> low_;
  std::vector<size_t> carries_;  // from which places on numbers have one more 2^32
};

// Walks over a list that has size() and operator[].
template <typename List>
class ListIterator {
 public:
  using iterator_category = std::input_iterator_tag;  // elements are made when they are asked for
  using value_type = typename List::value_type;
  using difference_type = std::ptrdiff_t;
  using pointer = const value_type*;
  using reference = value_type;

  ListIterator() = default;
  ListIterator(const List& list, size_t at) : list_(&list), at_(at) {}
  value_type operator*() const { return (*list_)[at_]; }
  ListIterator& operator++() {
    ++at_;
    return *this;
  }
  ListIterator operator++(int) {
    ListIterator before = *this;
    ++at_;
    return before;
  }
  bool operator==(const ListIterator&) const = default;

 private:
  const List* list_ = nullptr;
  size_t at_ = 0;
};

class TextList {
 public:
  using value_type = std::string_view;
  using const_iterator = ListIterator<TextList>;
  using iterator = const_iterator;

  TextList() = default;
  TextList(std::initializer_list<std::string_view> texts) {
    for (const std::string_view text : texts) push_back(text);
  }
  void push_back(std::string_view text) {
    bytes_ += text;
    ends_.push_back(bytes_.size());
  }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(bytes_).substr(begin, ends_[i] - begin);
  }
  std::string_view front() const { return (*this)[0]; }
  size_t size() const { return ends_.size(); }
  bool empty() const { return size() == 0; }
  void clear() { *this = {}; }
  const_iterator begin() const { return {*this, 0}; }
  const_iterator end() const { return {*this, size()}; }

 private:
  std::string bytes_;
  AscendingNumbers ends_;
};

// Names of which many elements have the same one: each is kept once.
class NameList {
 public:
  using value_type = std::string_view;
  using const_iterator = ListIterator<NameList>;
  using iterator = const_iterator;

  NameList() = default;
  NameList(std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) push_back(name);
  }
  void push_back(std::string_view name);
  std::string_view operator[](size_t i) const { return names_[numbers_[i]]; }
  std::string_view front() const { return (*this)[0]; }
  // The place of the element's name in names().
  uint32_t number(size_t i) const { return numbers_[i]; }
  // Each once, in the order in which they came.
  const TextList& names() const { return names_; }
  size_t size() const { return numbers_.size(); }
  bool empty() const { return numbers_.empty(); }
  void clear() { *this = {}; }
  const_iterator begin() const { return {*this, 0}; }
  const_iterator end() const { return {*this, size()}; }

 private:
  std::vector<uint32_t> numbers_;
  TextList names_;
  PlaceIndex index_;
};

struct TaggedSentence {
  std::string text;  // the words as they stand in the document, or joined by spaces where only words are known
  std::vector<std::string> words;  // at least one
  // BIO2 (of words without entities the tags as they are), one per word; tagging::kMissingTag where nothing is known.
  std::vector<std::string> tags;
};

// The words joined by spaces.
std::string JoinWords(const std::vector<std::string>& words);

class SentenceList {
 public:
  using value_type = TaggedSentence;
  using const_iterator = ListIterator<SentenceList>;
  using iterator = const_iterator;

  // As many tags as words.
  void push_back(const TaggedSentence& sentence);
  // A copy. Loops over its words need it in a variable.
  TaggedSentence operator[](size_t i) const;
  TaggedSentence front() const { return (*this)[0]; }
  std::string text(size_t i) const;
  std::vector<std::string> tags(size_t i) const;
  // The words of sentence `i` are [first_word(i), first_word(i + 1)) of all.
  size_t first_word(size_t i) const { return i == 0 ? 0 : word_ends_[i - 1]; }
  size_t words(size_t i) const { return first_word(i + 1) - first_word(i); }
  // Of all words, one behind the other.
  const NameList& all_tags() const { return tags_; }
  // `tags`: as many as there are.
  void SetTags(NameList tags) { tags_ = std::move(tags); }
  size_t size() const { return word_ends_.size(); }
  bool empty() const { return size() == 0; }
  void clear() { *this = {}; }
  const_iterator begin() const { return {*this, 0}; }
  const_iterator end() const { return {*this, size()}; }

 private:
  TextList texts_;            // empty where they are the words joined by spaces
  std::vector<bool> joined_;  // whether they are
  AscendingNumbers word_ends_;
  TextList words_;
  NameList tags_;
};

}  // namespace engram::corpus
