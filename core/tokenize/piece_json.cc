#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/tokenize/bpe_model.h"
#include "core/tokenize/tokenizer_files.h"
#include "core/tokenize/tokenizer_json.h"
#include "core/tokenize/unigram_model.h"

namespace engram::tokenize {
namespace {

using Json = nlohmann::json;
constexpr size_t kMaxSteps = 64;
constexpr const char* kNormalizer = "tokenizer.json: normalizer";
constexpr const char* kPreTokenizer = "tokenizer.json: pre_tokenizer";

std::string TypeOf(const Json& json) {
  const bool typed = json.is_object() && json.contains("type") && json["type"].is_string();
  return typed ? json["type"].get<std::string>() : "";
}

absl::Status RefuseType(const char* field, const std::string& type, std::string_view known) {
  return InvalidField(
      field, absl::StrCat("is ", type.empty() ? "of no known type" : Quoted(type), "; ", AbslView(known), " are read"));
}

// The steps of a part that may be null, one step, or a Sequence of steps under `key`.
absl::StatusOr<std::vector<const Json*>> StepsOf(const Json& json, const char* part, const char* key) {
  std::vector<const Json*> steps;
  const auto found = json.find(part);
  if (found == json.end() || found->is_null()) return steps;
  if (TypeOf(*found) != "Sequence") return std::vector<const Json*>{&*found};
  ObjectReader reader(*found, absl::StrCat("tokenizer.json: ", part));
  reader.Optional("type");
  const Json* list = reader.Required(key);
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  if (!list->is_array() || list->size() > kMaxSteps) return InvalidField(reader.Field(key), "must be a list of steps");
  for (const Json& step : *list) steps.push_back(&step);
  return steps;
}

// {"String": " "} or {"Regex": " {2,}"}
struct Pattern {
  std::string kind, text;
};
void ReadPattern(ObjectReader& reader, Pattern& out) {
  const Json* pattern = reader.Required("pattern");
  if (pattern == nullptr) return;
  const bool one = pattern->is_object() && pattern->size() == 1 && pattern->begin().value().is_string();
  if (!one) return reader.Fail("pattern", "must be a String or a Regex");
  out = {pattern->begin().key(), pattern->begin().value().get<std::string>()};
}

absl::StatusOr<std::unique_ptr<TextNormalizer>> ReadReplace(ObjectReader& reader) {
  Pattern pattern;
  std::string content;
  ReadPattern(reader, pattern);
  reader.Text("content", content);
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  if (pattern.kind == "Regex" && pattern.text == " {2,}")
    return MakeReplaceNormalizer(" ", std::move(content), /*runs=*/true);
  if (pattern.kind != "String" || pattern.text.empty())
    return InvalidField(reader.Field("pattern"), R"(must be a String, or the Regex " {2,}"; others are not read)");
  return MakeReplaceNormalizer(pattern.text, std::move(content), /*runs=*/false);
}

absl::StatusOr<std::unique_ptr<TextNormalizer>> ReadNormalizerStep(const Json& json) {
  const std::string type = TypeOf(json);
  ObjectReader reader(json, kNormalizer);
  reader.Optional("type");
  if (type == "Replace") return ReadReplace(reader);
  std::unique_ptr<TextNormalizer> made;
  if (type == "NFC" || type == "NFD") {
    made = MakeCanonicalNormalizer(type == "NFC");
  } else if (type == "Lowercase") {
    made = MakeLowercaseNormalizer();
  } else if (type == "Prepend") {
    std::string what;
    reader.Text("prepend", what);
    made = MakePrependNormalizer(std::move(what));
  } else if (type == "Strip") {
    const bool left = ReadFlag(reader, "strip_left", true), right = ReadFlag(reader, "strip_right", true);
    made = MakeStripNormalizer(left, right);
  } else if (type == "Precompiled") {
    std::string encoded, charsmap;
    reader.Text("precompiled_charsmap", encoded);
    ENGRAM_RETURN_IF_ERROR(reader.Finish());
    if (!absl::Base64Unescape(encoded, &charsmap))
      return InvalidField(reader.Field("precompiled_charsmap"), "is not base64");
    return MakePrecompiledNormalizer(charsmap);
  } else {
    return RefuseType(kNormalizer, type, "NFC, NFD, Lowercase, Prepend, Replace, Strip, Precompiled and Sequence");
  }
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  return made;
}

// What the pre-tokenizer says; byte_level: the vocabulary spells bytes.
struct PreTokenizer {
  std::vector<PreTokenizerStep> steps;
  bool byte_level = false;
};

absl::Status ReadByteLevel(ObjectReader& reader, PreTokenizer& out) {
  const bool prefixes = ReadFlag(reader, "add_prefix_space", true), cuts = ReadFlag(reader, "use_regex", true);
  reader.Optional("trim_offsets");  // of the post-processor of that name
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  if (!out.steps.empty() && (prefixes || cuts))
    return InvalidField(kPreTokenizer,
                        "has a ByteLevel behind another step; it must have add_prefix_space and use_regex false");
  if (out.steps.empty() && prefixes && !cuts)
    return InvalidField(kPreTokenizer, "has a ByteLevel that prefixes a space and does not cut, which is not read");
  if (cuts) out.steps.emplace_back(CutByPattern{SplitPattern::kGpt2, prefixes});
  out.byte_level = true;
  return absl::OkStatus();
}

absl::Status ReadSplit(ObjectReader& reader, PreTokenizer& out) {
  Pattern pattern;
  std::string behavior;
  ReadPattern(reader, pattern);
  reader.Text("behavior", behavior);
  const bool inverted = ReadFlag(reader, "invert", false);
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  const std::optional<SplitPattern> known = pattern.kind == "Regex" ? FindSplitPattern(pattern.text) : std::nullopt;
  // These expressions match all of a text, so that to isolate the matches and to remove what lies between are one.
  if (!known || !((behavior == "Isolated" && !inverted) || (behavior == "Removed" && inverted)))
    return InvalidField(reader.Field("pattern"),
                        "is not one of the expressions that are read: GPT-2's, Llama 3's and Qwen 2's");
  out.steps.emplace_back(CutByPattern{*known, std::nullopt});
  return absl::OkStatus();
}

absl::Status ReadMetaspace(ObjectReader& reader, PreTokenizer& out) {
  CutAtMarks step;
  reader.Text("replacement", step.mark);
  const bool prefixes = ReadFlag(reader, "add_prefix_space", true);  // before tokenizers 0.15
  std::string scheme = prefixes ? "always" : "never";
  if (const Json* said = reader.Optional("prepend_scheme"); said != nullptr) {
    if (said->is_string())
      scheme = said->get<std::string>();
    else
      reader.Fail("prepend_scheme", "must be a text");
  }
  reader.Optional("str_rep");
  step.cut = ReadFlag(reader, "split", true);
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  if (CountCodePoints(step.mark) != 1) return InvalidField(reader.Field("replacement"), "must be one character");
  if (scheme != "always" && scheme != "never" && scheme != "first")
    return InvalidField(reader.Field("prepend_scheme"), "must be always, never or first");
  step.prepend = scheme == "always"  ? CutAtMarks::Prepend::kAlways
                 : scheme == "first" ? CutAtMarks::Prepend::kFirst
                                     : CutAtMarks::Prepend::kNever;
  out.steps.emplace_back(std::move(step));
  return absl::OkStatus();
}

absl::StatusOr<PreTokenizer> ReadPreTokenizer(const Json& json) {
  PreTokenizer out;
  ENGRAM_ASSIGN_OR_RETURN(const auto steps, StepsOf(json, "pre_tokenizer", "pretokenizers"));
  for (const Json* step : steps) {
    if (out.byte_level) return InvalidField(kPreTokenizer, "has a step behind ByteLevel, which is not read");
    const std::string type = TypeOf(*step);
    ObjectReader reader(*step, kPreTokenizer);
    reader.Optional("type");
    if (type == "ByteLevel") {
      ENGRAM_RETURN_IF_ERROR(ReadByteLevel(reader, out));
    } else if (type == "Split") {
      ENGRAM_RETURN_IF_ERROR(ReadSplit(reader, out));
    } else if (type == "Metaspace") {
      ENGRAM_RETURN_IF_ERROR(ReadMetaspace(reader, out));
    } else if (type == "WhitespaceSplit") {
      ENGRAM_RETURN_IF_ERROR(reader.Finish());
      out.steps.emplace_back(CutAtSpaces{});
    } else {
      return RefuseType(kPreTokenizer, type, "ByteLevel, Split, Metaspace, WhitespaceSplit and Sequence");
    }
  }
  return out;
}

// "a b" or ["a", "b"], in the order in which they were learned.
absl::StatusOr<BpeModel::Merges> ReadMerges(const Json& list) {
  constexpr const char* kField = "tokenizer.json: model.merges";
  if (!list.is_array() || list.size() > kMaxTokens) return InvalidField(kField, "must be a list of pairs");
  BpeModel::Merges merges;
  merges.reserve(list.size());
  for (const Json& item : list) {
    if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      merges.emplace_back(item[0].get<std::string>(), item[1].get<std::string>());
      continue;
    }
    const std::string text = item.is_string() ? item.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
      return InvalidField(kField, absl::StrCat("number ", merges.size(), " is no pair of tokens"));
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

// A text that may be absent or null, and must be empty: tokens with such a mark are not read.
void RequireNone(ObjectReader& reader, const char* key) {
  const Json* value = reader.Optional(key);
  if (value != nullptr && !value->is_null() && *value != "") reader.Fail(key, "is not implemented; it must be null");
}

absl::StatusOr<std::unique_ptr<PieceModel>> ReadBpe(const Json& json, bool byte_level, std::string& unknown) {
  ObjectReader reader(json, "tokenizer.json: model");
  reader.Optional("type");
  RequireNone(reader, "dropout");
  RequireNone(reader, "continuing_subword_prefix");
  RequireNone(reader, "end_of_word_suffix");
  BpeOptions options;
  options.byte_level = byte_level;
  options.fuse_unknown = ReadFlag(reader, "fuse_unk", false);
  options.byte_fallback = ReadFlag(reader, "byte_fallback", false);
  options.ignore_merges = ReadFlag(reader, "ignore_merges", false);
  if (const Json* token = reader.Optional("unk_token"); token != nullptr && !token->is_null()) {
    if (token->is_string())
      options.unknown = token->get<std::string>();
    else
      reader.Fail("unk_token", "must be a text or null");
  }
  const Json *vocabulary = reader.Required("vocab"), *merges = reader.Required("merges");
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> tokens, ReadVocabularyObject(*vocabulary));
  ENGRAM_ASSIGN_OR_RETURN(const BpeModel::Merges pairs, ReadMerges(*merges));
  unknown = options.unknown;
  return BpeModel::Create(std::move(tokens), pairs, options);
}

absl::StatusOr<std::unique_ptr<PieceModel>> ReadUnigram(const Json& json, std::string& unknown) {
  ObjectReader reader(json, "tokenizer.json: model");
  reader.Optional("type");
  int64_t unknown_id = 0;
  reader.Integer("unk_id", 0, static_cast<int64_t>(kMaxTokens), unknown_id);
  const bool byte_fallback = ReadFlag(reader, "byte_fallback", false);
  const Json* list = reader.Required("vocab");
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  const std::string field = reader.Field("vocab");
  if (!list->is_array() || list->empty() || list->size() > kMaxTokens)
    return InvalidField(field, "must be a list of tokens with their scores");
  std::vector<std::pair<std::string, double>> vocabulary;
  for (const Json& item : *list) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number())
      return InvalidField(field, absl::StrCat("entry ", vocabulary.size(), " is no token with its score"));
    vocabulary.emplace_back(item[0].get<std::string>(), item[1].get<double>());
  }
  if (unknown_id < static_cast<int64_t>(vocabulary.size())) unknown = vocabulary[static_cast<size_t>(unknown_id)].first;
  return UnigramModel::Create(std::move(vocabulary), unknown_id, byte_fallback);
}

