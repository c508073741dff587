#pragma once

// BertNormalizer and BertPreTokenizer, character by character: original text in, words out, each character of a word
// with the place it came from. The classes of code points are bert_tables.inc, asked of the wheel; see
// scripts/generate_bert_tables.py.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/utf8.h"
#include "core/tokenize/tokenizer.h"

namespace engram::tokenize {

struct BertNormalizerOptions {
  bool clean_text = true, chinese_chars = true, strip_accents = true, lowercase = true;
};

// Where a normalized character came from in the original text.
struct Source {
  Range bytes, code_points;
};

// Text after normalization, a word or more. Reused from word to word so that a long text allocates once.
struct NormalizedText {
  std::string text;                       // UTF-8
  std::vector<Range> bytes, code_points;  // for each byte of `text`: the original character that it came from
  int64_t characters = 0;
  void Append(int32_t code_point, const Source& source) {
    const size_t before = text.size();
    AppendUtf8(code_point, text);
    bytes.insert(bytes.end(), text.size() - before, source.bytes);
    code_points.insert(code_points.end(), text.size() - before, source.code_points);
    ++characters;
  }
  void clear() {
    text.clear();
    bytes.clear();
    code_points.clear();
    characters = 0;
  }
};

// What the tables say of one code point.
enum CodePointFlags : uint16_t {
  kFlagRemoved = 1,       // clean_text drops it
  kFlagSpace = 2,         // clean_text makes it a space
  kFlagChinese = 4,       // a word of its own
  kFlagSplit = 8,         // ends a word
  kFlagPunctuation = 16,  // a word of its own
  kFlagDecomposes = 32,   // NFD takes it apart
  kFlagLower = 64,        // has a lower case
  kFlagMark = 128,        // canonical combining class above 0
  kFlagDropped = 256,     // strip_accents drops it
};
uint16_t FlagsOf(int32_t code_point);
// NFD of a code point with kFlagDecomposes (Hangul included), appended to `out`.
void AppendDecomposed(int32_t code_point, std::vector<int32_t>& out);
// Lower case of a code point with kFlagLower.
void AppendLower(int32_t code_point, std::vector<int32_t>& out);
// Canonical combining class (only its order counts) of a code point with kFlagMark.
uint8_t CombiningClass(int32_t code_point);

// Whether the regular expressions \w and \s of the wheel match a code point.
bool IsWordCharacter(int32_t code_point);
bool IsSpaceCharacter(int32_t code_point);

// The normalized text as it is.
class NormalizedTextSink {
 public:
  void Take(int32_t c, uint16_t, const Source& source) { text_.Append(c, source); }
  const NormalizedText& text() const { return text_; }

 private:
  NormalizedText text_;
};

// BertPreTokenizer: spaces end a word, punctuation is a word. emit(const NormalizedText&) is called for each word in
// order, for the last one by End.
template <typename Emit>
class BertPreTokenizer {
 public:
  explicit BertPreTokenizer(const Emit& emit) : emit_(emit) {}

  void Take(int32_t c, uint16_t flags, const Source& source) {
    if ((flags & kFlagSplit) != 0) {
      End();
    } else if ((flags & kFlagPunctuation) != 0) {
      End();
      word_.Append(c, source);
      End();
    } else {
      word_.Append(c, source);
    }
  }
  void End() {
    if (word_.text.empty()) return;
    emit_(word_);
    word_.clear();
  }

 private:
  const Emit& emit_;
  NormalizedText word_;
};

// One pass over one text. Use: BertNormalizer(options, sink).Run(text); sink.Take(code point, FlagsOf(code point),
// source) is called for each normalized character in order. Not thread-safe; make one for each text.
template <typename Sink>
class BertNormalizer {
 public:
  BertNormalizer(const BertNormalizerOptions& options, Sink& sink) : options_(options), sink_(sink) {}

  // `text` must be valid UTF-8.
  void Run(std::string_view text) {
    uint32_t code_point_index = 0;
    for (size_t at = 0; at < text.size(); ++code_point_index) {
      const size_t begin = at;
      const unsigned char byte = static_cast<unsigned char>(text[at]);
      const int32_t c = byte < 0x80 ? (++at, byte) : DecodeUtf8(text, at);
      const Source source{{static_cast<uint32_t>(begin), static_cast<uint32_t>(at)},
                          {code_point_index, code_point_index + 1}};
      const uint16_t flags = FlagsOf(c);
      if (flags == 0) {  // a plain small letter or digit: most of all text
        FlushMarks();
        starter_ = source;
        sink_.Take(c, flags, source);
        continue;
      }
      if (options_.clean_text && (flags & kFlagRemoved) != 0) continue;
      const int32_t cleaned = options_.clean_text && (flags & kFlagSpace) != 0 ? ' ' : c;
      const bool isolate = options_.chinese_chars && (flags & kFlagChinese) != 0;
      if (isolate) Normalize(' ', source);
      Normalize(cleaned, source);
      if (isolate) Normalize(' ', source);
    }
    FlushMarks();
  }

 private:
  struct Mark {
    int32_t code_point;
    uint8_t combining_class;
    bool inserted;  // not the first part of a decomposition: no original character of its own
    Source source;
  };

  // Decomposition, canonical ordering and stripping, then lower case.
  void Normalize(int32_t c, const Source& source) {
    if (!options_.strip_accents) {
      Lower(c, source);
      return;
    }
    parts_.clear();
    if ((FlagsOf(c) & kFlagDecomposes) != 0) {
      AppendDecomposed(c, parts_);
    } else {
      parts_.push_back(c);
    }
    for (size_t i = 0; i < parts_.size(); ++i) {
      const int32_t part = parts_[i];
      if ((FlagsOf(part) & kFlagMark) != 0) {
        marks_.push_back({part, CombiningClass(part), i > 0, source});
        continue;
      }
      FlushMarks();
      starter_ = source;
      Strip(part, source);
    }
  }
  void Strip(int32_t c, const Source& source) {
    if ((FlagsOf(c) & kFlagDropped) == 0) Lower(c, source);
  }
  // Canonical ordering. The reference hands the original places out in the new order: the k-th mark gets the place of
  // the k-th mark of the text, and one that decomposition inserted shares the place before it.
  void FlushMarks() {
    if (marks_.empty()) return;
    places_.clear();
    for (const Mark& mark : marks_) {
      if (!mark.inserted) places_.push_back(mark.source);
    }
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    Source place = starter_;
    size_t next = 0;
    for (const Mark& mark : marks_) {
      if (!mark.inserted) place = places_[next++];
      Strip(mark.code_point, place);
    }
    marks_.clear();
  }

  void Lower(int32_t c, const Source& source) {
    const uint16_t flags = FlagsOf(c);
    if (!options_.lowercase || (flags & kFlagLower) == 0) {
      sink_.Take(c, flags, source);
      return;
    }
    lowered_.clear();
    AppendLower(c, lowered_);
    for (const int32_t part : lowered_) sink_.Take(part, FlagsOf(part), source);
  }

  const BertNormalizerOptions& options_;
  Sink& sink_;
  std::vector<Mark> marks_;
  std::vector<Source> places_;
  Source starter_;
  std::vector<int32_t> parts_, lowered_;
};

}  // namespace engram::tokenize
