#include "core/tokenize/graphemes.h"

#include <cstdint>

#include "core/base/utf8.h"
#include "core/tokenize/code_points.h"

namespace engram::tokenize {
namespace {

constexpr int32_t kFirstSyllable = 0xAC00, kLastSyllable = 0xD7A3, kFirstRegional = 0x1F1E6, kLastRegional = 0x1F1FF;

bool IsSyllable(int32_t c) { return c >= kFirstSyllable && c <= kLastSyllable; }
bool IsRegional(int32_t c) { return c >= kFirstRegional && c <= kLastRegional; }

// What a cluster holds so far, as far as it decides whether the next character joins it.
class Cluster {
 public:
  explicit Cluster(int32_t c) { Add(c, GraphemeFlagsOf(c)); }
  bool Takes(int32_t c) const {
    const uint16_t flags = GraphemeFlagsOf(c);
    if (last_ == '\r' && c == '\n') return true;
    if ((last_flags_ & kControl) != 0 || (flags & kControl) != 0) return false;
    if ((flags & kJoins) != 0 || (last_flags_ & kPrepends) != 0) return true;
    if (TakesJamo(c, flags)) return true;
    if ((flags & kConsonant) != 0 && consonant_ && linker_) return true;
    if ((flags & kPictograph) != 0 && pictograph_ && last_ == kZeroWidthJoiner) return true;
    return IsRegional(c) && IsRegional(last_) && regionals_ % 2 == 1;
  }
  void Add(int32_t c) { Add(c, GraphemeFlagsOf(c)); }

 private:
  static constexpr int32_t kZeroWidthJoiner = 0x200D;

  bool TakesJamo(int32_t c, uint16_t flags) const {
    const bool syllable = IsSyllable(last_), open = syllable && (last_ - kFirstSyllable) % 28 == 0;
    if ((last_flags_ & kLeading) != 0) return (flags & (kLeading | kVowel)) != 0 || IsSyllable(c);
    if ((last_flags_ & kVowel) != 0 || open) return (flags & (kVowel | kTrailing)) != 0;
    return ((last_flags_ & kTrailing) != 0 || syllable) && (flags & kTrailing) != 0;
  }
  void Add(int32_t c, uint16_t flags) {
    if ((flags & kConsonant) != 0) {
      consonant_ = true;
      linker_ = false;
    } else if ((flags & kLinker) != 0) {
      linker_ = consonant_;
    } else if ((flags & kJoinsConsonants) == 0) {
      consonant_ = linker_ = false;
    }
    pictograph_ = (flags & kPictograph) != 0 || (pictograph_ && (flags & kJoinsPictographs) != 0) ||
                  (pictograph_ && c == kZeroWidthJoiner && last_ != kZeroWidthJoiner);
    regionals_ += IsRegional(c) ? 1 : 0;
    last_ = c;
    last_flags_ = flags;
  }

  int32_t last_ = 0;
  uint16_t last_flags_ = 0;
  bool consonant_ = false, linker_ = false, pictograph_ = false;
  int regionals_ = 0;
};

}  // namespace

size_t GraphemeEnd(std::string_view text, size_t at) {
  Cluster cluster(DecodeUtf8(text, at));
  while (at < text.size()) {
    size_t next = at;
    const int32_t c = DecodeUtf8(text, next);
    if (!cluster.Takes(c)) break;
    cluster.Add(c);
    at = next;
  }
  return at;
}

}  // namespace engram::tokenize