// The special tokens that the file itself tells apart.
void NameSpecialTokens(const std::vector<AddedToken>& added, PieceTokenizerOptions& options) {
  const auto text = [&](int32_t id) -> std::string {
    for (const AddedToken& token : added) {
      if (token.id == id) return token.content;
    }
    const auto& tokens = options.model->tokens();
    return id < static_cast<int32_t>(tokens.size()) ? tokens[static_cast<size_t>(id)] : std::string();
  };
  const std::vector<Template::Part>& single = options.frame.single;
  if (single.front().kind == Template::Part::kSpecial) options.cls = text(single.front().id);
  if (single.back().kind == Template::Part::kSpecial) options.sep = text(single.back().id);
  for (const AddedToken& token : added) {
    if (token.content == "<pad>" || token.content == "[PAD]") options.pad = token.content;
    if (token.content == "<mask>" || token.content == "[MASK]") options.mask = token.content;
  }
}

}  // namespace

absl::StatusOr<PieceTokenizerOptions> ReadPieceTokenizer(const Json& json) {
  PieceTokenizerOptions options;
  ENGRAM_ASSIGN_OR_RETURN(PreTokenizer pre, ReadPreTokenizer(json));
  ENGRAM_ASSIGN_OR_RETURN(const std::string type, ModelTypeOf(json));
  if (type == "BPE") {
    ENGRAM_ASSIGN_OR_RETURN(options.model, ReadBpe(json["model"], pre.byte_level, options.unknown));
  } else {
    if (pre.byte_level) return InvalidField(kPreTokenizer, "is ByteLevel, which a Unigram model has no use for");
    ENGRAM_ASSIGN_OR_RETURN(options.model, ReadUnigram(json["model"], options.unknown));
  }
  options.pre_tokenizers = std::move(pre.steps);
  ENGRAM_ASSIGN_OR_RETURN(const auto steps, StepsOf(json, "normalizer", "normalizers"));
  for (const Json* step : steps) {
    ENGRAM_ASSIGN_OR_RETURN(auto normalizer, ReadNormalizerStep(*step));
    options.normalizers.push_back(std::move(normalizer));
  }
  ENGRAM_ASSIGN_OR_RETURN(options.added, ReadAddedTokenList(json));
  const auto find = [&](const std::string& token) {
    const auto& tokens = options.model->tokens();
    const auto at = std::find(tokens.begin(), tokens.end(), token);
    if (at != tokens.end()) return static_cast<int64_t>(at - tokens.begin());
    for (const AddedToken& added : options.added) {
      if (added.content == token) return added.id;
    }
    return int64_t{-1};
  };
  ENGRAM_ASSIGN_OR_RETURN(PostProcessing post, ReadPostProcessor(json, find));
  options.frame = std::move(post.frame);
  options.trim_offsets = post.trim_offsets;
  NameSpecialTokens(options.added, options);
  return options;
}

}  // namespace engram::tokenize
