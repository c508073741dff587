#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {

// The elements of a member that is a list of at most `most` objects, each read by `read(json, path, element)`. What is
// wrong becomes the reader's status.
template <typename T, typename Read>
void ReadList(ObjectReader& reader, const std::string& key, size_t most, std::vector<T>& out, const Read& read) {
  const nlohmann::json* list = reader.Required(key);
  if (list == nullptr) return;
  if (!list->is_array() || list->size() > most) return reader.Fail(key, "must be a list of objects");
  for (const nlohmann::json& item : *list) {
    if (!reader.ok()) return;
    const std::string path = absl::StrCat(reader.Field(key), "[", out.size(), "]");
    reader.Fail(read(item, path, out.emplace_back()));
  }
}

}  // namespace engram::checkpoint
