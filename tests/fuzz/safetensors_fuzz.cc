// Any bytes: SafetensorsFile::Parse answers with a status, and what it accepts lies inside the bytes.

#include <cstdint>
#include <cstdlib>

#include "core/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto file = engram::checkpoint::SafetensorsFile::Parse(bytes);
  if (!file.ok()) return 0;
  size_t total = 0;
  for (const auto& [name, tensor] : file->tensors()) {
    total += tensor.bytes.size();
    if (!tensor.bytes.empty() &&
        (tensor.bytes.data() < bytes.data() || tensor.bytes.data() + tensor.bytes.size() > bytes.data() + size))
      abort();
  }
  if (total > size) abort();
  return 0;
}
