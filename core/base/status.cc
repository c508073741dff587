#include "core/base/status.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace engram {
namespace {
constexpr absl::string_view kFieldPayload = "engram/field";
constexpr absl::string_view kReasonPayload = "engram/reason";
}  // namespace

absl::Status InvalidField(std::string_view field, std::string_view message) {
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(AbslView(field), ": ", AbslView(message)));
  status.SetPayload(kFieldPayload, absl::Cord(AbslView(field)));
  return status;
}

absl::Status StatusWithReason(absl::StatusCode code, std::string_view reason, std::string_view message) {
  absl::Status status(code, AbslView(message));
  status.SetPayload(kReasonPayload, absl::Cord(AbslView(reason)));
  return status;
}

std::string StatusField(const absl::Status& status) {
  auto payload = status.GetPayload(kFieldPayload);
  return payload ? std::string(*payload) : std::string();
}

std::string StatusReason(const absl::Status& status) {
  auto payload = status.GetPayload(kReasonPayload);
  return payload ? std::string(*payload) : absl::StatusCodeToString(status.code());
}

absl::Status Annotate(const absl::Status& status, std::string_view prefix) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(AbslView(prefix), ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

}  // namespace engram
