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
  int64_t max_rows;
  // Whether a reader that has so many rows keeps a further one: one more than may be, so that it shows.
  bool Keeps(size_t rows) const { return static_cast<int64_t>(rows) <= max_rows; }
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
  SentenceList sentences;
  bool line_per_word = false;
  AscendingNumbers lines;  // of each word, or of each sentence where a sentence is one line

  // A sentence whose words have a line each, or one that is a line. All are of the same kind, in the order of the file.
  void Add(const TaggedSentence& sentence, const std::vector<int64_t>& word_lines);
  void Add(const TaggedSentence& sentence, int64_t line);
};
// Rewrites the tags in BIO2 and moves the sentences into the reading. Tags that are none go to `errors`, and with
// `strict` those that are out of their scheme; else these are a note. With the kind kWordTags they stay as they are.
void FinishTagging(RawSentences&& raw, const ReadOptions& options, RowErrors& errors, Reading& reading);

}  // namespace engram::corpus
