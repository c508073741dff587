#include "core/tokenize/bert_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"

namespace engram::tokenize {
namespace {

void Push(Encoding& out, int32_t id, Range bytes, Range code_points, int32_t word) {
  out.ids.push_back(id);
  out.bytes.push_back(bytes);
  out.code_points.push_back(code_points);
  out.words.push_back(word);
}

void Resize(Encoding& encoding, size_t size) {
  encoding.ids.resize(size);
  encoding.bytes.resize(size);
  encoding.code_points.resize(size);
  encoding.words.resize(size);
}

// Behind the model's own tokens those that it does not have; each has the id that huggingface/tokenizers gives it.
absl::Status AppendAdded(const std::vector<AddedToken>& added, std::vector<std::string>& vocabulary) {
  std::unordered_map<std::string, int64_t> known;
  for (size_t id = 0; id < vocabulary.size(); ++id) known.emplace(vocabulary[id], static_cast<int64_t>(id));
  for (const AddedToken& token : added) {
    const auto [at, is_new] = known.emplace(token.content, static_cast<int64_t>(vocabulary.size()));
    if (at->second != token.id) {
      return InvalidField(
          "added_tokens",
          absl::StrCat("the token ", Quoted(token.content), " has the id ", token.id,
                       is_new ? " and must have the next free one, " : " and the vocabulary gives it ", at->second));
    }
    if (is_new) vocabulary.push_back(token.content);
  }
  return absl::OkStatus();
}

Range Shifted(Range range, uint32_t by) { return {range.begin + by, range.end + by}; }

// How many tokens of each text stay, for `room` in all: huggingface/tokenizers' rules.
absl::Status Shares(Truncation truncation, int64_t room, int64_t& first, int64_t& second, bool pair) {
  const int64_t excess = first + second - room;
  if (room == 0 && truncation != Truncation::kNone) {  // only the special tokens fit
    first = second = 0;
    return absl::OkStatus();
  }
  if (excess <= 0 || truncation == Truncation::kNone) return absl::OkStatus();
  if (truncation == Truncation::kLongestFirst) {
    if (!pair) {
      first = room;
      return absl::OkStatus();
    }
    // The shorter text stays whole if it fits into half of the room.
    int64_t shorter = std::min(first, second), longer = std::max(first, second);
    longer = shorter > room ? shorter : std::max(shorter, room - shorter);
    if (shorter + longer > room) {
      shorter = room / 2;
      longer = shorter + room % 2;
    }
    const bool swapped = first > second;
    first = swapped ? longer : shorter;
    second = swapped ? shorter : longer;
    return absl::OkStatus();
  }
  int64_t& cut = truncation == Truncation::kOnlyFirst ? first : second;
  if (cut <= excess)
    return InvalidField("truncation",
                        "the text that is to be cut is too short to give up enough tokens; use longest_first");
  cut -= excess;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<BertTokenizer>> BertTokenizer::Create(std::vector<std::string> vocabulary,
                                                                     const BertTokenizerOptions& options) {
  const size_t in_words = vocabulary.size();
  ENGRAM_RETURN_IF_ERROR(AppendAdded(options.added, vocabulary));
  ENGRAM_ASSIGN_OR_RETURN(Vocabulary made,
                          Vocabulary::Create(std::move(vocabulary), options.continuation_prefix, in_words));
  auto tokenizer = std::unique_ptr<BertTokenizer>(new BertTokenizer(std::move(made), options));
  const auto find = [&](const std::string& token) { return tokenizer->vocabulary_.Find(token); };
  tokenizer->special_ = {find(options.cls), find(options.sep), find(options.pad), find(options.unknown),
                         find(options.mask)};
  tokenizer->frame_ = {{tokenizer->special_.cls}, {tokenizer->special_.sep}};
  ENGRAM_RETURN_IF_ERROR(tokenizer->CheckSpecialTokens());
  ENGRAM_ASSIGN_OR_RETURN(tokenizer->added_, AddedTokens::Create(options.added, options.normalizer));
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
  Push(out, special_.unknown, range(word.bytes, 0, size, offset.begin), range(word.code_points, 0, size, offset.end),
       word_index);
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

absl::Status BertTokenizer::AppendText(std::string_view text, const EncodeOptions& options, Encoding& out) const {
  if (text.size() >= size_t{1} << 31) return InvalidField("text", "is longer than 2 GiB");
  if (const auto bad = FindInvalidUtf8(text))
    return InvalidField("text", absl::StrCat("is not valid UTF-8 at byte ", *bad));
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

absl::StatusOr<Encoding> BertTokenizer::Assemble(Encoding first, const Encoding* second,
                                                 const EncodeOptions& options) const {
  const int64_t added = options.add_special_tokens ? (second != nullptr ? 3 : 2) : 0;
  int64_t keep_first = static_cast<int64_t>(first.ids.size()),
          keep_second = second != nullptr ? static_cast<int64_t>(second->ids.size()) : 0;
  const int64_t full = keep_first + keep_second + added;
  if (options.max_length > 0) {
    if (options.max_length < added)
      return InvalidField("max_length",
                          absl::StrCat("is ", options.max_length, "; the special tokens alone need ", added));
    ENGRAM_RETURN_IF_ERROR(
        Shares(options.truncation, options.max_length - added, keep_first, keep_second, second != nullptr));
  }
  Encoding out;
  out.full_tokens = full;
  const auto special = [&](int32_t id, int32_t type) {
    Push(out, id, {}, {}, -1);
    out.type_ids.push_back(type);
    out.special.push_back(1);
  };
  const auto append = [&](const Encoding& from, int64_t count, int32_t type) {
    for (int64_t i = 0; i < count; ++i) Push(out, from.ids[i], from.bytes[i], from.code_points[i], from.words[i]);
    out.type_ids.insert(out.type_ids.end(), count, type);
    out.special.insert(out.special.end(), count, 0);
  };
  if (options.add_special_tokens) special(special_.cls, 0);
  append(first, keep_first, 0);
  if (options.add_special_tokens) special(special_.sep, 0);
  if (second != nullptr) {
    append(*second, keep_second, 1);
    if (options.add_special_tokens) special(special_.sep, 1);
  }
  return out;
}

absl::StatusOr<Encoding> BertTokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  Encoding tokens;
  ENGRAM_RETURN_IF_ERROR(AppendText(text, options, tokens));
  return Assemble(std::move(tokens), nullptr, options);
}

absl::StatusOr<Encoding> BertTokenizer::EncodePair(std::string_view first, std::string_view second,
                                                   const EncodeOptions& options) const {
  Encoding first_tokens, second_tokens;
  ENGRAM_RETURN_IF_ERROR(AppendText(first, options, first_tokens));
  ENGRAM_RETURN_IF_ERROR(AppendText(second, options, second_tokens));
  return Assemble(std::move(first_tokens), &second_tokens, options);
}

absl::StatusOr<Encoding> BertTokenizer::EncodeWords(std::span<const std::string_view> words,
                                                    const EncodeOptions& options) const {
  Encoding tokens;
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t before = tokens.ids.size();
    ENGRAM_RETURN_IF_ERROR(Annotate(AppendText(words[i], options, tokens), absl::StrCat("word ", i)));
    std::fill(tokens.words.begin() + static_cast<int64_t>(before), tokens.words.end(), static_cast<int32_t>(i));
  }
  return Assemble(std::move(tokens), nullptr, options);
}

}  // namespace engram::tokenize
