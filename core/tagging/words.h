#pragma once

// Words of a raw text, with their places: what a tagger is fed, at inference as in training from character spans.
//
// CoNLL data comes cut into words; a raw text has to be cut the same way, or the tagger sees other words than it
// learned. The rules follow what the public CoNLL sets (CoNLL-2003, OntoNotes, WNUT17) have in common:
//   1. White space (Unicode White_Space) and control characters separate words and belong to none.
//   2. Letters, digits, marks and "_" stick together. Between two of them one of . ' ’ - / & @ + does not separate
//   ("3.5", "o'clock",
//      "e-mail", "w/o", "AT&T", "a@b.org"), and neither do , and : between digits ("30,000", "14:30").
//   3. "@" and "#" before a letter or digit belong to that word, if none stands before them ("@user", "#topic").
//   4. A full stop stays with an abbreviation of single letters ("U.S.", "p.m.").
//   5. English clitics are words of their own: "do|n't", "Mary|'s", 'm 're 've 'll 'd, with ' or ’.
//   6. An address that begins with "http://", "https://" or "www." is one word up to the next white space, without
//   closing punctuation.
//   7. Each Han character is a word (Chinese and Japanese CoNLL sets are cut by character).
//   8. Everything else: a run of one and the same punctuation mark or symbol is a word ("...", "!!"), so is a symbol
//   with the
//      variation selectors, joiners and skin tones that follow it.
// No normalisation: a word's bytes are the text's bytes. Linear time.

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::tagging {

struct Word {
  int64_t start_byte = 0, end_byte = 0;  // UTF-8 bytes of the text, end exclusive
  int64_t start = 0, end = 0;            // code points
  friend bool operator==(const Word&, const Word&) = default;
  std::string_view In(std::string_view text) const { return text.substr(start_byte, end_byte - start_byte); }
};

// INVALID_ARGUMENT (field "text") if the text is not UTF-8.
absl::StatusOr<std::vector<Word>> SplitWords(std::string_view text);

// Cuts words where an entity given in code points begins or ends inside one ("Paris" in "Paris-based"), so that the
// entity is a whole number of words. `boundaries` ascending code points. Returns how many words were cut.
int64_t CutWords(std::string_view text, std::vector<Word>* words, std::vector<int64_t> boundaries);

// What Unicode calls White_Space.
bool IsWhiteSpace(char32_t c);
// Without white space at both ends. `text` must be valid UTF-8.
std::string_view TrimWhiteSpace(std::string_view text);

}  // namespace engram::tagging
