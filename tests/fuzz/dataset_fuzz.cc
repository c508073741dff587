// Any bytes under any name and with any options: an error or a data set whose canonical form reads back the same. The
// first byte chooses the name, the second the options.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/corpus/reading.h"

namespace {

using engram::corpus::DatasetKind;
using engram::corpus::ReadOptions;

ReadOptions Options(uint8_t chosen) {
  ReadOptions options;
  switch (chosen % 13) {
    case 1:
      options.format = "txt";
      break;
    case 2:
      options.format = "fasttext";
      break;
    case 3:
      options.kind = DatasetKind::kText;
      break;
    case 4:
      options.kind = DatasetKind::kTagging;
      break;
    case 5:
      options.kind = DatasetKind::kClassification;
      break;
    case 6:
      options.text_column = "2";
      options.label_column = "1";
      break;
    case 7:
      options.label_column = "label";
      break;
    case 8:
      options.word_column = "2";
      options.tag_column = "3";
      break;
    case 9:
      options.strict = true;
      break;
    case 10:
      options.kind = DatasetKind::kPairs;
      break;
    case 11:
      options.kind = DatasetKind::kWordTags;
      break;
    case 12:
      options.text_column = "1";
      options.pair_column = "2";
      options.label_column = "3";
      break;
    default:
      break;
  }
  return options;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const char* const kNames[] = {"a.jsonl", "a.csv", "a.tsv", "a.conll", "a.txt", "a.jsonl.gz", "a.train"};
  if (size < 2) return 0;
  engram::corpus::ReadLimits limits;
  limits.max_bytes = 1 << 20;
  const std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto reading =
      engram::corpus::ReadDataset(bytes, kNames[data[0] % std::size(kNames)], "training", Options(data[1]), limits);
  if (!reading.ok()) return 0;
  (void)engram::corpus::OddRows(reading->dataset);
  const std::string canonical = engram::corpus::RenderCanonical(reading->dataset);
  const auto back = engram::corpus::ParseCanonical(canonical);
  if (!back.ok() || engram::corpus::RenderCanonical(*back) != canonical) std::abort();
  return 0;
}
