#pragma once

// The vectors of a text of any length, and of its chunks. Nothing is cut off: every content token counts exactly once,
// special tokens never.
//
//   chunk     windows that fit the model, each with special tokens of its own; a token sees its window alone. The last
//             window begins earlier rather than being short; a token in two windows counts in the one where it is
//             farther from the border.
//   late      late chunking (Guenther et al., arXiv 2409.04701): token vectors from windows as long as the model allows,
//             which may overlap as above, then chunks of them.
//   full      the model's own attention over everything, in bounded memory (streamed_encoder.h), beyond the trained
//             positions as long_positions.h says.
//   sliding   the same with a window around each token.
//
// Traps that this avoids: a mean of chunk means that weighs a short last chunk like a full one; [CLS] and [SEP] that
// count; tokens of overlaps that count twice; later windows without special tokens.

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/longcontext/long_positions.h"
#include "core/longcontext/pooling.h"
#include "core/nn/model.h"
#include "core/nn/position_plan.h"
#include "core/tokenize/token_windows.h"
#include "core/tokenize/tokenizer.h"

namespace engram::longcontext {

enum class Mode { kChunk, kLate, kFull, kSliding };

struct EncodeOptions {
  Mode mode = Mode::kChunk;
  // Of kChunk and kLate. Unset: kTokenMean; kMean where the pooling is kCls or kLast, kMax where it is kMax.
  std::optional<Aggregation> aggregation = {};
  // Of a chunk; of kFull and kSliding also of the document. Unset: kMean; kMax where the aggregation is.
  std::optional<Pooling> pooling = {};
  // The longest chunk. kChunk: special tokens included, 0: the model's longest. Else content tokens, 0: 256.
  int64_t chunk_tokens = 0;
  int64_t overlap = 0;  // content tokens that neighbouring windows share, at most half of one; of kChunk and kLate
  int64_t window_tokens = 0;  // kLate: a window's, special tokens included, 0: the model's longest. kSliding: what a
                              // token sees on each side, 0: half of the model's longest
  std::optional<nn::PositionPlan> positions = {};  // of kFull and kSliding; unset: ChoosePositions
  std::string_view query = {};                     // of the aggregation kAttention
  double temperature = 0.05;                       // of the aggregation kAttention
  int64_t batch_tokens = 8192;                     // of one packed batch; a single window may be longer
  bool normalize = false;                          // scale the vectors to length 1
  bool chunk_vectors = true;                       // false: DocumentVectors::chunk_vectors stays undefined
  int64_t max_result_bytes = int64_t{256} << 20;   // of the chunks and their vectors
  // Called after each step with (units done, units in all); a false answer ends the work with CANCELLED.
  std::function<bool(int64_t, int64_t)> progress = {};
  // Called with the vectors of all content tokens, run by run in their order: index of the first, fp32 [n, d] on the CPU.
  // A false answer ends the work with CANCELLED.
  std::function<bool(int64_t, const at::Tensor&)> token_rows = {};
};

// A part of the text. Chunks ascend; without overlap they do not intersect.
struct Chunk {
  int64_t start = 0, end = 0;            // code points of the text, of the first token's begin and the last one's end
  int64_t start_byte = 0, end_byte = 0;  // the same in UTF-8 bytes
  int64_t tokens = 0;                    // content tokens that it encodes
  int64_t owned_tokens = 0;              // those that count for it alone: over all chunks, the text's
};

// How a text is going to be read: checked, tokenized and cut, nothing computed yet.
struct DocumentPlan {
  Mode mode = Mode::kChunk;
  std::optional<Aggregation> aggregation;  // none with kFull and kSliding
  Pooling pooling = Pooling::kMean;
  tokenize::Encoding content;                  // without special tokens; empty if it was planned for a number of tokens
  std::vector<tokenize::TokenWindow> windows;  // what the encoder reads at once
  std::vector<tokenize::TokenWindow> chunks;   // with kChunk the same
  std::vector<int32_t> query;                  // with special tokens; empty: none
  int64_t tokens = 0;                          // content tokens of the text
  int64_t tokens_encoded = 0;                  // that the encoder reads, the query left out
  int64_t window = 0;                          // of kSliding
  LongPositions positions;                     // of kFull and kSliding
};

struct DocumentVectors {
  std::vector<float> document;  // [d]
  std::vector<Chunk> chunks;
  at::Tensor chunk_vectors;  // if asked for: fp32 [chunks, d] on the CPU
  int64_t tokens = 0;        // content tokens of the text
  int64_t tokens_encoded = 0, windows = 0;
};

// INVALID_ARGUMENT naming "text" or the option that is wrong ("chunk_tokens" also if that many chunks would exceed
// max_result_bytes).
absl::StatusOr<DocumentPlan> PlanDocument(const nn::Model& model, const tokenize::Tokenizer& tokenizer,
                                          std::string_view text, const EncodeOptions& options);
// The same for a text of `tokens` content tokens, each a word; for estimates, not to be encoded.
absl::StatusOr<DocumentPlan> PlanTokens(const nn::Model& model, const tokenize::Tokenizer& tokenizer, int64_t tokens,
                                        const EncodeOptions& options);

// Where the tokens of a window stand in the text.
Chunk Describe(const tokenize::Encoding& content, const tokenize::TokenWindow& window);

// `plan` is what PlanDocument made with the same model, tokenizer and options. CANCELLED. libtorch's exceptions pass.
absl::StatusOr<DocumentVectors> EncodeDocument(const nn::Model& model, const tokenize::Tokenizer& tokenizer,
                                               const DocumentPlan& plan, const EncodeOptions& options);

}  // namespace engram::longcontext
