// Any bytes under any name: an error or a data set whose canonical form reads back the same.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/corpus/dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const char* const kNames[] = {"a.jsonl", "a.csv", "a.tsv", "a.conll", "a.txt", "a.jsonl.gz"};
  if (size == 0) return 0;
  engram::corpus::ReadLimits limits;
  limits.max_bytes = 1 << 20;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto dataset = engram::corpus::ParseDataset(bytes, kNames[data[0] % std::size(kNames)], "training", limits);
  if (!dataset.ok()) return 0;
  const std::string canonical = engram::corpus::RenderCanonical(*dataset);
  const auto back = engram::corpus::ParseCanonical(canonical);
  if (!back.ok() || engram::corpus::RenderCanonical(*back) != canonical) std::abort();
  return 0;
}
