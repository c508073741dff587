// Any bytes: TorchFile::Parse answers with a status, and every tensor of what it accepts has the bytes that its shape
// needs, all of which can be read.

#include <cstdint>
#include <cstdlib>

#include "core/checkpoint/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = engram::checkpoint::TorchFile::Parse({reinterpret_cast<const std::byte*>(data), size});
  if (!file.ok()) return 0;
  unsigned sum = 0;
  for (const engram::checkpoint::TensorToWrite& tensor : file->tensors()) {
    auto bits = static_cast<uint64_t>(engram::checkpoint::DtypeBits(tensor.dtype));
    for (const uint64_t extent : tensor.shape) bits *= extent;
    if (bits / 8 != tensor.bytes.size()) abort();
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
  }
  const volatile unsigned kept = sum;  // so that the reads stay
  (void)kept;
  return 0;
}
