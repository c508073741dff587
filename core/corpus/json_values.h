#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace engram::corpus {

// visit(line where it begins, from 1; its text) for the values of a JSON file, one after the other, without building a
// tree of the file: the lines of JSON Lines, the elements of one list, or objects that span several lines. Empty lines
// are none. What is no JSON is visited too (a line, or the rest of the file), so that it becomes the error of a row.
void ForEachJsonValue(std::string_view text, const std::function<void(int64_t, std::string_view)>& visit);

}  // namespace engram::corpus
