// Any text: words that are in order, whole characters, not empty, and cover everything but space and controls; cut
// anywhere they still cover the same characters.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/base/utf8.h"
#include "core/tagging/words.h"

namespace {

int64_t CheckWords(const std::string& text, const std::vector<engram::tagging::Word>& words) {
  int64_t byte = 0, covered = 0;
  for (const auto& word : words) {
    const bool good = word.start_byte >= byte && word.start_byte < word.end_byte &&
                      word.end_byte <= static_cast<int64_t>(text.size()) && !engram::FindInvalidUtf8(word.In(text)) &&
                      engram::CountCodePoints(word.In(text)) == word.end - word.start &&
                      engram::CountCodePoints(std::string_view(text).substr(0, word.start_byte)) == word.start;
    if (!good) std::abort();
    byte = word.end_byte;
    covered += word.end - word.start;
  }
  return covered;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)engram::tagging::TrimWhiteSpace(text);
  auto words = engram::tagging::SplitWords(text);
  if (words.ok() == engram::FindInvalidUtf8(text).has_value()) std::abort();
  if (!words.ok()) return 0;
  const int64_t covered = CheckWords(text, *words);
  int64_t expected = 0;
  for (size_t at = 0; at < text.size();) {
    const auto c = static_cast<char32_t>(engram::DecodeUtf8(text, at));
    expected += !engram::tagging::IsWhiteSpace(c) && c >= 0x20 && !(c >= 0x7F && c <= 0x9F);
  }
  if (covered != expected) std::abort();
  std::vector<int64_t> boundaries;
  for (size_t i = 0; i < size; i += 3) boundaries.push_back(data[i] % (static_cast<int64_t>(size) + 1));
  engram::tagging::CutWords(text, &*words, boundaries);
  if (CheckWords(text, *words) != covered) std::abort();
  return 0;
}
