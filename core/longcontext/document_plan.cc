#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/longcontext/document.h"

namespace engram::longcontext {
namespace {

constexpr int64_t kLeastChunk = 8, kDefaultSpan = 256;

bool Whole(Mode mode) { return mode == Mode::kFull || mode == Mode::kSliding; }

// Aggregation and pooling, where one of them is unset as the other one wants it.
absl::Status Reduce(const EncodeOptions& options, bool has_cls, DocumentPlan& plan) {
  std::optional<Aggregation> aggregation = options.aggregation;
  plan.pooling = options.pooling.value_or(aggregation == Aggregation::kMax ? Pooling::kMax : Pooling::kMean);
  if (plan.pooling == Pooling::kCls && plan.mode == Mode::kLate)
    return InvalidField("pooling", "cls is one token of a window, and late chunks have none of their own; use mean");
  if (plan.pooling == Pooling::kCls && !has_cls)
    return InvalidField("pooling", "cls is the token before a text, and this model's tokenizer puts none there");
  if (Whole(plan.mode)) {
    if (aggregation) return InvalidField("aggregation", "goes with the modes chunk and late alone");
    if (plan.pooling == Pooling::kCls && options.chunk_vectors) {
      return InvalidField("pooling",
                          "cls is one token of the whole text, its chunks have none; leave their vectors "
                          "out, or use mean");
    }
    return absl::OkStatus();
  }
  if (!aggregation) {
    aggregation = plan.pooling == Pooling::kMean  ? Aggregation::kTokenMean
                  : plan.pooling == Pooling::kMax ? Aggregation::kMax
                                                  : Aggregation::kMean;
  }
  if (aggregation == Aggregation::kTokenMean && plan.pooling != Pooling::kMean)
    return InvalidField("aggregation", "token_mean is over all tokens and goes with the pooling mean; use mean");
  plan.aggregation = aggregation;
  return absl::OkStatus();
}

absl::Status CheckRange(std::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value == 0 || (value >= least && value <= most)) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", value, "; it must be 0 or lie in [", least, ", ", most, "]"));
}

// Content tokens of a window of kChunk and kLate.
absl::StatusOr<int64_t> Budget(const nn::Model& model, int64_t special, const EncodeOptions& options) {
  const int64_t longest = model.config().max_length();
  const bool late = options.mode == Mode::kLate;
  const int64_t asked = late ? options.window_tokens : options.chunk_tokens;
  ENGRAM_RETURN_IF_ERROR(CheckRange(late ? "window_tokens" : "chunk_tokens", asked, kLeastChunk, longest));
  if (!late && options.window_tokens != 0) return InvalidField("window_tokens", "goes with the modes late and sliding");
  const int64_t budget = (asked == 0 ? longest : asked) - special;
  if (options.overlap >= 0 && options.overlap <= budget / 2) return budget;
  return InvalidField("overlap", absl::StrCat("is ", options.overlap, "; it must lie in [0, ", budget / 2, "]"));
}

absl::Status CheckQuery(const EncodeOptions& options) {
  if (options.aggregation != Aggregation::kAttention) {
    if (options.query.empty()) return absl::OkStatus();
    return InvalidField("query", "goes with the aggregation attention alone");
  }
  if (!(options.temperature >= 0.001 && options.temperature <= 10))
    return InvalidField("temperature", absl::StrCat("is ", options.temperature, "; it must lie in [0.001, 10]"));
  if (options.query.empty()) return InvalidField("query", "is needed by the aggregation attention: send a text");
  return absl::OkStatus();
}

absl::StatusOr<tokenize::Encoding> Content(const tokenize::Tokenizer& tokenizer, std::string_view text) {
  tokenize::EncodeOptions plain;
  plain.add_special_tokens = false;
  return tokenizer.Encode(text, plain);
}

// Short chunks of a long text make more vectors than text; nothing is allocated for more than a reply can carry.
absl::Status CheckResultSize(int64_t chunks, int64_t width, const EncodeOptions& options) {
  const int64_t one =
      static_cast<int64_t>(sizeof(Chunk)) + (options.chunk_vectors ? width * static_cast<int64_t>(sizeof(float)) : 0);
  if (chunks <= options.max_result_bytes / one) return absl::OkStatus();
  return InvalidField(
      "chunk_tokens",
      absl::StrCat("makes ", chunks, " chunks of ", one, " bytes each; at most ", options.max_result_bytes / one,
                   " fit into an answer: ask for longer chunks, or leave their vectors out"));
}

// Windows of the modes that read the text in pieces.
absl::Status CutIntoWindows(const nn::Model& model, int64_t special, const std::vector<int32_t>& words,
                            const EncodeOptions& options, DocumentPlan& plan) {
  ENGRAM_ASSIGN_OR_RETURN(const int64_t budget, Budget(model, special, options));
  plan.windows = tokenize::PlanTokenWindows(words, budget, options.overlap, tokenize::LastWindow::kShifted);
  for (const tokenize::TokenWindow& window : plan.windows) plan.tokens_encoded += window.tokens() + special;
  return absl::OkStatus();
}

// The one window of those that read it whole.
absl::Status TakeWhole(const nn::Model& model, int64_t special, const EncodeOptions& options, DocumentPlan& plan) {
  if (options.overlap != 0) return InvalidField("overlap", "goes with the modes chunk and late alone");
  const int64_t trained = model.config().max_length();
  if (plan.mode == Mode::kFull && options.window_tokens != 0)
    return InvalidField("window_tokens", "goes with the modes late and sliding");
  if (plan.mode == Mode::kSliding) {
    ENGRAM_RETURN_IF_ERROR(CheckRange("window_tokens", options.window_tokens, 1, 4096));
    plan.window = options.window_tokens == 0 ? std::max<int64_t>(1, trained / 2) : options.window_tokens;
  }
  plan.tokens_encoded = plan.tokens + special;
  ENGRAM_ASSIGN_OR_RETURN(plan.positions,
                          ChoosePositions(model.config(), options.positions, plan.tokens_encoded, plan.window));
  plan.windows = {{0, plan.tokens, 0, plan.tokens}};
  return absl::OkStatus();
}

absl::StatusOr<DocumentPlan> Plan(const nn::Model& model, const tokenize::Tokenizer& tokenizer,
                                  tokenize::Encoding content, const std::vector<int32_t>& words,
                                  const EncodeOptions& options) {
  const int64_t special = tokenizer.frame().size();
  DocumentPlan plan;
  plan.mode = options.mode;
  ENGRAM_RETURN_IF_ERROR(Reduce(options, !tokenizer.frame().before.empty(), plan));
  ENGRAM_RETURN_IF_ERROR(CheckQuery(options));
  plan.tokens = static_cast<int64_t>(words.size());
  ENGRAM_RETURN_IF_ERROR(Whole(plan.mode) ? TakeWhole(model, special, options, plan)
                                          : CutIntoWindows(model, special, words, options, plan));
  if (plan.mode == Mode::kChunk) {
    plan.chunks = plan.windows;
  } else {
    ENGRAM_RETURN_IF_ERROR(
        CheckRange("chunk_tokens", options.chunk_tokens, kLeastChunk, std::numeric_limits<int32_t>::max()));
    plan.chunks = tokenize::PlanTokenWindows(words, options.chunk_tokens == 0 ? kDefaultSpan : options.chunk_tokens, 0);
  }
  ENGRAM_RETURN_IF_ERROR(
      CheckResultSize(static_cast<int64_t>(plan.chunks.size()), model.config().hidden_size, options));
  if (!options.query.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(const tokenize::Encoding query, Content(tokenizer, options.query));
    plan.query = tokenizer.frame().Around(query.ids);
    const auto length = static_cast<int64_t>(plan.query.size());
    if (query.ids.empty() || length > model.config().max_length()) {
      return InvalidField("query", absl::StrCat("has ", query.ids.size(), " tokens; it must have 1 to ",
                                                model.config().max_length() - special));
    }
  }
  plan.content = std::move(content);
  return plan;
}

}  // namespace

absl::StatusOr<DocumentPlan> PlanDocument(const nn::Model& model, const tokenize::Tokenizer& tokenizer,
                                          std::string_view text, const EncodeOptions& options) {
  ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding content, Content(tokenizer, text));
  if (content.ids.empty()) return InvalidField("text", "is empty, or has nothing but white space; send some text");
  const std::vector<int32_t> words = content.words;
  return Plan(model, tokenizer, std::move(content), words, options);
}

absl::StatusOr<DocumentPlan> PlanTokens(const nn::Model& model, const tokenize::Tokenizer& tokenizer, int64_t tokens,
                                        const EncodeOptions& options) {
  constexpr int64_t kMost = int64_t{1} << 24;  // a number a token is kept while its windows are made
  if (tokens < 1 || tokens > kMost)
    return InvalidField("plan_tokens", absl::StrCat("is ", tokens, "; it must lie in [1, ", kMost, "]"));
  std::vector<int32_t> words(static_cast<size_t>(tokens));
  std::iota(words.begin(), words.end(), 0);
  return Plan(model, tokenizer, {}, words, options);
}

}  // namespace engram::longcontext
