#pragma once

// Resource names of the API: "models/news", "models/news/versions/3", "datasets/emotion", "jobs/01J...".

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/status.h"

namespace engram::server {

// OK for 1 to 63 of a-z, 0-9, "_" and "-", beginning with a letter. INVALID_ARGUMENT for field `field`.
absl::Status CheckId(std::string_view field, std::string_view id);

// "models/news" or "news" -> "news", checked.
absl::StatusOr<std::string> ParseName(std::string_view field, std::string_view collection, std::string_view name);

// "jobs/01J..." or "01J..." -> the id: 26 characters of base 32.
absl::StatusOr<std::string> ParseJobName(std::string_view field, std::string_view name);

// "models/news/versions/3" -> ("news", 3).
absl::StatusOr<std::pair<std::string, int64_t>> ParseVersionName(std::string_view field, std::string_view name);

// The short name of a task that is named in a request for `model`: "models/news/tasks/topics" -> "topics". What is no
// full name of a task of that model stays as it is. `model`: "models/news" or "news".
std::string ShortTaskName(std::string_view model, std::string_view task);

// The id that a resource name of ours ends with: "models/news/tasks/topics" -> "topics". An id is itself.
std::string LastPart(std::string_view name);

std::string ModelName(std::string_view model);
std::string VersionName(std::string_view model, int64_t number);
std::string TaskName(std::string_view model, std::string_view task);
std::string DatasetName(std::string_view dataset);
std::string JobName(std::string_view id);

// OK for an empty id, or 1 to 128 printable ASCII characters.
absl::Status CheckRequestId(std::string_view id);

// page_size of a request: 0 is 50; outside of 0 to 1000 INVALID_ARGUMENT.
absl::StatusOr<int64_t> PageSize(int32_t requested);

}  // namespace engram::server
