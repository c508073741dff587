#include "server/rpc/status_mapping.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/retry.h"
#include "core/base/utf8.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace engram::server {
namespace {

constexpr absl::Duration kRetry = absl::Seconds(1);  // where the status does not say when
// The message stands three times in a status, which gRPC sends as metadata: 8 KiB of them in all by default.
constexpr size_t kMaxMessageBytes = 2048;

std::string Message(const absl::Status& status) {
  const std::string_view whole(status.message().data(), status.message().size());
  const std::string_view cut = CutUtf8(whole, kMaxMessageBytes);
  return cut.size() == whole.size() ? std::string(whole) : absl::StrCat(AbslView(cut), "...");
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = Message(status);
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(StatusReason(status));
  info.set_domain("engram");
  details.add_details()->PackFrom(info);
  if (const std::string field = StatusField(status); !field.empty()) {
    google::rpc::BadRequest bad;
    google::rpc::BadRequest::FieldViolation* violation = bad.add_field_violations();
    violation->set_field(field);
    violation->set_description(message);
    details.add_details()->PackFrom(bad);
  }
  if (status.code() == absl::StatusCode::kResourceExhausted || status.code() == absl::StatusCode::kUnavailable) {
    google::rpc::RetryInfo retry;
    const absl::Duration delay = RetryDelay(status).value_or(kRetry);
    retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(delay % absl::Seconds(1))));
    details.add_details()->PackFrom(retry);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, details.SerializeAsString());
}

}  // namespace engram::server
