#pragma once

// engram encode --file --out: a vector for each line of a file, written as they come.

#include <string>

#include "client/session.h"

namespace engram::client {

struct EncodeJob {
  std::string file;         // "-": standard input; its extension says the format (record_file.h)
  std::string text_column;  // of a table or JSON; empty: "text", or the only column
  std::string out;          // .npy, .jsonl or .csv; empty: numbers on standard output, a line for each
};

// One line, row or object in, one vector out, in order; an empty line gives the model's vector of the empty text. `request`: all but the texts. A line without
// a result is named on standard error, and stands in the file as a row of NaN (.npy), {"line", "error"} (.jsonl) or an error column (.csv).
// The whole file is never in memory; `out` appears when it is complete. The exit status.
int EncodeFile(Session& session, engram::v1::EmbedRequest request, const EncodeJob& job);

// The number with the fewest digits that reads back as the same fp32.
std::string ShortestFloat(float value);

}  // namespace engram::client
