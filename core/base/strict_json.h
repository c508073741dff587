#pragma once

// JSON that other people wrote, read without trust: no duplicate keys, bounded size, depth and number of keys, and
// every object must be used up (an unknown key is an error that names the nearest known one). For .cc files: this
// header brings nlohmann/json.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "nlohmann/json.hpp"

namespace engram {

inline constexpr size_t kMaxJsonBytes = size_t{1} << 24;
inline constexpr int kMaxJsonDepth = 32;
inline constexpr size_t kMaxJsonKeys = 16'384;

struct JsonLimits {
  size_t bytes = kMaxJsonBytes;
  int depth = kMaxJsonDepth;
  size_t keys = kMaxJsonKeys;  // of one object
};

// The first zero byte of `text`, which no JSON has: nlohmann's parser takes it for the end and would let anything
// follow. nullopt if there is none. For those who call that parser themselves.
std::optional<size_t> FindZeroByte(std::string_view text);

// The object in `text`. INVALID_ARGUMENT for field `name` (what the user calls the file) if it is not one JSON object,
// repeats a key or exceeds a limit.
absl::StatusOr<nlohmann::json> ParseStrictObject(std::string_view text, std::string_view name,
                                                 const JsonLimits& limits = {});
// The same with the keys in the order of the text.
absl::StatusOr<nlohmann::ordered_json> ParseStrictOrderedObject(std::string_view text, std::string_view name);

// The text of `json` indented by 2 and ended by a newline; INVALID_ARGUMENT for field `name` if a string in it is no
// valid UTF-8.
absl::StatusOr<std::string> RenderJson(const nlohmann::ordered_json& json, std::string_view name);

// `text` for an error message: quoted, cut after 120 bytes, without invalid UTF-8.
std::string Quoted(std::string_view text);

// The member of `known` with the least edit distance (insert, delete, replace) to `name`; empty if `known` is empty or
// nothing is closer than half of the name's length.
std::string NearestName(std::string_view name, const std::set<std::string>& known);

// Reads the members of one object. The first error sticks and the calls after it do nothing, so that a reader is a list
// of calls and one Finish:
//   ObjectReader reader(json, "tasks[0]");
//   reader.Text("name", task.name);
//   ENGRAM_RETURN_IF_ERROR(reader.Finish());
class ObjectReader {
 public:
  // `json` must outlive the reader; anything but an object is an error. `path` leads the field names in errors ("" for
  // the top).
  ObjectReader(const nlohmann::json& json, std::string path);

  // Required members.
  void Text(const std::string& key, std::string& out);
  void Integer(const std::string& key, int64_t low, int64_t high, int64_t& out);
  void Unsigned(const std::string& key, uint64_t& out);
  void Real(const std::string& key, double low, double high, double& out);
  void TextList(const std::string& key, std::vector<std::string>& out);
  void TextMap(const std::string& key, std::map<std::string, std::string>& out);
  void UnsignedMap(const std::string& key, std::map<std::string, uint64_t>& out);

  // The member of that name, marked as used; nullptr if it is absent.
  const nlohmann::json* Optional(const std::string& key);
  // The same; an absent one is an error, and the result is nullptr after any error.
  const nlohmann::json* Required(const std::string& key);

  // The field's full name: path, dot, key.
  std::string Field(std::string_view key) const;
  // Records an error unless one is recorded.
  void Fail(std::string_view key, std::string_view message);
  void Fail(absl::Status status);
  bool ok() const { return status_.ok(); }
  // The first error; else an error for a member that was never asked for; else OK.
  absl::Status Finish() const;

 private:
  const nlohmann::json& json_;
  std::string path_;
  std::set<std::string> asked_;
  absl::Status status_;
};

}  // namespace engram
