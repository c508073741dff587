#include "core/tokenize/bert_tokenizer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"

namespace engram::tokenize {
namespace {

void Resize(Encoding& encoding, size_t size) {
  encoding.ids.resize(size);
  encoding.bytes.resize(size);
  encoding.code_points.resize(size);
  encoding.words.resize(size);
}

std::string NormalizedByBert(const std::string& content, const BertNormalizerOptions& options) {
  NormalizedTextSink sink;
  BertNormalizer(options, sink).Run(content);
  return sink.text().text;
}

Range Shifted(Range range, uint32_t by) { return {range.begin + by, range.end + by}; }

}  // namespace

absl::StatusOr<std::unique_ptr<BertTokenizer>> BertTokenizer::Create(std::vector<std::string> vocabulary,
                                                                     const BertTokenizerOptions& options) {
  const size_t in_words = vocabulary.size();
  ENGRAM_RETURN_IF_ERROR(AppendAdded(options.added, vocabulary));
  ENGRAM_ASSIGN_OR_RETURN(Vocabulary made,
                          Vocabulary::Create(std::move(vocabulary), options.continuation_prefix, in_words));
  auto tokenizer = std::unique_ptr<BertTokenizer>(new BertTokenizer(std::move(made), options));
  const auto find = [&](const std::string& token) { return tokenizer->vocabulary_.Find(token); };
  const SpecialIds special{find(options.cls), find(options.sep), find(options.pad), find(options.unknown),
                           find(options.mask)};
  ENGRAM_RETURN_IF_ERROR(tokenizer->CheckSpecialTokens());
  Template frame = options.frame.value_or(Template::Bert(special.cls, special.sep));
  ENGRAM_RETURN_IF_ERROR(CheckTemplate(frame));
  tokenizer->SetFrame(std::move(frame), special);
  ENGRAM_ASSIGN_OR_RETURN(tokenizer->added_, AddedTokens::Create(options.added, [&](const std::string& content) {
                            return NormalizedByBert(content, options.normalizer);
                          }));
  return tokenizer;
}

absl::Status BertTokenizer::CheckSpecialTokens() const {
  for (const std::string* token : {&options_.unknown, &options_.cls, &options_.sep}) {
    if (token->empty()) return InvalidField("vocabulary", "a special token is empty");
    if (vocabulary_.Find(*token) < 0)
      return InvalidField("vocabulary", absl::StrCat("lacks the special token ", *token));
  }
  return absl::OkStatus();
}

void BertTokenizer::AppendWord(const NormalizedText& word, Range offset, int32_t word_index, Encoding& out) const {
  const auto range = [&](const std::vector<Range>& sources, size_t begin, size_t end, uint32_t shift) {
    return Shifted({sources[begin].begin, sources[end - 1].end}, shift);
  };
  const size_t before = out.ids.size(), size = word.text.size();
  bool known = word.characters <= options_.max_characters_per_word;
  for (size_t at = 0; known && at < size;) {
    size_t length = 0;
    const int32_t id = vocabulary_.LongestPrefix(std::string_view(word.text).substr(at), at > 0, length);
    if (id < 0) {
      known = false;
      break;
    }
    Push(out, id, range(word.bytes, at, at + length, offset.begin),
         range(word.code_points, at, at + length, offset.end), word_index);
    at += length;
  }
  if (known) return;
  Resize(out, before);
  Push(out, special_ids().unknown, range(word.bytes, 0, size, offset.begin),
       range(word.code_points, 0, size, offset.end), word_index);
}

void BertTokenizer::AppendPlain(std::string_view text, Range offset, bool split_special, int32_t& words,
                                Encoding& out) const {
  const auto emit = [&](const NormalizedText& word) { AppendWord(word, offset, words++, out); };
  BertPreTokenizer pieces(emit);
  if (!added_.any_normalized()) {
    BertNormalizer(options_.normalizer, pieces).Run(text);
    pieces.End();
    return;
  }
  NormalizedTextSink sink;
  BertNormalizer(options_.normalizer, sink).Run(text);
  const NormalizedText& whole = sink.text();
  for (const AddedTokens::Part& part : added_.Split(whole.text, /*normalized=*/true, split_special)) {
    if (part.id != AddedTokens::kText) {
      const auto range = [&](const std::vector<Range>& sources, uint32_t shift) {
        return Shifted({sources[part.begin].begin, sources[part.end - 1].end}, shift);
      };
      Push(out, part.id, range(whole.bytes, offset.begin), range(whole.code_points, offset.end), words++);
      continue;
    }
    for (size_t at = part.begin; at < part.end;) {
      const Source source{whole.bytes[at], whole.code_points[at]};
      const int32_t c = DecodeUtf8(whole.text, at);
      pieces.Take(c, FlagsOf(c), source);
    }
    pieces.End();
  }
}

absl::Status BertTokenizer::AppendText(std::string_view text, const EncodeOptions& options, bool, Encoding& out) const {
  ENGRAM_RETURN_IF_ERROR(CheckText(text));
  const bool split_special = options.split_special_tokens.value_or(options_.split_special_tokens);
  int32_t words = 0;
  size_t counted = 0;  // bytes before which there are code_points
  int64_t code_points = 0;
  const auto code_point = [&](size_t at) {
    code_points += at >= counted ? CountCodePoints(text.substr(counted, at - counted))
                                 : -CountCodePoints(text.substr(at, counted - at));
    counted = at;
    return static_cast<uint32_t>(code_points);
  };
  for (const AddedTokens::Part& part : added_.Split(text, /*normalized=*/false, split_special)) {
    const auto begin = static_cast<uint32_t>(part.begin), end = static_cast<uint32_t>(part.end);
    const uint32_t first = code_point(begin);
    if (part.id == AddedTokens::kText) {
      AppendPlain(text.substr(begin, end - begin), {begin, first}, split_special, words, out);
    } else {
      Push(out, part.id, {begin, end}, {first, code_point(end)}, words++);
    }
  }
  return absl::OkStatus();
}

}  // namespace engram::tokenize
