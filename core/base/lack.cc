#include "core/base/lack.h"

#include <cerrno>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace engram {

bool IsLack(const absl::Status& status) {
  if (absl::IsUnavailable(status) || absl::IsPermissionDenied(status)) return true;
  if (!absl::IsResourceExhausted(status)) return false;
  const std::string reason = StatusReason(status);
  return reason == kDiskFull || reason == kOutOfMemory || reason == kOutOfDescriptors;
}

absl::Status StatusOfErrno(int error, std::string_view what) {
  const std::string message = absl::StrCat(AbslView(what), ": ", std::generic_category().message(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EEXIST:
    case ENOTEMPTY:
      return absl::AlreadyExistsError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return StatusWithReason(absl::StatusCode::kResourceExhausted, kDiskFull, message);
    case ENOMEM:
      return StatusWithReason(absl::StatusCode::kResourceExhausted, kOutOfMemory, message);
    case EMFILE:
    case ENFILE:
      return StatusWithReason(absl::StatusCode::kResourceExhausted, kOutOfDescriptors, message);
    case EIO:
    case EROFS:
    case EAGAIN:
    case EBUSY:
    case ENODEV:
    case ENOTCONN:
    case ESTALE:
    case ETIMEDOUT:
      return StatusWithReason(absl::StatusCode::kUnavailable, kDiskFailing, message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace engram
