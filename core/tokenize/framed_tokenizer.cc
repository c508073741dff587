#include "core/tokenize/framed_tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"
#include "core/tokenize/added_tokens.h"

namespace engram::tokenize {
namespace {

using Part = Template::Part;

int64_t CountSpecial(const std::vector<Part>& parts) {
  return std::count_if(parts.begin(), parts.end(), [](const Part& part) { return part.kind == Part::kSpecial; });
}

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

Template Template::Bert(int32_t cls, int32_t sep) {
  const Part begin{Part::kSpecial, cls, 0}, first{Part::kFirst, -1, 0}, end{Part::kSpecial, sep, 0};
  return {{begin, first, end}, {begin, first, end, {Part::kSecond, -1, 1}, {Part::kSpecial, sep, 1}}};
}

Template Template::Roberta(int32_t cls, int32_t sep) {
  const Part begin{Part::kSpecial, cls, 0}, first{Part::kFirst, -1, 0}, end{Part::kSpecial, sep, 0};
  return {{begin, first, end}, {begin, first, end, end, {Part::kSecond, -1, 0}, end}};
}

Template Template::None() { return {{{Part::kFirst, -1, 0}}, {{Part::kFirst, -1, 0}, {Part::kSecond, -1, 1}}}; }

absl::Status CheckTemplate(const Template& parts) {
  const auto texts = [](const std::vector<Part>& list) {
    std::vector<Part::Kind> kinds;
    for (const Part& part : list) {
      if (part.kind != Part::kSpecial) kinds.push_back(part.kind);
    }
    return kinds;
  };
  using Kinds = std::vector<Part::Kind>;
  if (texts(parts.single) != Kinds{Part::kFirst} || texts(parts.pair) != Kinds{Part::kFirst, Part::kSecond})
    return InvalidField("post_processor",
                        "must have A once for a text, and A and B once each and in this order for a pair");
  for (const std::vector<Part>* list : {&parts.single, &parts.pair}) {
    for (const Part& part : *list) {
      if (part.type < 0 || part.type > (list == &parts.single ? 0 : 1))
        return InvalidField("post_processor",
                            absl::StrCat("has the type ", part.type, "; only 0 is read, and 1 in a pair"));
    }
  }
  return absl::OkStatus();
}

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

void FramedTokenizer::SetFrame(Template parts, const SpecialIds& special) {
  template_ = std::move(parts);
  special_ = special;
  bool behind = false;
  for (const Part& part : template_.single) {
    if (part.kind != Part::kSpecial) {
      behind = true;
    } else {
      (behind ? frame_.after : frame_.before).push_back(part.id);
    }
  }
}

absl::Status FramedTokenizer::CheckText(std::string_view text) {
  if (text.size() >= size_t{1} << 31) return InvalidField("text", "is longer than 2 GiB");
  if (const auto bad = FindInvalidUtf8(text))
    return InvalidField("text", absl::StrCat("is not valid UTF-8 at byte ", *bad));
  return absl::OkStatus();
}

void FramedTokenizer::Push(Encoding& out, int32_t id, Range bytes, Range code_points, int32_t word) {
  out.ids.push_back(id);
  out.bytes.push_back(bytes);
  out.code_points.push_back(code_points);
  out.words.push_back(word);
}

absl::StatusOr<Encoding> FramedTokenizer::Assemble(const Encoding& first, const Encoding* second,
                                                   const EncodeOptions& options) const {
  const std::vector<Part>& parts = second != nullptr ? template_.pair : template_.single;
  const int64_t added = options.add_special_tokens ? CountSpecial(parts) : 0;
  int64_t keep_first = static_cast<int64_t>(first.ids.size()),
          keep_second = second != nullptr ? static_cast<int64_t>(second->ids.size()) : 0;
  Encoding out;
  out.full_tokens = keep_first + keep_second + added;
  if (options.max_length > 0) {
    if (options.max_length < added)
      return InvalidField("max_length",
                          absl::StrCat("is ", options.max_length, "; the special tokens alone need ", added));
    ENGRAM_RETURN_IF_ERROR(
        Shares(options.truncation, options.max_length - added, keep_first, keep_second, second != nullptr));
  }
  const auto append = [&](const Encoding& from, int64_t count, int32_t type) {
    out.ids.insert(out.ids.end(), from.ids.begin(), from.ids.begin() + count);
    out.bytes.insert(out.bytes.end(), from.bytes.begin(), from.bytes.begin() + count);
    out.code_points.insert(out.code_points.end(), from.code_points.begin(), from.code_points.begin() + count);
    out.words.insert(out.words.end(), from.words.begin(), from.words.begin() + count);
    out.type_ids.insert(out.type_ids.end(), static_cast<size_t>(count), type);
    out.special.insert(out.special.end(), static_cast<size_t>(count), 0);
  };
  for (const Part& part : parts) {
    if (part.kind == Part::kFirst) append(first, keep_first, part.type);
    if (part.kind == Part::kSecond) append(*second, keep_second, part.type);
    if (part.kind != Part::kSpecial || !options.add_special_tokens) continue;
    Push(out, part.id, {}, {}, -1);
    out.type_ids.push_back(part.type);
    out.special.push_back(1);
  }
  return out;
}

absl::StatusOr<Encoding> FramedTokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  Encoding tokens;
  ENGRAM_RETURN_IF_ERROR(AppendText(text, options, /*word=*/false, tokens));
  return Assemble(tokens, nullptr, options);
}

absl::StatusOr<Encoding> FramedTokenizer::EncodePair(std::string_view first, std::string_view second,
                                                     const EncodeOptions& options) const {
  Encoding first_tokens, second_tokens;
  ENGRAM_RETURN_IF_ERROR(AppendText(first, options, /*word=*/false, first_tokens));
  ENGRAM_RETURN_IF_ERROR(AppendText(second, options, /*word=*/false, second_tokens));
  return Assemble(first_tokens, &second_tokens, options);
}

absl::StatusOr<Encoding> FramedTokenizer::EncodeWords(std::span<const std::string_view> words,
                                                      const EncodeOptions& options) const {
  Encoding tokens;
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t before = tokens.ids.size();
    ENGRAM_RETURN_IF_ERROR(Annotate(AppendText(words[i], options, /*word=*/true, tokens), absl::StrCat("word ", i)));
    std::fill(tokens.words.begin() + static_cast<int64_t>(before), tokens.words.end(), static_cast<int32_t>(i));
  }
  return Assemble(tokens, nullptr, options);
}

}  // namespace engram::tokenize
