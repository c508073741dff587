// Any texts as the files of a tokenizer, and any text tokenized: a status, or tokens inside the text and the
// vocabulary. The input is cut at its zero bytes: tokenizer.json, vocab.txt, tokenizer_config.json,
// special_tokens_map.json, added_tokens.json (an empty one is not there), and the rest is the text.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/base/utf8.h"
#include "core/tokenize/tokenizer.h"

namespace {

using engram::tokenize::Encoding;
using engram::tokenize::Tokenizer;

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckEncoding(const Tokenizer& tokenizer, const std::string& text, const Encoding& e) {
  const size_t tokens = e.ids.size();
  Require(e.type_ids.size() == tokens && e.bytes.size() == tokens && e.code_points.size() == tokens &&
          e.special.size() == tokens && e.words.size() == tokens && e.full_tokens >= static_cast<int64_t>(tokens));
  uint32_t begin = 0;
  for (size_t i = 0; i < tokens; ++i) {
    Require(e.ids[i] >= 0 && e.ids[i] < tokenizer.vocabulary_size());
    if (e.special[i] != 0) continue;
    Require(e.bytes[i].begin < e.bytes[i].end && e.bytes[i].end <= text.size());
    Require(e.bytes[i].begin >= begin);
    begin = e.bytes[i].begin;
    Require(engram::CountCodePoints(std::string_view(text).substr(0, e.bytes[i].end)) == e.code_points[i].end);
  }
}

void Encode(const Tokenizer& tokenizer, const std::string& text) {
  engram::tokenize::EncodeOptions options;
  const auto whole = tokenizer.Encode(text, options);
  Require(whole.ok() == !engram::FindInvalidUtf8(text).has_value());
  if (!whole.ok()) return;
  CheckEncoding(tokenizer, text, *whole);
  options.max_length = 3 + static_cast<int64_t>(text.size() % 5);
  options.truncation = engram::tokenize::Truncation::kLongestFirst;
  options.split_special_tokens = false;
  const auto cut = tokenizer.EncodePair(text, text, options);
  Require(cut.ok() && static_cast<int64_t>(cut->ids.size()) <= options.max_length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string rest(reinterpret_cast<const char*>(data), size);
  const auto take = [&rest] {
    const size_t end = rest.find('\0');
    std::string part = rest.substr(0, end);
    rest.erase(0, end == std::string::npos ? end : end + 1);
    return part.empty() ? std::nullopt : std::optional<std::string>(std::move(part));
  };
  engram::tokenize::TokenizerTexts texts;
  for (auto* part : {&texts.tokenizer_json, &texts.vocabulary, &texts.tokenizer_config, &texts.special_tokens_map,
                     &texts.added_tokens})
    *part = take();
  const auto tokenizer = engram::tokenize::ParseTokenizer(texts);
  if (tokenizer.ok()) Encode(**tokenizer, rest);
  static const auto usual = [] {
    engram::tokenize::TokenizerTexts made;
    made.vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nthe\n##ing\ne\n##e\ni\n.\n,\n";
    return engram::tokenize::ParseTokenizer(made).value();
  }();
  Encode(*usual, std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
