#include "core/tokenize/splitter.h"

#include <cstdint>

#include "core/base/utf8.h"
#include "core/tokenize/code_points.h"

namespace engram::tokenize {
namespace {

using enum CharacterKind;

constexpr std::string_view kLlama3Expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

bool IsLineEnd(char c) { return c == '\r' || c == '\n'; }

// The class of the character at `at` (kSpace at the end, where no run goes on), and the end of that character.
struct Next {
  CharacterKind kind;
  size_t end;
};
Next Look(std::string_view text, size_t at) {
  if (at >= text.size()) return {kSpace, at};
  const int32_t c = DecodeUtf8(text, at);
  return {ClassOf(c), at};
}

// The end of the run of one class from `at` on, of at most `limit` characters.
size_t RunEnd(std::string_view text, size_t at, CharacterKind kind, size_t limit = SIZE_MAX) {
  for (; at < text.size() && limit > 0; --limit) {
    const Next next = Look(text, at);
    if (next.kind != kind) break;
    at = next.end;
  }
  return at;
}

// The end of 's, 't, 're, 've, 'm, 'll or 'd at `at`; `at` if there is none. In any case: the long s is an s, too.
size_t ContractionEnd(std::string_view text, size_t at, bool any_case) {
  const auto letter = [&](size_t i) -> char {
    if (i >= text.size()) return 0;
    const char c = text[i];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  if (text[at] != '\'') return at;
  const char first = letter(at + 1), second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
    return at + 3;
  return any_case && text.substr(at + 1).starts_with("\u017f") ? at + 3 : at;
}

// \s+(?!\S)|\s+ at white space: a run before something else leaves its last character to it.
size_t SpacesEnd(std::string_view text, size_t at) {
  size_t last = at, end = at;
  while (end < text.size()) {
    const Next next = Look(text, end);
    if (next.kind != kSpace) return last > at ? last : end;
    last = end;
    end = next.end;
  }
  return end;
}

size_t Gpt2End(std::string_view text, size_t at) {
  if (const size_t end = ContractionEnd(text, at, /*any_case=*/false); end > at) return end;
  Next next = Look(text, at);
  if (text[at] == ' ') {
    const Next behind = Look(text, at + 1);
    if (behind.kind == kSpace) return SpacesEnd(text, at);
    next = behind;
  }
  return next.kind == kSpace ? SpacesEnd(text, at) : RunEnd(text, next.end, next.kind);
}

// \s*[\r\n]+ at white space: up to the last line end of the run; `at` if the run has none.
size_t LinesEnd(std::string_view text, size_t at) {
  size_t end = at;
  for (size_t i = at; i < text.size();) {
    const Next next = Look(text, i);
    if (next.kind != kSpace) break;
    if (IsLineEnd(text[i])) end = next.end;
    i = next.end;
  }
  return end;
}

size_t OthersEnd(std::string_view text, size_t at) {
  size_t end = RunEnd(text, at, kOther);
  while (end < text.size() && IsLineEnd(text[end])) ++end;
  return end;
}

size_t Llama3End(std::string_view text, size_t at, size_t numbers) {
  if (const size_t end = ContractionEnd(text, at, /*any_case=*/true); end > at) return end;
  const Next next = Look(text, at);
  if (next.kind == kLetter) return RunEnd(text, next.end, kLetter);
  if (next.kind == kNumber) return RunEnd(text, at, kNumber, numbers);
  const bool before_letters = next.end < text.size() && Look(text, next.end).kind == kLetter;
  if (before_letters && !IsLineEnd(text[at])) return RunEnd(text, next.end, kLetter);
  if (next.kind == kOther) return OthersEnd(text, at);
  if (text[at] == ' ' && Look(text, at + 1).kind == kOther) return OthersEnd(text, at + 1);
  const size_t lines = LinesEnd(text, at);
  return lines > at ? lines : SpacesEnd(text, at);
}

}  // namespace

std::optional<SplitPattern> FindSplitPattern(std::string_view expression) {
  if (expression == kGpt2Expression) return SplitPattern::kGpt2;
  if (expression == kLlama3Expression) return SplitPattern::kLlama3;
  if (expression == kQwen2Expression) return SplitPattern::kQwen2;
  return std::nullopt;
}

size_t PieceEnd(SplitPattern pattern, std::string_view text, size_t at) {
  return pattern == SplitPattern::kGpt2 ? Gpt2End(text, at)
                                        : Llama3End(text, at, pattern == SplitPattern::kLlama3 ? 3 : 1);
}

}  // namespace engram::tokenize
