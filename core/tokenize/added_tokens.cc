#include "core/tokenize/added_tokens.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"
#include "core/tokenize/bert_normalizer.h"

namespace engram::tokenize {
namespace {

// The code point that ends before byte `end` of valid UTF-8, which it moves to the code point's beginning.
int32_t CodePointBefore(std::string_view text, size_t& end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  size_t at = end;
  return DecodeUtf8(text, at);
}

bool TouchesWord(std::string_view text, size_t begin, size_t end) {
  if (begin > 0) {
    size_t before = begin;
    if (IsWordCharacter(CodePointBefore(text, before))) return true;
  }
  return end < text.size() && IsWordCharacter(DecodeUtf8(text, end));
}

size_t WithSpaceBefore(std::string_view text, size_t begin, size_t limit) {
  for (size_t at = begin; at > limit; begin = at) {
    if (!IsSpaceCharacter(CodePointBefore(text, at))) break;
  }
  return begin;
}

size_t WithSpaceBehind(std::string_view text, size_t end) {
  for (size_t at = end; at < text.size(); end = at) {
    if (!IsSpaceCharacter(DecodeUtf8(text, at))) break;
  }
  return end;
}

absl::Status Refuse(const AddedToken& token, std::string_view why) {
  return InvalidField("added_tokens", absl::StrCat("the token ", Quoted(token.content), " ", AbslView(why)));
}

}  // namespace

absl::StatusOr<std::optional<AddedTokens::Pattern>> AddedTokens::MakePattern(std::vector<std::string> contents,
                                                                             std::vector<size_t> tokens) {
  if (contents.empty()) return std::nullopt;
  Pattern pattern;
  for (const std::string& content : contents) pattern.begins[static_cast<unsigned char>(content[0])] = true;
  // No token continues another: a prefix that no UTF-8 has.
  ENGRAM_ASSIGN_OR_RETURN(pattern.contents, Vocabulary::Create(std::move(contents), "\xff"));
  pattern.tokens = std::move(tokens);
  return pattern;
}

absl::StatusOr<AddedTokens> AddedTokens::Create(std::vector<AddedToken> tokens, const Normalize& normalize) {
  AddedTokens made;
  made.tokens_ = std::move(tokens);
  std::vector<std::string> plain, normalized;
  std::vector<size_t> plain_tokens, normalized_tokens;
  std::set<std::string> seen, seen_normalized;
  // Of two that normalize alike a special one is found, as in the reference.
  std::vector<size_t> order(made.tokens_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_partition(order.begin(), order.end(), [&](size_t i) { return made.tokens_[i].special; });
  for (const size_t i : order) {
    const AddedToken& token = made.tokens_[i];
    if (token.content.empty()) return InvalidField("added_tokens", "a token is empty");
    if (token.content.size() > kMaxAddedTokenBytes)
      return Refuse(token, absl::StrCat("is longer than ", kMaxAddedTokenBytes, " bytes"));
    if (FindInvalidUtf8(token.content)) return Refuse(token, "is not UTF-8");
    if (!seen.insert(token.content).second) return Refuse(token, "is there twice");
    if (!token.normalized) {
      plain.push_back(token.content);
      plain_tokens.push_back(i);
      continue;
    }
    std::string content = normalize(token.content);
    if (content.empty())
      return Refuse(token, "is nothing once it is normalized, so it would be found between any two characters");
    if (!seen_normalized.insert(content).second) continue;
    normalized.push_back(std::move(content));
    normalized_tokens.push_back(i);
  }
  ENGRAM_ASSIGN_OR_RETURN(made.plain_, MakePattern(std::move(plain), std::move(plain_tokens)));
  ENGRAM_ASSIGN_OR_RETURN(made.normalized_, MakePattern(std::move(normalized), std::move(normalized_tokens)));
  return made;
}

std::vector<AddedTokens::Part> AddedTokens::Split(std::string_view text, bool normalized, bool split_special) const {
  std::vector<Part> parts;
  const std::optional<Pattern>& pattern = normalized ? normalized_ : plain_;
  size_t from = 0;                        // what lies before is in the parts
  size_t space_begin = 0, space_end = 0;  // the white space that a token took last: a token of white space lies in it
  for (size_t at = 0; pattern && at < text.size();) {
    size_t length = 0;
    const int32_t found = pattern->begins[static_cast<unsigned char>(text[at])]
                              ? pattern->contents.LongestPrefix(text.substr(at), /*continuation=*/false, length)
                              : -1;
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[pattern->tokens[static_cast<size_t>(found)]];
    size_t begin = at, end = at + length;
    at = end;  // also of a token that is not taken: the reference does not look for another within it
    if (token.special && split_special) continue;
    if (token.single_word && TouchesWord(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(WithSpaceBefore(text, begin, std::min(begin, from)), from);
    if (token.rstrip) {
      if (end < space_begin || end > space_end) {
        space_begin = end;
        space_end = WithSpaceBehind(text, end);
      }
      end = space_end;
    }
    if (from < begin) parts.push_back({from, begin, kText});
    parts.push_back({begin, end, static_cast<int32_t>(token.id)});
    from = end;
  }
  if (from < text.size()) parts.push_back({from, text.size(), kText});
  return parts;
}

}  // namespace engram::tokenize
