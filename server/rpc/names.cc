#include "server/rpc/names.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace engram::server {

absl::Status CheckId(std::string_view field, std::string_view id) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  if (id.empty()) return InvalidField(field, "is empty; give a name");
  if (id.size() <= 63 && id[0] >= 'a' && id[0] <= 'z' && std::all_of(id.begin(), id.end(), allowed))
    return absl::OkStatus();
  return InvalidField(field, "must be 1 to 63 of a-z, 0-9, \"_\" and \"-\", and begin with a letter");
}

absl::StatusOr<std::string> ParseName(std::string_view field, std::string_view collection, std::string_view name) {
  if (name.starts_with(collection) && name.substr(collection.size()).starts_with('/'))
    name.remove_prefix(collection.size() + 1);
  ENGRAM_RETURN_IF_ERROR(CheckId(field, name));
  return std::string(name);
}

absl::StatusOr<std::string> ParseJobName(std::string_view field, std::string_view name) {
  if (name.starts_with("jobs/")) name.remove_prefix(5);
  const auto allowed = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  if (name.size() != 26 || !std::all_of(name.begin(), name.end(), allowed)) {
    return InvalidField(field, "is no job's name; they look like jobs/01JD8Y3V5QK7W2M9X4T6B0N1CZ");
  }
  return std::string(name);
}

absl::StatusOr<std::pair<std::string, int64_t>> ParseVersionName(std::string_view field, std::string_view name) {
  constexpr std::string_view kModels = "models/", kVersions = "/versions/";
  const size_t middle = name.find(kVersions);
  int64_t number = 0;
  if (!name.starts_with(kModels) || middle == std::string_view::npos ||
      !absl::SimpleAtoi(AbslView(name.substr(middle + kVersions.size())), &number) || number < 1) {
    return InvalidField(field, "is no version's name; they look like models/news/versions/3");
  }
  ENGRAM_ASSIGN_OR_RETURN(std::string model, ParseName(field, "models", name.substr(0, middle)));
  return std::pair(std::move(model), number);
}

std::string ShortTaskName(std::string_view model, std::string_view task) {
  if (model.starts_with("models/")) model.remove_prefix(std::string_view("models/").size());
  const std::string full = TaskName(model, "");
  return std::string(task.starts_with(full) ? task.substr(full.size()) : task);
}

std::string LastPart(std::string_view name) { return std::string(name.substr(name.rfind('/') + 1)); }

std::string ModelName(std::string_view model) { return absl::StrCat("models/", AbslView(model)); }
std::string VersionName(std::string_view model, int64_t number) {
  return absl::StrCat("models/", AbslView(model), "/versions/", number);
}
std::string TaskName(std::string_view model, std::string_view task) {
  return absl::StrCat("models/", AbslView(model), "/tasks/", AbslView(task));
}
std::string DatasetName(std::string_view dataset) { return absl::StrCat("datasets/", AbslView(dataset)); }
std::string JobName(std::string_view id) { return absl::StrCat("jobs/", AbslView(id)); }

absl::Status CheckRequestId(std::string_view id) {
  const bool printable = std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < '\x7F'; });
  if (id.size() <= 128 && printable) return absl::OkStatus();
  return InvalidField("request_id", "must be at most 128 printable ASCII characters without spaces");
}

absl::StatusOr<int64_t> PageSize(int32_t requested) {
  if (requested < 0 || requested > 1000) return InvalidField("page_size", "must lie in [0, 1000]; 0 stands for 50");
  return requested == 0 ? 50 : requested;
}

}  // namespace engram::server
