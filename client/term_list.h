#pragma once

// Lists of terms as people keep them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engram/v1/annotation.pb.h"

namespace engram::client {

struct TermList {
  std::vector<engram::v1::Term> terms;
  int64_t repeated = 0;  // lines that say what a line before them says: left out
  std::string error;     // why there is no list; empty if there is one
};

// One term a line, blank lines aside: "TERM", "TERM<tab>LABEL[,LABEL...]" or "TERM<tab>LABELS<tab>case", where "case"
// means: only as it is written. Or JSON Lines (`json_lines`): {"text", "label" or "labels", "case_sensitive"}. A term
// without a label has `label`; it is an error if that is empty. Errors name the line. A byte-order mark and line ends
// of any kind are accepted; white space around a term and a label is taken away.
TermList ParseTermList(std::string_view bytes, bool json_lines, const std::string& label, bool case_sensitive);

}  // namespace engram::client
