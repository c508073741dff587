#pragma once

// Who may call: everybody who knows a token of a file.
//
//   # comment
//   alice  3f0c5b1e9a...        a name, white space, a token of 16 to 256 characters that are no white space
//
// Only digests of the tokens are kept. Thread-safe.

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"

namespace engram::server {

class Authenticator {
 public:
  // INVALID_ARGUMENT naming the line for a file that is not as above, has a name or a token twice, or no token at all.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Parse(std::string_view file);
  // Takes the tokens of another file from now on; those of before where the file is not as above.
  absl::Status Replace(std::string_view file) ABSL_LOCKS_EXCLUDED(mutex_);

  // The name of the caller whose "authorization" this is: "Bearer TOKEN". UNAUTHENTICATED where it is missing, of another
  // kind, or no token that is known; in a time that says nothing of the tokens.
  absl::StatusOr<std::string> Check(std::string_view authorization) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Names = std::map<std::string, std::string>;  // by the digest of the token
  explicit Authenticator(Names names) : names_(std::move(names)) {}
  static absl::StatusOr<Names> Read(std::string_view file);

  mutable absl::Mutex mutex_;
  Names names_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
