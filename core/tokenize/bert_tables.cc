#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <span>
#include <string_view>

#include "core/base/utf8.h"
#include "core/tokenize/bert_normalizer.h"

namespace engram::tokenize {
namespace {

struct CodePointRange {
  int32_t first, last;
};
struct CodePointMapping {
  int32_t code_point;
  uint16_t at;
  uint8_t length;
};
struct CodePointClass {
  int32_t code_point;
  uint8_t combining_class;
};

#include "core/tokenize/bert_tables.inc"

constexpr int32_t kHangulFirst = 0xAC00, kHangulLast = 0xD7A3, kCodePoints = 0x110000;

// Flags of every code point; the parts that text touches stay in the cache.
class FlagTable {
 public:
  FlagTable() : flags_(std::make_unique<std::array<uint16_t, kCodePoints>>()) {
    flags_->fill(0);
    for (const auto& r : kRemoved) Set(r, kFlagRemoved);
    for (const auto& r : kSpace) Set(r, kFlagSpace);
    for (const auto& r : kChinese) Set(r, kFlagChinese);
    for (const auto& r : kSplit) Set(r, kFlagSplit);
    for (const auto& r : kPunctuation) Set(r, kFlagPunctuation);
    for (const auto& r : kDropped) Set(r, kFlagDropped);
    for (const auto& m : kMarks) (*flags_)[m.code_point] |= kFlagMark;
    for (const auto& m : kDecomposed) (*flags_)[m.code_point] |= kFlagDecomposes;
    for (const auto& m : kLower) (*flags_)[m.code_point] |= kFlagLower;
    Set({kHangulFirst, kHangulLast}, kFlagDecomposes);
  }
  uint16_t operator[](int32_t c) const { return (*flags_)[c]; }

 private:
  void Set(CodePointRange range, uint16_t flag) {
    for (int32_t c = range.first; c <= range.last; ++c) (*flags_)[c] |= flag;
  }
  std::unique_ptr<std::array<uint16_t, kCodePoints>> flags_;
};

const FlagTable& Flags() {
  static const FlagTable table;
  return table;
}

template <size_t kSize>
void AppendMapped(const CodePointMapping (&table)[kSize], const unsigned char* text, int32_t code_point,
                  std::vector<int32_t>& out) {
  const auto* found = std::lower_bound(std::begin(table), std::end(table), code_point,
                                       [](const CodePointMapping& entry, int32_t c) { return entry.code_point < c; });
  const std::string_view target(reinterpret_cast<const char*>(text) + found->at, found->length);
  for (size_t at = 0; at < target.size();) out.push_back(DecodeUtf8(target, at));
}

bool InRanges(std::span<const CodePointRange> ranges, int32_t c) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), c,
                                      [](int32_t value, const CodePointRange& range) { return value < range.first; });
  return after != ranges.begin() && c <= std::prev(after)->last;
}

}  // namespace

uint16_t FlagsOf(int32_t code_point) { return Flags()[code_point]; }

void AppendDecomposed(int32_t code_point, std::vector<int32_t>& out) {
  if (code_point < kHangulFirst || code_point > kHangulLast) {
    AppendMapped(kDecomposed, kDecomposedText, code_point, out);
    return;
  }
  // Hangul syllables decompose by arithmetic (Unicode standard, section 3.12).
  const int32_t index = code_point - kHangulFirst;
  out.push_back(0x1100 + index / 588);
  out.push_back(0x1161 + index % 588 / 28);
  if (index % 28 != 0) out.push_back(0x11A7 + index % 28);
}

void AppendLower(int32_t code_point, std::vector<int32_t>& out) { AppendMapped(kLower, kLowerText, code_point, out); }

uint8_t CombiningClass(int32_t code_point) {
  const auto* found = std::lower_bound(std::begin(kMarks), std::end(kMarks), code_point,
                                       [](const CodePointClass& entry, int32_t c) { return entry.code_point < c; });
  return found != std::end(kMarks) && found->code_point == code_point ? found->combining_class : 0;
}

bool IsWordCharacter(int32_t code_point) { return InRanges(kWord, code_point); }

bool IsSpaceCharacter(int32_t code_point) { return InRanges(kWhiteSpace, code_point); }

}  // namespace engram::tokenize
