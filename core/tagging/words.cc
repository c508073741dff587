#include "core/tagging/words.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"

namespace engram::tagging {
namespace {

struct Range {
  char32_t first, last;
};
constexpr Range kSymbolRanges[] = {
#include "core/tagging/symbol_ranges.inc"
};
// The blocks that BERT's tokenizer, too, takes apart by character.
constexpr Range kHanRanges[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                                {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B820, 0x2CEAF}, {0x2F800, 0x2FA1F}};

template <size_t kSize>
bool InRanges(const Range (&ranges)[kSize], char32_t c) {
  const Range* after = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                        [](char32_t value, const Range& r) { return value < r.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

enum class Kind : uint8_t { kSeparator, kWord, kHan, kSymbol };

Kind KindOf(char32_t c) {
  if (c < 0x80) {
    const auto ascii = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(ascii) || ascii == '_') return Kind::kWord;
    return absl::ascii_ispunct(ascii) ? Kind::kSymbol : Kind::kSeparator;
  }
  if (IsWhiteSpace(c) || c <= 0x9F) return Kind::kSeparator;
  if (InRanges(kSymbolRanges, c)) return Kind::kSymbol;
  return InRanges(kHanRanges, c) ? Kind::kHan : Kind::kWord;
}

bool IsApostrophe(char32_t c) { return c == U'\'' || c == U'’'; }
bool IsDigit(char32_t c) { return c >= U'0' && c <= U'9'; }
// Continues the picture before it: variation selectors, zero-width joiner, skin tones, keycap.
bool IsPictureModifier(char32_t c) {
  return (c >= 0xFE00 && c <= 0xFE0F) || c == 0x200D || (c >= 0x1F3FB && c <= 0x1F3FF) || c == 0x20E3;
}

struct Character {
  char32_t value;
  int64_t byte;
  Kind kind;
};

class Splitter {
 public:
  explicit Splitter(std::vector<Character> characters) : characters_(std::move(characters)) {}

  std::vector<Word> Split() {
    while (at_ + 1 < characters_.size()) {
      const Kind kind = characters_[at_].kind;
      if (kind == Kind::kSeparator) {
        ++at_;
      } else if (const size_t end = AddressEnd(); end > at_) {
        Add(end);
      } else if (kind == Kind::kHan) {
        Add(at_ + 1);
      } else if (kind == Kind::kWord || StartsHandle()) {
        AddWordWithClitic(WordEnd());
      } else {
        Add(SymbolEnd());
      }
    }
    return std::move(words_);
  }

 private:
  // The last character is a separator that ends the text, so characters_[i + 1] may be read for every i that is none.
  char32_t value(size_t i) const { return characters_[i].value; }
  bool IsWord(size_t i) const { return characters_[i].kind == Kind::kWord; }

  void Add(size_t end) {
    words_.push_back(
        {characters_[at_].byte, characters_[end].byte, static_cast<int64_t>(at_), static_cast<int64_t>(end)});
    at_ = end;
  }

  bool StartsWith(size_t at, std::u32string_view lower) const {
    for (const char32_t expected : lower) {
      const char32_t c = value(at);
      if ((c >= U'A' && c <= U'Z' ? c + 32 : c) != expected) return false;
      ++at;  // stays in range: the separator at the end never equals a character of `lower`
    }
    return true;
  }

  // Where the address that begins here ends; at_ if none does.
  size_t AddressEnd() const {
    if (value(at_) != U'h' && value(at_) != U'H' && value(at_) != U'w' && value(at_) != U'W') return at_;
    if (at_ > 0 && IsWord(at_ - 1)) return at_;
    if (!StartsWith(at_, U"http://") && !StartsWith(at_, U"https://") && !StartsWith(at_, U"www.")) return at_;
    size_t end = at_;
    while (characters_[end].kind != Kind::kSeparator) ++end;
    constexpr std::u32string_view kClosing = U".,;:!?)]}>'\"’”»*";
    while (end > at_ + 1 && kClosing.find(value(end - 1)) != std::u32string_view::npos) --end;
    return end;
  }

  bool StartsHandle() const {
    return (value(at_) == U'@' || value(at_) == U'#') && IsWord(at_ + 1) && (at_ == 0 || !IsWord(at_ - 1));
  }

  // Whether the mark at `i` joins the word characters on both sides of it.
  bool Joins(size_t i) const {
    if (characters_[i].kind != Kind::kSymbol || !IsWord(i - 1) || !IsWord(i + 1)) return false;
    if (value(i) == U',' || value(i) == U':') return IsDigit(value(i - 1)) && IsDigit(value(i + 1));
    constexpr std::u32string_view kJoining = U".'’-/&@+";
    return kJoining.find(value(i)) != std::u32string_view::npos;
  }

  size_t WordEnd() const {
    size_t end = at_ + 1;
    while (IsWord(end) || Joins(end)) ++end;
    return value(end) == U'.' && IsAbbreviation(end) ? end + 1 : end;
  }

  // "U.S", "p.m": single letters and full stops in turn, at least two letters.
  bool IsAbbreviation(size_t end) const {
    if (end - at_ < 3 || (end - at_) % 2 == 0) return false;
    for (size_t i = at_; i < end; ++i) {
      const bool letter = IsWord(i) && !IsDigit(value(i)) && value(i) != U'_';
      if ((i - at_) % 2 == 0 ? !letter : value(i) != U'.') return false;
    }
    return true;
  }

  // Where the clitic at the end of word [at_, end) begins; `end` if there is none.
  size_t CliticBegin(size_t end) const {
    if (end - at_ > 3 && IsApostrophe(value(end - 2)) && StartsWith(end - 3, U"n") && StartsWith(end - 1, U"t"))
      return end - 3;
    for (const std::u32string_view tail : {U"s", U"m", U"d", U"re", U"ve", U"ll"}) {
      const size_t size = tail.size() + 1;
      if (end - at_ > size && IsApostrophe(value(end - size)) && StartsWith(end - tail.size(), tail)) return end - size;
    }
    return end;
  }

  void AddWordWithClitic(size_t end) {
    const size_t clitic = CliticBegin(end);
    Add(clitic);
    if (clitic < end) Add(end);
  }

  size_t SymbolEnd() const {
    size_t end = at_ + 1;
    if (value(at_) < 0x2100 || (value(at_) >= 0x3000 && value(at_) < 0x1F000)) {  // marks, not pictures
      while (value(end) == value(at_)) ++end;
      return end;
    }
    for (;;) {
      const size_t before = end;
      while (IsPictureModifier(value(end))) ++end;
      // A joiner takes the next picture in; the same picture repeated is one word, as a run of one mark is.
      const bool joined = end > before && value(end - 1) == 0x200D && characters_[end].kind == Kind::kSymbol;
      if (!joined && value(end) != value(at_)) return end;
      ++end;
    }
  }

  std::vector<Character> characters_;
  std::vector<Word> words_;
  size_t at_ = 0;
};

}  // namespace

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

absl::StatusOr<std::vector<Word>> SplitWords(std::string_view text) {
  std::vector<Character> characters;
  characters.reserve(text.size() + 1);
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<int64_t>(at);
    const int32_t c = DecodeUtf8(text, at);
    if (c < 0) return InvalidField("text", absl::StrCat("is not valid UTF-8 (byte ", byte, "); send UTF-8"));
    characters.push_back({static_cast<char32_t>(c), byte, KindOf(static_cast<char32_t>(c))});
  }
  characters.push_back({0, static_cast<int64_t>(text.size()), Kind::kSeparator});
  return Splitter(std::move(characters)).Split();
}

int64_t CutWords(std::string_view text, std::vector<Word>* words, std::vector<int64_t> boundaries) {
  std::sort(boundaries.begin(), boundaries.end());
  std::vector<Word> result;
  result.reserve(words->size());
  int64_t cut = 0;
  size_t next = 0;
  for (Word word : *words) {
    bool whole = true;
    while (next < boundaries.size() && boundaries[next] <= word.start) ++next;
    for (; next < boundaries.size() && boundaries[next] < word.end; ++next) {
      if (boundaries[next] == word.start) continue;  // the same boundary again
      Word left = word;
      size_t at = static_cast<size_t>(word.start_byte);
      for (int64_t i = word.start; i < boundaries[next]; ++i) DecodeUtf8(text, at);
      left.end = word.start = boundaries[next];
      left.end_byte = word.start_byte = static_cast<int64_t>(at);
      result.push_back(left);
      whole = false;
    }
    cut += !whole;
    result.push_back(word);
  }
  *words = std::move(result);
  return cut;
}

std::string_view TrimWhiteSpace(std::string_view text) {
  size_t first = text.size(), end = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    const int32_t c = DecodeUtf8(text, at);
    if (c < 0) ++at;  // not valid after all: never an endless loop
    if (c >= 0 && IsWhiteSpace(static_cast<char32_t>(c))) continue;
    first = std::min(first, here);
    end = at;
  }
  return first >= end ? std::string_view() : text.substr(first, end - first);
}

}  // namespace engram::tagging
