#pragma once

// Texts with their entities drawn in, as a page for a browser.

#include <string>
#include <vector>

#include "engram/v1/inference.pb.h"

namespace engram::client {

// A page of its own that loads nothing: each text whole, with its line ends and in its own direction, each entity marked
// with its type and, under the pointer, score and places. A text without a result has its error. `results`: one a text.
std::string EntityPage(const std::string& title, const std::vector<std::string>& texts,
                       const std::vector<engram::v1::TagEntitiesResult>& results);

}  // namespace engram::client
