#include "core/longcontext/chunk_encode.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/maximum.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "c10/core/InferenceMode.h"
#include "core/nn/packed_batch.h"
#include "core/nn/sentence_vectors.h"

namespace engram::longcontext {
namespace {

// The last position in (low, high] where a word begins; `high` if there is none.
int64_t WordBoundary(const std::vector<int32_t>& words, int64_t low, int64_t high) {
  for (int64_t at = high; at > low; --at) {
    if (words[static_cast<size_t>(at)] != words[static_cast<size_t>(at) - 1]) return at;
  }
  return high;
}

// The document's running sum or maximum over the tokens that count.
class Aggregate {
 public:
  Aggregate(Aggregation kind, int64_t width)
      : kind_(kind),
        value_(kind == Aggregation::kMax ? at::full({width}, -std::numeric_limits<double>::infinity(), at::kDouble)
                                         : at::zeros({width}, at::kDouble)) {}

  // rows: [tokens, d], tokens >= 1.
  void Add(const at::Tensor& rows) {
    if (kind_ == Aggregation::kMax) {
      value_ = at::maximum(value_, rows.amax(0).to(at::kDouble));
    } else {
      value_ += rows.sum(at::IntArrayRef{0}, /*keepdim=*/false, at::kDouble);
    }
    count_ += rows.size(0);
  }
  at::Tensor Result() const {
    return (kind_ == Aggregation::kMax ? value_ : value_ / static_cast<double>(count_)).to(at::kFloat);
  }

