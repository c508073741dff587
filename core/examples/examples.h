#pragma once

// From the rows of a data set to tokenized training examples. Workers train and measure on them; the server counts them
// for its estimates.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/task_kind.h"
#include "core/corpus/dataset.h"
#include "core/examples/word_windows.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/example.h"
#include "core/train/train_options.h"

namespace engram::examples {

// Where the counted tokens of tagging examples come from.
struct SentencePlaces {
  std::vector<std::vector<int32_t>> gold;  // of each sentence: the tag of each word; kNone where nothing is known
  struct Window {
    size_t sentence = 0;
    WordRows rows;  // the counted tokens of the example and the words of the sentence that they stand for
  };
  std::vector<Window> windows;  // one per example
};

struct ExampleSet {
  std::vector<train::TrainingExample> examples;
  int64_t cut = 0;        // texts that lost something: longer than max_length; tagging: with a single word that is
  SentencePlaces places;  // tagging only

  int64_t texts() const;  // texts that have an example: fewer than examples where long sentences are several windows
};

// Classification: one example per text or pair of texts, cut at `max_length` tokens, of a pair the longer text first
// (transformers' truncation="longest_first"); with LongTexts::kChunk single texts are read whole, in windows of so many
// tokens. Tagging: one per sentence, long ones as several windows of whole words, each
// word tagged in exactly one of them, at its first token. Plain text: consecutive pieces of at most `max_length` tokens.
// Lengths include special tokens. `token_types`: that the model tells apart (type_vocab_size); pairs have their type ids
// where it has two or more. `tag_scheme`: of the task (tagging::TagSet::FromTags). INVALID_ARGUMENT for labels that are not among `labels`, for rows of another kind than the
// task's (tags of words where the labels make entities, too), and for a data set without a single known token.
absl::StatusOr<ExampleSet> MakeExamples(const corpus::Dataset& dataset, checkpoint::TaskKind kind,
                                        const std::vector<std::string>& labels, int64_t max_length,
                                        const tokenize::Tokenizer& tokenizer, int64_t token_types,
                                        std::string_view tag_scheme = {},
                                        train::LongTexts long_texts = train::LongTexts::kCut);

// Nothing is cut silently: the warning that `cut` of `texts` lose something at `max_length` tokens (`which` they are:
// "training texts"), if any do. `window`: what the model takes. For runs and for their estimates.
std::optional<std::string> CutWarning(int64_t cut, int64_t texts, std::string_view which, int64_t max_length,
                                      int64_t window);

// Tokens of all examples, special tokens included.
int64_t TotalTokens(std::span<const train::TrainingExample> examples);

}  // namespace engram::examples
