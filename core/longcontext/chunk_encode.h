#pragma once

// Chunk mode: a text of any length is cut into chunks that fit the model, each chunk is encoded by itself, and the
// document's vector is taken over all content tokens of all chunks. Nothing is cut off. What it costs: a token sees
// only its own chunk.
//
// Traps that this avoids (mean of chunk means weighs a short last chunk like a full one; counting [CLS] and [SEP];
// counting tokens of overlaps twice): every content token counts exactly once, special tokens never.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/model.h"
#include "core/tokenize/tokenizer.h"

namespace engram::longcontext {

// kTokenMean: mean over tokens. kMax: maximum over tokens, for each dimension.
enum class Aggregation { kTokenMean, kMax };

struct ChunkOptions {
  Aggregation aggregation = Aggregation::kTokenMean;
  int64_t chunk_tokens = 0;     // longest chunk, special tokens included; 0: the model's longest
  int64_t overlap = 0;          // content tokens that neighbouring chunks share, at most half of a chunk's content
  int64_t batch_tokens = 8192;  // of one packed batch; a single chunk may be longer
  bool normalize = false;       // scale the vectors to length 1
  bool chunk_vectors = true;    // false: DocumentVectors::chunk_vectors stays undefined
  int64_t max_result_bytes = int64_t{256} << 20;  // of the chunks and their vectors
  // Called after each batch with (chunks done, chunks in all); a false answer ends the work with CANCELLED.
  std::function<bool(int64_t, int64_t)> progress;
};

// A part of the text. Chunks ascend; without overlap they do not intersect.
struct Chunk {
  int64_t start = 0, end = 0;            // code points of the text, of the first token's begin and the last one's end
  int64_t start_byte = 0, end_byte = 0;  // the same in UTF-8 bytes
  int64_t tokens = 0;                    // content tokens that it encodes
};

struct DocumentVectors {
  std::vector<float> document;  // [d]
  std::vector<Chunk> chunks;
  at::Tensor chunk_vectors;  // if asked for: fp32 [chunks, d] on the CPU, each over the chunk's own content tokens
  int64_t tokens = 0;        // content tokens of the text
};

// Where chunks begin and end among `words.size()` content tokens; words[i] is the word of token i. A chunk ends between
// two words where that leaves it at least half full. [first_owned, end_owned) are the tokens that count for the
// document: they partition all tokens.
struct TokenWindow {
  int64_t begin = 0, end = 0;
  int64_t first_owned = 0, end_owned = 0;
};
std::vector<TokenWindow> PlanTokenWindows(const std::vector<int32_t>& words, int64_t budget, int64_t overlap);

// INVALID_ARGUMENT naming "text", "chunk_tokens" (also if that many chunks would exceed max_result_bytes) or "overlap";
// CANCELLED.
absl::StatusOr<DocumentVectors> EncodeDocument(const nn::Model& model, const tokenize::Tokenizer& tokenizer,
                                               std::string_view text, const ChunkOptions& options);

}  // namespace engram::longcontext
