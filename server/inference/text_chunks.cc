#include "server/inference/text_chunks.h"

#include <span>

#include "ATen/TensorOperators.h"
#include "core/longcontext/windows.h"

namespace engram::server {

absl::StatusOr<TextChunks> CutIntoChunks(const serve::ServedVersion& version, std::string_view text,
                                         std::optional<bool> split_special_tokens) {
  tokenize::EncodeOptions options;
  options.add_special_tokens = false;
  if (split_special_tokens) options.split_special_tokens = *split_special_tokens;
  ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding content, version.tokenizer->Encode(text, options));
  const tokenize::TextFrame& frame = version.tokenizer->frame();
  const auto special = static_cast<int64_t>(frame.size()), length = static_cast<int64_t>(content.ids.size());
  const std::span<const int32_t> ids(content.ids);
  TextChunks chunks;
  chunks.full_tokens = length + special;
  const auto add = [&](int64_t begin, int64_t count) {
    chunks.sequences.push_back({frame.Around(ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count))), {}});
    chunks.tokens += count + special;
  };
  if (chunks.full_tokens <= version.max_tokens()) {
    add(0, length);
    return chunks;
  }
  for (const longcontext::TokenWindow& window : longcontext::PlanTokenWindows(
           content.words, version.max_tokens() - special, /*overlap=*/0, longcontext::LastWindow::kShifted))
    add(window.begin, window.tokens());
  return chunks;
}

void ChunkMean::Add(const std::map<std::string, at::Tensor>& logits) {
  for (const auto& [task, own] : logits) {
    at::Tensor& sum = sums_[task];
    sum = sum.defined() ? sum + own.to(at::kDouble) : own.to(at::kDouble);
  }
  ++count_;
}

at::Tensor ChunkMean::Of(const std::string& task) const { return (sums_.at(task) / count_).to(at::kFloat); }

}  // namespace engram::server