 private:
  Aggregation kind_;
  at::Tensor value_;  // fp64 [d]: a sum over millions of tokens keeps its digits
  int64_t count_ = 0;
};

// Tokens of a chunk beside the `special` ones.
absl::StatusOr<int64_t> ContentBudget(const nn::Model& model, int64_t special, const ChunkOptions& options) {
  const int64_t longest = model.config().max_length();
  const int64_t chunk = options.chunk_tokens == 0 ? longest : options.chunk_tokens;
  if (chunk < 8 || chunk > longest) {
    return InvalidField("chunk_tokens", absl::StrCat("is ", chunk, "; it must be 0 or lie in [8, ", longest, "]"));
  }
  const int64_t budget = chunk - special;
  if (options.overlap < 0 || options.overlap > budget / 2) {
    return InvalidField("overlap", absl::StrCat("is ", options.overlap, "; it must lie in [0, ", budget / 2, "]"));
  }
  return budget;
}

nn::Sequence Wrap(const tokenize::Encoding& encoding, const TokenWindow& window, const tokenize::TextFrame& frame) {
  const std::span<const int32_t> ids(encoding.ids);
  return {frame.Around(ids.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(window.end - window.begin))),
          {}};
}

Chunk Describe(const tokenize::Encoding& encoding, const TokenWindow& window) {
  const auto first = static_cast<size_t>(window.begin), last = static_cast<size_t>(window.end) - 1;
  Chunk chunk{encoding.code_points[first].begin, encoding.code_points[last].end, encoding.bytes[first].begin,
              encoding.bytes[last].end, window.end - window.begin};
  return chunk;
}

// Short chunks of a long text make more vectors than text; nothing is allocated for more than a reply can carry.
absl::Status CheckResultSize(int64_t chunks, int64_t width, const ChunkOptions& options) {
  const int64_t one =
      static_cast<int64_t>(sizeof(Chunk)) + (options.chunk_vectors ? width * static_cast<int64_t>(sizeof(float)) : 0);
  if (chunks <= options.max_result_bytes / one) return absl::OkStatus();
  return InvalidField(
      "chunk_tokens",
      absl::StrCat("makes ", chunks, " chunks of ", one, " bytes each; at most ", options.max_result_bytes / one,
                   " fit into an answer: ask for longer chunks, or leave their vectors out"));
}

// Adds the windows [first, last), encoded as one batch.
absl::Status AddBatch(const nn::Model& model, const tokenize::Encoding& encoding, const tokenize::TextFrame& frame,
                      std::span<const TokenWindow> windows, int64_t first, Aggregation kind, Aggregate& document,
                      at::Tensor& chunk_vectors) {
  std::vector<nn::Sequence> sequences;
  for (const TokenWindow& window : windows) sequences.push_back(Wrap(encoding, window, frame));
  ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch,
                          nn::Pack(std::span<const nn::Sequence>(sequences), model.parameters().device()));
  const at::Tensor hidden = model.Encode(batch, std::nullopt, nullptr).cpu();
  for (size_t i = 0; i < windows.size(); ++i) {
    const TokenWindow& window = windows[i];
    const auto first_row = batch.host_cu_seqlens[i] + static_cast<int64_t>(frame.before.size());
    const at::Tensor rows = hidden.narrow(0, first_row, window.end - window.begin).to(at::kFloat);
    document.Add(rows.narrow(0, window.first_owned - window.begin, window.end_owned - window.first_owned));
    if (!chunk_vectors.defined()) continue;
    Aggregate own(kind, rows.size(1));
    own.Add(rows);
    chunk_vectors.select(0, first + static_cast<int64_t>(i)).copy_(own.Result());
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<TokenWindow> PlanTokenWindows(const std::vector<int32_t>& words, int64_t budget, int64_t overlap) {
  const auto tokens = static_cast<int64_t>(words.size());
  std::vector<TokenWindow> windows;
  for (int64_t begin = 0; begin < tokens;) {
    TokenWindow window{begin, std::min(tokens, begin + budget), begin, 0};
    if (window.end < tokens) window.end = WordBoundary(words, begin + std::max(budget / 2, overlap), window.end);
    windows.push_back(window);
    if (window.end == tokens) break;
    begin = window.end - overlap;
  }
  // A token of an overlap belongs to the chunk in which it is farther from the border: the overlap is halved.
  for (size_t i = 0; i < windows.size(); ++i) {
    const bool last = i + 1 == windows.size();
    windows[i].end_owned = last ? windows[i].end : (windows[i].end + windows[i + 1].begin + 1) / 2;
    if (!last) windows[i + 1].first_owned = windows[i].end_owned;
  }
  return windows;
}

absl::StatusOr<DocumentVectors> EncodeDocument(const nn::Model& model, const tokenize::Tokenizer& tokenizer,
                                               std::string_view text, const ChunkOptions& options) {
  const c10::InferenceMode inference;
  ENGRAM_ASSIGN_OR_RETURN(const int64_t budget, ContentBudget(model, tokenizer.frame().size(), options));
  tokenize::EncodeOptions plain;
  plain.add_special_tokens = false;
  ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding encoding, tokenizer.Encode(text, plain));
  if (encoding.ids.empty()) return InvalidField("text", "is empty, or has nothing but white space; send some text");
  const std::vector<TokenWindow> windows = PlanTokenWindows(encoding.words, budget, options.overlap);
  const auto count = static_cast<int64_t>(windows.size());
  const int64_t width = model.config().hidden_size;
  ENGRAM_RETURN_IF_ERROR(CheckResultSize(count, width, options));
  DocumentVectors result;
  result.tokens = static_cast<int64_t>(encoding.ids.size());
  if (options.chunk_vectors) result.chunk_vectors = at::empty({count, width}, at::kFloat);
  Aggregate document(options.aggregation, width);
  for (int64_t first = 0; first < count;) {
    int64_t last = first, tokens = 0;
    while (last < count) {
      const TokenWindow& window = windows[static_cast<size_t>(last)];
      tokens += window.end - window.begin + tokenizer.frame().size();
      if (last > first && tokens > options.batch_tokens) break;
      result.chunks.push_back(Describe(encoding, window));
      ++last;
    }
    ENGRAM_RETURN_IF_ERROR(
        AddBatch(model, encoding, tokenizer.frame(),
                 std::span(windows).subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)), first,
                 options.aggregation, document, result.chunk_vectors));
    if (options.progress && !options.progress(last, count)) return absl::CancelledError("the client went away");
    first = last;
  }
  at::Tensor vector = document.Result();
  if (options.normalize) {
    vector = nn::UnitLength(vector);
    if (options.chunk_vectors) result.chunk_vectors = nn::UnitLength(result.chunk_vectors);
  }
  result.document.assign(vector.const_data_ptr<float>(), vector.const_data_ptr<float>() + width);
  return result;
}

}  // namespace engram::longcontext
