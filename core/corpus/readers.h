#pragma once

// One reader per format. `text` is valid UTF-8 without a byte-order mark at its beginning; errors are INVALID_ARGUMENT
// that list lines (row_errors.h). Readers fill dataset, columns and notes of a Reading, and its format where they found
// another one than the caller asked for.

#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/corpus/notes.h"
#include "core/corpus/reading.h"
#include "core/corpus/row_errors.h"

namespace engram::corpus {

struct ReaderInput {
  std::string_view text;
  std::string_view field;  // what errors are said about
  const ReadOptions& options;
};

absl::Status ReadJson(const ReaderInput& input, Reading& reading);
// `promised`: the separator that the file's name says; another one is read where only that gives a known header.
absl::Status ReadTable(const ReaderInput& input, char promised, Reading& reading);
// Whether ReadTable would find a column of texts.
bool HasKnownHeader(const ReaderInput& input, char promised);
// Whether the first row, with this separator, has known names for a column of texts and for one of labels.
bool HasLabelledHeader(const ReaderInput& input, char separator);
absl::Status ReadConll(const ReaderInput& input, Reading& reading);
absl::Status ReadFastText(const ReaderInput& input, Reading& reading);
absl::Status ReadPlain(const ReaderInput& input, Reading& reading);

// Sentences with their tags as they stand in the file.
struct RawSentences {
  std::vector<TaggedSentence> sentences;
  // [sentence][word], or [sentence][0] alone where a sentence is one line.
  std::vector<std::vector<int64_t>> lines;
};
// Rewrites the tags in BIO2 and moves the sentences into the reading. Tags that are none go to `errors`, and with
// `strict` those that are out of their scheme; else these are a note. With the kind kWordTags they stay as they are.
void FinishTagging(RawSentences&& raw, const ReadOptions& options, RowErrors& errors, Reading& reading);

// The sentence's text where only its words are known: the words joined by spaces.
std::string JoinWords(const std::vector<std::string>& words);

}  // namespace engram::corpus
