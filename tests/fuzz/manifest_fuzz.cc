// Any text as engram.json: a status, or a manifest whose rendering reads back the same.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/checkpoint/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto manifest = engram::checkpoint::ParseManifest({reinterpret_cast<const char*>(data), size});
  if (!manifest.ok()) return 0;
  const auto text = engram::checkpoint::RenderManifest(*manifest);
  if (!text.ok()) std::abort();
  const auto again = engram::checkpoint::ParseManifest(*text);
  if (!again.ok() || !(*again == *manifest)) std::abort();
  return 0;
}
