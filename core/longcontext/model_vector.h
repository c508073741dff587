#pragma once

// The vector that the model's own modules define (nn::SentenceVectors), for a text of any length. A text that fits the model's window is one
// part, encoded as sentence-transformers encodes it. A longer one is cut into chunks that fit, each with its own special tokens and prompt;
// the parts' vectors are combined by SentenceVectors::Combine.

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/longcontext/document.h"
#include "core/nn/packed_batch.h"
#include "core/nn/sentence_vectors.h"
#include "core/tokenize/tokenizer.h"

namespace engram::longcontext {

struct ModelPart {
  nn::Sequence sequence;
  int64_t prompt_tokens = 0;  // of nn::SentenceVectors::Apply
  int64_t weight = 1;         // content tokens that count for this part alone
  Chunk chunk;                // in the text, without the prompt
};

struct ModelPlan {
  std::vector<ModelPart> parts;  // at least one
  int64_t text_tokens = 0;       // content tokens of the whole text
  int64_t tokens = 0;            // of all sequences
  bool truncated = false;
};

struct ModelPlanOptions {
  int64_t chunk_tokens = 0;  // longest part, special tokens and prompt included; 0: the window of the modules
  int64_t overlap = 0;       // content tokens that neighbouring chunks share
  bool truncate = false;     // cut the text to one part instead
  std::string_view prompt;   // put before the text, or before each chunk
};

// The prompt of that name, or for an empty name the default one. INVALID_ARGUMENT naming "prompt_name".
absl::StatusOr<std::string_view> FindPrompt(const checkpoint::SentenceModules& modules, std::string_view name);

// How a text is to be encoded. An empty text is the special tokens alone. INVALID_ARGUMENT naming "text", "prompt_name" (it leaves no room),
// "chunk_tokens" or "overlap".
absl::StatusOr<ModelPlan> PlanModelVector(const checkpoint::SentenceModules& modules,
                                          const tokenize::Tokenizer& tokenizer, std::string_view text,
                                          const ModelPlanOptions& options);

// The vectors of a planned text. Of `options` only batch_tokens, normalize, chunk_vectors, max_result_bytes and progress are looked at.
// INVALID_ARGUMENT naming "text" (it has no content) or "chunk_tokens" (the result would exceed max_result_bytes); CANCELLED.
absl::StatusOr<DocumentVectors> EncodeByModules(const nn::Model& model, const nn::SentenceVectors& vectors,
                                                const ModelPlan& plan, const EncodeOptions& options);

}  // namespace engram::longcontext
