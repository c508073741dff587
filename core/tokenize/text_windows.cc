#include "core/tokenize/text_windows.h"

#include <span>
#include <utility>

#include "core/tokenize/token_windows.h"

namespace engram::tokenize {

absl::StatusOr<TextWindows> EncodeInWindows(const Tokenizer& tokenizer, std::string_view text, int64_t max_tokens,
                                            std::optional<bool> split_special_tokens) {
  EncodeOptions options;
  options.add_special_tokens = false;
  options.split_special_tokens = split_special_tokens;
  ENGRAM_ASSIGN_OR_RETURN(Encoding content, tokenizer.Encode(text, options));
  const TextFrame& frame = tokenizer.frame();
  const int64_t special = frame.size(), length = static_cast<int64_t>(content.ids.size());
  if (max_tokens <= special) return InvalidField("max_length", "leaves no room beside the special tokens");
  TextWindows result;
  result.full_tokens = length + special;
  const auto add = [&](int64_t begin, int64_t count, int64_t counted) {
    const std::vector<int32_t> ids =
        frame.Around(std::span(content.ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
    result.ids.insert(result.ids.end(), ids.begin(), ids.end());
    result.windows.push_back({static_cast<int32_t>(ids.size()), static_cast<int32_t>(counted)});
  };
  if (result.full_tokens <= max_tokens) {
    add(0, length, length);
  } else {
    for (const TokenWindow& window :
         PlanTokenWindows(content.words, max_tokens - special, /*overlap=*/0, LastWindow::kShifted))
      add(window.begin, window.tokens(), window.owned());
  }
  result.content = std::move(content.ids);
  return result;
}

}  // namespace engram::tokenize
