#include "core/train/example.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "core/base/files.h"

namespace engram::train {

int64_t TokensDigest(std::span<const int32_t> ids) {
  constexpr size_t kHexDigits = 15;
  std::string bytes;
  bytes.reserve(ids.size() * sizeof(int32_t));
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(static_cast<uint32_t>(id) >> shift);
  }
  const std::string hex = Sha256Hex(bytes).substr(0, kHexDigits);
  return std::max<int64_t>(1, std::strtoll(hex.c_str(), nullptr, 16));
}

}  // namespace engram::train
