#pragma once

// Bytes that are made piece by piece, so that they are never held whole.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace engram {

// Takes the next piece.
using ByteSink = std::function<absl::Status(std::string_view)>;
// Gives all pieces to the sink it is given, one after the other, and stops at its first error.
using ByteSource = std::function<absl::Status(const ByteSink&)>;

// WriteFileAtomic (files.h) of what `source` gives.
absl::Status WriteStreamAtomic(const std::string& path, const ByteSource& source);

struct StreamDigest {
  std::string sha256;  // in hexadecimal digits
  int64_t bytes = 0;
};
absl::StatusOr<StreamDigest> DigestStream(const ByteSource& source);

}  // namespace engram
