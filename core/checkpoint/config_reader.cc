#include "core/checkpoint/config_reader.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/checkpoint/model_config_keys.h"

namespace engram::checkpoint {
namespace {

using Json = nlohmann::json;

// Whether one edit makes `a` into `b`: a character more, less, or another one, or two that are swapped.
bool IsSlip(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty() && a.front() == b.front()) a.remove_prefix(1), b.remove_prefix(1);
  while (!a.empty() && !b.empty() && a.back() == b.back()) a.remove_suffix(1), b.remove_suffix(1);
  return (a.size() <= 1 && b.size() <= 1) || (a.size() == 2 && b.size() == 2 && a[0] == b[1] && a[1] == b[0]);
}

}  // namespace

const Json* ConfigReader::Find(const char* key) {
  known_.insert(key);
  auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigReader::IsNull(const char* key) const {
  const auto found = json_.find(key);
  return found != json_.end() && found->is_null();
}

absl::Status ConfigReader::Integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> absent,
                                   int64_t& out) {
  const Json* value = Find(key);
  if (value == nullptr) {
    if (!absent) return InvalidField(key, "is missing from config.json");
    out = *absent;
    return absl::OkStatus();
  }
  // An unsigned value above the largest int64 would wrap in get<int64_t>.
  const bool huge = value->is_number_unsigned() &&
                    value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!value->is_number_integer() || huge || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    return InvalidField(
        key, absl::StrCat("is ", Shown(*value), " in config.json; it must be an integer from ", low, " to ", high));
  }
  out = value->get<int64_t>();
  return absl::OkStatus();
}

absl::Status ConfigReader::Real(const char* key, double low, double high, double absent, double& out) {
  const Json* value = Find(key);
  out = absent;
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
    return InvalidField(
        key, absl::StrCat("is ", Shown(*value), " in config.json; it must be a number from ", low, " to ", high));
  }
  out = value->get<double>();
  return absl::OkStatus();
}

absl::Status ConfigReader::Boolean(const char* key, bool absent, bool& out) {
  const Json* value = Find(key);
  out = absent;
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_boolean())
    return InvalidField(key, absl::StrCat("is ", Shown(*value), " in config.json; it must be true or false"));
  out = value->get<bool>();
  return absl::OkStatus();
}

absl::Status ConfigReader::Only(const char* key, const Json& allowed, std::string_view why) {
  const Json* value = Find(key);
  if (value == nullptr || *value == allowed) return absl::OkStatus();
  return InvalidField(key, absl::StrCat("is ", Shown(*value), " in config.json: ", AbslView(why)));
}

absl::Status ConfigReader::SameAs(const char* alias, const char* key, int64_t expected) {
  const Json* value = Find(alias);
  if (value == nullptr || *value == Json(expected)) return absl::OkStatus();
  return InvalidField(alias,
                      absl::StrCat("is ", Shown(*value), " in config.json and contradicts ", key, " ", expected));
}

absl::Status ConfigReader::CheckUnknown(std::vector<std::string>& warnings) const {
  const std::set<std::string>& harmless = HarmlessConfigKeys();
  for (const auto& [key, value] : json_.items()) {
    if (known_.contains(key) || harmless.contains(key)) continue;
    const auto meant = std::find_if(known_.begin(), known_.end(),
                                    [&key = key](const std::string& known) { return IsSlip(key, known); });
    if (meant == known_.end() && !IsKeyOfTransformers(key)) {
      warnings.push_back(absl::StrCat("config.json: the key ", Quoted(key),
                                      " is read by no model of transformers and was passed over"));
      continue;
    }
    return InvalidField(Quoted(key), absl::StrCat("config.json has this key, which Engram does not know",
                                                  meant == known_.end() ? " and which changes what some models compute"
                                                                        : absl::StrCat(" (it knows ", *meant, ")"),
                                                  "; remove it if it changes nothing in this encoder"));
  }
  return absl::OkStatus();
}

std::string ConfigReader::Shown(const Json& value) {
  return Quoted(value.is_string() ? value.get<std::string>()
                                  : value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace engram::checkpoint
