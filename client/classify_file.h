#pragma once

#include <string>

#include "client/session.h"

namespace engram::client {

struct FileJob {
  std::string file;         // "-": standard input; its extension says the format (record_file.h)
  std::string text_column;  // empty: "text"
  std::string out;          // .csv, .tsv or .jsonl
};

// Classifies a file record by record and writes it again with the results beside it: one record in, one out, in order,
// as the answers come, so that memory does not grow with the file. In tables each task adds its most probable label, its
// probability, and there is a last column "error"; JSON Lines get "tasks" with all scores that `request` asks for, or
// "error". `request`: all but the texts. The exit status: kFailed if a record other than an empty one has no result.
int ClassifyFile(Session& session, engram::v1::ClassifyRequest request, const FileJob& job);

}  // namespace engram::client
