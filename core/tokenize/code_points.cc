#include "core/tokenize/code_points.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <utility>

namespace engram::tokenize {
namespace {

struct CodePointRange {
  int32_t first, last;
};
struct Composition {
  int32_t first, second, whole;
};

#include "core/tokenize/piece_tables.inc"

constexpr size_t kCodePoints = 0x110000;
constexpr int32_t kSyllables = 0xAC00, kLeadings = 0x1100, kVowels = 0x1161, kTrailings = 0x11A7;
constexpr int32_t kLeadingCount = 19, kVowelCount = 21, kTrailingCount = 28;
constexpr int32_t kSyllableCount = kLeadingCount * kVowelCount * kTrailingCount;

// A value of every code point; the parts that text touches stay in the cache.
template <typename T>
class Table {
 public:
  Table() : values_(std::make_unique<std::array<T, kCodePoints>>()) { values_->fill(T{}); }
  template <size_t kSize>
  void Add(const CodePointRange (&ranges)[kSize], T flag) {
    for (const CodePointRange& range : ranges) {
      for (int32_t c = range.first; c <= range.last; ++c) Add(c, flag);
    }
  }
  void Add(int32_t c, T flag) { (*values_)[static_cast<size_t>(c)] = static_cast<T>(operator[](c) | flag); }
  T operator[](int32_t c) const { return (*values_)[static_cast<size_t>(c)]; }

 private:
  std::unique_ptr<std::array<T, kCodePoints>> values_;
};

Table<uint8_t> MakeClasses() {
  Table<uint8_t> table;
  table.Add(kLetter, static_cast<uint8_t>(CharacterKind::kLetter));
  table.Add(kNumber, static_cast<uint8_t>(CharacterKind::kNumber));
  table.Add(kRegexSpace, static_cast<uint8_t>(CharacterKind::kSpace));
  return table;
}

Table<uint16_t> MakeGraphemeFlags() {
  Table<uint16_t> table;
  table.Add(kGraphemeJoins, kJoins);
  table.Add(kGraphemePrepends, kPrepends);
  table.Add(kGraphemeControl, kControl);
  table.Add(kGraphemeLeading, kLeading);
  table.Add(kGraphemeVowel, kVowel);
  table.Add(kGraphemeTrailing, kTrailing);
  table.Add(kGraphemePictograph, kPictograph);
  table.Add(kGraphemeJoinsPictographs, kJoinsPictographs);
  table.Add(kGraphemeConsonant, kConsonant);
  table.Add(kGraphemeLinker, kLinker);
  table.Add(kGraphemeJoinsConsonants, kJoinsConsonants);
  return table;
}

Table<uint8_t> MakeBackward() {
  Table<uint8_t> table;
  for (const Composition& pair : kCompositions) table.Add(pair.second, 1);
  for (int32_t c = kVowels; c < kVowels + kVowelCount; ++c) table.Add(c, 1);
  for (int32_t c = kTrailings + 1; c < kTrailings + kTrailingCount; ++c) table.Add(c, 1);
  return table;
}

}  // namespace

CharacterKind ClassOf(int32_t code_point) {
  static const Table<uint8_t> table = MakeClasses();
  return static_cast<CharacterKind>(table[code_point]);
}

uint16_t GraphemeFlagsOf(int32_t code_point) {
  static const Table<uint16_t> table = MakeGraphemeFlags();
  return table[code_point];
}

bool ComposesBackward(int32_t code_point) {
  static const Table<uint8_t> table = MakeBackward();
  return table[code_point] != 0;
}

int32_t Compose(int32_t first, int32_t second) {
  // Hangul by arithmetic (Unicode standard, section 3.12).
  const int32_t leading = first - kLeadings, vowel = second - kVowels, syllable = first - kSyllables,
                trailing = second - kTrailings;
  if (leading >= 0 && leading < kLeadingCount && vowel >= 0 && vowel < kVowelCount)
    return kSyllables + (leading * kVowelCount + vowel) * kTrailingCount;
  if (syllable >= 0 && syllable < kSyllableCount && syllable % kTrailingCount == 0 && trailing > 0 &&
      trailing < kTrailingCount)
    return first + trailing;
  const auto* found = std::lower_bound(std::begin(kCompositions), std::end(kCompositions), std::pair(first, second),
                                       [](const Composition& entry, const std::pair<int32_t, int32_t>& pair) {
                                         return std::pair(entry.first, entry.second) < pair;
                                       });
  const bool match = found != std::end(kCompositions) && found->first == first && found->second == second;
  return match ? found->whole : -1;
}

}  // namespace engram::tokenize
