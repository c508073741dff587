// Tokenizes many texts for tests/parity/test_tokenizer.py.
//
//   parity_tokenizer DIRECTORY MODE OPTIONS.json IN OUT
//   MODE: single | pair | words.  IN: per item a uint32 count of strings, each uint32 length and bytes (single: 1,
//   pair: 2, words: any). OUT: int32s; per item the number of tokens, then ids, type ids, special mask, word indices,
//   code point begins and ends; -1 for an error.
// Byte offsets are checked here: they must be those of the code point offsets.

#include <cstring>
#include <iostream>

#include "core/base/files.h"
#include "core/base/utf8.h"
#include "core/tokenize/tokenizer.h"
#include "nlohmann/json.hpp"

namespace engram::tokenize {
namespace {

EncodeOptions ParseOptions(const nlohmann::json& json) {
  EncodeOptions options;
  options.add_special_tokens = json.value("add_special_tokens", true);
  options.max_length = json.value("max_length", 0);
  if (json.contains("split_special_tokens")) options.split_special_tokens = json["split_special_tokens"].get<bool>();
  const std::string truncation = json.value("truncation", "none");
  options.truncation = truncation == "longest_first" ? Truncation::kLongestFirst
                       : truncation == "only_first"  ? Truncation::kOnlyFirst
                       : truncation == "only_second" ? Truncation::kOnlySecond
                                                     : Truncation::kNone;
  return options;
}

// Byte position of each code point, and of the end.
std::vector<uint32_t> Positions(std::string_view text) {
  std::vector<uint32_t> positions;
  for (size_t at = 0; at < text.size();) {
    positions.push_back(static_cast<uint32_t>(at));
    DecodeUtf8(text, at);
  }
  positions.push_back(static_cast<uint32_t>(text.size()));
  return positions;
}

bool OffsetsAgree(const Encoding& e, const std::vector<std::string_view>& texts, const std::string& mode) {
  std::vector<std::vector<uint32_t>> positions;
  for (const std::string_view text : texts) positions.push_back(Positions(text));
  for (size_t i = 0; i < e.ids.size(); ++i) {
    if (e.special[i]) continue;
    const auto agrees = [&](const std::vector<uint32_t>& p) {
      return e.code_points[i].end < p.size() && e.bytes[i].begin == p[e.code_points[i].begin] &&
             e.bytes[i].end == p[e.code_points[i].end];
    };
    // Of a pair either text: RoBERTa's have the same type.
    const bool agree = mode == "pair"    ? agrees(positions[0]) || agrees(positions[1])
                       : mode == "words" ? agrees(positions[static_cast<size_t>(e.words[i])])
                                         : agrees(positions[0]);
    if (!agree) return false;
  }
  return true;
}

int Run(char** argv) {
  const std::string mode = argv[2];
  const auto tokenizer = LoadTokenizer(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  const EncodeOptions options = ParseOptions(nlohmann::json::parse(*ReadFile(argv[3])));
  const std::string in = *ReadFile(argv[4]);
  std::vector<int32_t> out;
  size_t at = 0;
  const auto number = [&] {
    uint32_t value;
    std::memcpy(&value, in.data() + at, 4);
    at += 4;
    return value;
  };
  while (at < in.size()) {
    std::vector<std::string_view> texts(number());
    for (std::string_view& text : texts) {
      const uint32_t length = number();
      text = std::string_view(in).substr(at, length);
      at += length;
    }
    const auto e = mode == "pair"    ? (*tokenizer)->EncodePair(texts[0], texts[1], options)
                   : mode == "words" ? (*tokenizer)->EncodeWords(texts, options)
                                     : (*tokenizer)->Encode(texts[0], options);
    if (!e.ok()) {
      out.push_back(-1);
      continue;
    }
    if (!OffsetsAgree(*e, texts, mode)) {
      std::cerr << "byte offsets disagree with code point offsets\n";
      return 1;
    }
    out.push_back(static_cast<int32_t>(e->ids.size()));
    out.insert(out.end(), e->ids.begin(), e->ids.end());
    out.insert(out.end(), e->type_ids.begin(), e->type_ids.end());
    out.insert(out.end(), e->special.begin(), e->special.end());
    out.insert(out.end(), e->words.begin(), e->words.end());
    for (const Range& r : e->code_points) out.push_back(static_cast<int32_t>(r.begin));
    for (const Range& r : e->code_points) out.push_back(static_cast<int32_t>(r.end));
  }
  const std::string_view bytes(reinterpret_cast<const char*>(out.data()), out.size() * 4);
  return WriteFileAtomic(argv[5], bytes).ok() ? 0 : 1;
}

}  // namespace
}  // namespace engram::tokenize

int main(int argc, char** argv) { return argc == 6 ? engram::tokenize::Run(argv) : 2; }
