#pragma once

// What the pre-tokenizers, normal forms and grapheme clusters of huggingface/tokenizers know of a code point, asked of
// the wheel (scripts/generate_piece_tables.py); beside it what bert_normalizer.h has.

#include <cstdint>

namespace engram::tokenize {

// \p{L}, \p{N} and \s of the regular expressions; no code point is in two of them.
enum class CharacterKind : uint8_t { kOther, kLetter, kNumber, kSpace };
CharacterKind ClassOf(int32_t code_point);

// Roles in a grapheme cluster (Unicode standard annex 29). Hangul syllables have none: they go by arithmetic.
enum GraphemeFlags : uint16_t {
  kJoins = 1,               // to what is before it: Extend, ZWJ, SpacingMark
  kPrepends = 2,            // itself to what is behind it
  kControl = 4,             // alone, always
  kLeading = 8,             // Hangul jamo
  kVowel = 16,              //
  kTrailing = 32,           //
  kPictograph = 64,         // Extended_Pictographic
  kJoinsPictographs = 128,  // may stand between two pictographs: Extend
  kConsonant = 256,         // Indic_Conjunct_Break
  kLinker = 512,            //
  kJoinsConsonants = 1024,  // may stand between consonant and linker
};
uint16_t GraphemeFlagsOf(int32_t code_point);

// The primary composite of two code points, Hangul included; -1 if there is none.
int32_t Compose(int32_t first, int32_t second);
// Whether a code point composes with one before it.
bool ComposesBackward(int32_t code_point);

}  // namespace engram::tokenize
