#include "core/tokenize/bert_tokenizer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

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
  ENGRAM_ASSIGN_OR_RETURN(Vocabulary made, Vocabulary::Create(std::move(vocabulary), options.continuation_prefix));
  auto tokenizer = std::unique_ptr<BertTokenizer>(new BertTokenizer(std::move(made), options));
  const auto find = [&](const std::string& token) { return tokenizer->vocabulary_.Find(token); };
  tokenizer->special_ = {find(options.cls), find(options.sep), find(options.pad), find(options.unknown),
                         find(options.mask)};
  tokenizer->frame_ = {{tokenizer->special_.cls}, {tokenizer->special_.sep}};
  ENGRAM_RETURN_IF_ERROR(tokenizer->CollectSpecialTokens());
  return tokenizer;
}

absl::Status BertTokenizer::CollectSpecialTokens() {
  special_tokens_ = options_.added_special;
  for (const std::string* token : {&options_.unknown, &options_.cls, &options_.sep}) special_tokens_.push_back(*token);
  for (const std::string& token : special_tokens_) {
    if (token.empty()) return InvalidField("vocabulary", "a special token is empty");
    if (vocabulary_.Find(token) < 0) return InvalidField("vocabulary", absl::StrCat("lacks the special token ", token));
  }
  for (const std::string* token : {&options_.pad, &options_.mask}) {  // a tagger needs neither
    if (!token->empty() && vocabulary_.Find(*token) >= 0) special_tokens_.push_back(*token);
  }
  std::sort(special_tokens_.begin(), special_tokens_.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  special_tokens_.erase(std::unique(special_tokens_.begin(), special_tokens_.end()), special_tokens_.end());
  for (const std::string& token : special_tokens_) begins_special_[static_cast<unsigned char>(token[0])] = true;
  return absl::OkStatus();
}

const std::string* BertTokenizer::SpecialPrefix(std::string_view text) const {
  if (!begins_special_[static_cast<unsigned char>(text[0])]) return nullptr;
  for (const std::string& token : special_tokens_) {
    if (text.starts_with(token)) return &token;
  }
  return nullptr;
}

void BertTokenizer::AppendWord(const NormalizedWord& word, Range offset, int32_t word_index, Encoding& out) const {
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

// `offset`: bytes (begin) and code points (end) before `text` in the original.
void BertTokenizer::AppendPlain(std::string_view text, Range offset, int32_t& words, Encoding& out) const {
  const auto emit = [&](const NormalizedWord& word) { AppendWord(word, offset, words++, out); };
  BertNormalizer(options_.normalizer, emit).Run(text);
}

absl::Status BertTokenizer::AppendText(std::string_view text, bool special_tokens_in_text, Encoding& out) const {
  if (text.size() >= size_t{1} << 31) return InvalidField("text", "is longer than 2 GiB");
  if (const auto bad = FindInvalidUtf8(text))
    return InvalidField("text", absl::StrCat("is not valid UTF-8 at byte ", *bad));
  int32_t words = 0;
  size_t plain_begin = 0;
  uint32_t code_points = 0;
  const auto flush = [&](size_t end) {
    const std::string_view plain = text.substr(plain_begin, end - plain_begin);
    AppendPlain(plain, {static_cast<uint32_t>(plain_begin), code_points}, words, out);
    code_points += static_cast<uint32_t>(CountCodePoints(plain));
  };
  for (size_t at = 0; special_tokens_in_text && at < text.size(); ++at) {
    const std::string* token = SpecialPrefix(text.substr(at));
    if (token == nullptr) continue;
    flush(at);
    const auto begin = static_cast<uint32_t>(at), size = static_cast<uint32_t>(token->size()),
               characters = static_cast<uint32_t>(CountCodePoints(*token));
    Push(out, vocabulary_.Find(*token), {begin, begin + size}, {code_points, code_points + characters}, words++);
    code_points += characters;
    plain_begin = at + token->size();
    at = plain_begin - 1;
  }
  flush(text.size());
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
  ENGRAM_RETURN_IF_ERROR(AppendText(text, options.special_tokens_in_text, tokens));
  return Assemble(std::move(tokens), nullptr, options);
}

absl::StatusOr<Encoding> BertTokenizer::EncodePair(std::string_view first, std::string_view second,
                                                   const EncodeOptions& options) const {
  Encoding first_tokens, second_tokens;
  ENGRAM_RETURN_IF_ERROR(AppendText(first, options.special_tokens_in_text, first_tokens));
  ENGRAM_RETURN_IF_ERROR(AppendText(second, options.special_tokens_in_text, second_tokens));
  return Assemble(std::move(first_tokens), &second_tokens, options);
}

absl::StatusOr<Encoding> BertTokenizer::EncodeWords(std::span<const std::string_view> words,
                                                    const EncodeOptions& options) const {
  Encoding tokens;
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t before = tokens.ids.size();
    ENGRAM_RETURN_IF_ERROR(
        Annotate(AppendText(words[i], options.special_tokens_in_text, tokens), absl::StrCat("word ", i)));
    std::fill(tokens.words.begin() + static_cast<int64_t>(before), tokens.words.end(), static_cast<int32_t>(i));
  }
  return Assemble(std::move(tokens), nullptr, options);
}

}  // namespace engram::tokenize
