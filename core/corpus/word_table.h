#pragma once

#include "core/base/status.h"
#include "core/corpus/readers.h"
#include "core/corpus/reading.h"

namespace engram::corpus {

// Tables with one word in each row: "Sentence #,Word,POS,Tag", "sentence_id,words,labels". False if the file is none, and
// nothing was read: without columns of words and of tags that its header, or an option, names, or with cells under known
// names that are no tags. A row begins another sentence where the column of sentences has another value than the row
// before (an empty cell is the value above it); without such a column, behind an empty line or row. That column is known
// by its name; else it is the first whose values stand in runs and never come again. With tabs it must be known by its
// name: all else are columns of words and tags (ReadConll).
//
// INVALID_ARGUMENT, like the other readers, for columns that would not be read and are not left out by --tag-column, for a
// file that tells no sentences, and for rows without a word or a tag.
absl::StatusOr<bool> ReadWordTable(const ReaderInput& input, char promised, Reading& reading);

}  // namespace engram::corpus
