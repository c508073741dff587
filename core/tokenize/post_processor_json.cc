#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/tokenize/tokenizer_files.h"
#include "core/tokenize/tokenizer_json.h"

namespace engram::tokenize {
namespace {

using Json = nlohmann::json;
using FindToken = std::function<int64_t(const std::string&)>;
constexpr const char* kField = "tokenizer.json: post_processor";
constexpr size_t kMaxParts = 64;

// ["</s>", 2]
absl::StatusOr<int32_t> ReadNamedId(ObjectReader& reader, const char* key, const FindToken& find) {
  const Json* pair = reader.Required(key);
  ENGRAM_RETURN_IF_ERROR(pair == nullptr ? reader.Finish() : absl::OkStatus());
  const bool whole = pair->is_array() && pair->size() == 2 && (*pair)[0].is_string() && (*pair)[1].is_number_unsigned();
  if (!whole) return InvalidField(reader.Field(key), "must be a token and its id");
  const int64_t id = find((*pair)[0].get<std::string>());
  if (id < 0 || (*pair)[1].get<uint64_t>() != static_cast<uint64_t>(id))
    return InvalidField(reader.Field(key), absl::StrCat("gives the token ", Quoted((*pair)[0].get<std::string>()),
                                                        " another id than the vocabulary"));
  return static_cast<int32_t>(id);
}

// "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}
absl::StatusOr<std::map<std::string, std::vector<int32_t>>> ReadSpecialTokens(const Json& json, const FindToken& find) {
  std::map<std::string, std::vector<int32_t>> ids;
  const std::string field = absl::StrCat(kField, ".special_tokens");
  if (!json.is_object()) return InvalidField(field, "must map names to tokens");
  for (const auto& [name, value] : json.items()) {
    ObjectReader reader(value, absl::StrCat(field, ".", Quoted(name)));
    reader.Optional("id");
    std::vector<std::string> tokens;
    reader.TextList("tokens", tokens);
    const Json* list = reader.Required("ids");
    ENGRAM_RETURN_IF_ERROR(reader.Finish());
    std::vector<int32_t>& out = ids[name];
    for (const std::string& token : tokens) out.push_back(static_cast<int32_t>(find(token)));
    if (*list != Json(out) || tokens.empty() || tokens.size() > kMaxParts)
      return InvalidField(reader.Field("ids"), "must be the ids that the vocabulary gives its tokens");
  }
  return ids;
}

// [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, ...]
absl::StatusOr<std::vector<Template::Part>> ReadParts(const Json& list, std::string_view key,
                                                      const std::map<std::string, std::vector<int32_t>>& special) {
  const std::string field = absl::StrCat(kField, ".", AbslView(key));
  if (!list.is_array() || list.size() > kMaxParts) return InvalidField(field, "must be a list of parts");
  std::vector<Template::Part> parts;
  for (const Json& item : list) {
    const bool one = item.is_object() && item.size() == 1;
    const bool sequence = one && item.contains("Sequence");
    if (!one || (!sequence && !item.contains("SpecialToken")))
      return InvalidField(field, "has a part that is neither a Sequence nor a SpecialToken");
    ObjectReader reader(item.begin().value(), field);
    std::string id;
    int64_t type = 0;
    reader.Text("id", id);
    reader.Integer("type_id", 0, 1, type);
    ENGRAM_RETURN_IF_ERROR(reader.Finish());
    const auto kind = id == "A" ? Template::Part::kFirst : Template::Part::kSecond;
    if (sequence) {
      if (id != "A" && id != "B") return InvalidField(field, "has a Sequence that is neither A nor B");
      parts.push_back({kind, -1, static_cast<int32_t>(type)});
      continue;
    }
    const auto found = special.find(id);
    if (found == special.end())
      return InvalidField(field, absl::StrCat("names ", Quoted(id), ", which special_tokens lacks"));
    for (const int32_t token : found->second)
      parts.push_back({Template::Part::kSpecial, token, static_cast<int32_t>(type)});
  }
  return parts;
}

absl::Status ReadTemplate(const Json& json, const FindToken& find, PostProcessing& out) {
  ObjectReader reader(json, kField);
  reader.Optional("type");
  const Json *single = reader.Required("single"), *pair = reader.Required("pair"),
             *tokens = reader.Required("special_tokens");
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  ENGRAM_ASSIGN_OR_RETURN(const auto special, ReadSpecialTokens(*tokens, find));
  ENGRAM_ASSIGN_OR_RETURN(out.frame.single, ReadParts(*single, "single", special));
  ENGRAM_ASSIGN_OR_RETURN(out.frame.pair, ReadParts(*pair, "pair", special));
  return Annotate(CheckTemplate(out.frame), "tokenizer.json");
}

absl::Status ReadOne(const Json& json, const FindToken& find, PostProcessing& out) {
  const auto type = json.is_object() ? json.find("type") : json.end();
  const std::string name = json.is_object() && type != json.end() && type->is_string() ? type->get<std::string>() : "";
  if (name == "TemplateProcessing") return ReadTemplate(json, find, out);
  ObjectReader reader(json, kField);
  reader.Optional("type");
  if (name == "ByteLevel" || name == "RobertaProcessing") {
    const bool trims = ReadFlag(reader, "trim_offsets", true), prefixes = ReadFlag(reader, "add_prefix_space", true);
    if (trims) out.trim_offsets = prefixes;
    if (name == "ByteLevel") reader.Optional("use_regex");  // of the pre-tokenizer of that name
  }
  if (name == "BertProcessing" || name == "RobertaProcessing") {
    ENGRAM_ASSIGN_OR_RETURN(const int32_t cls, ReadNamedId(reader, "cls", find));
    ENGRAM_ASSIGN_OR_RETURN(const int32_t sep, ReadNamedId(reader, "sep", find));
    out.frame = name == "BertProcessing" ? Template::Bert(cls, sep) : Template::Roberta(cls, sep);
  } else if (name != "ByteLevel") {
    return InvalidField(kField, absl::StrCat("is ", name.empty() ? "of no known type" : Quoted(name),
                                             "; TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and "
                                             "Sequence are read"));
  }
  return reader.Finish();
}

}  // namespace

absl::StatusOr<PostProcessing> ReadPostProcessor(const Json& json, const FindToken& find) {
  PostProcessing out;
  const auto found = json.find("post_processor");
  if (found == json.end() || found->is_null()) return out;
  if (!found->is_object() || !found->contains("type") || (*found)["type"] != "Sequence") {
    ENGRAM_RETURN_IF_ERROR(ReadOne(*found, find, out));
    return out;
  }
  ObjectReader reader(*found, kField);
  reader.Optional("type");
  const Json* list = reader.Required("processors");
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  if (!list->is_array() || list->size() > kMaxParts) return InvalidField(reader.Field("processors"), "must be a list");
  for (size_t i = 0; i < list->size(); ++i) {
    // Each step would change what the one before it made; of templates one can do that.
    if (out.frame.single != Template::None().single)
      return InvalidField(reader.Field("processors"), "has a step behind the one that adds the special tokens");
    ENGRAM_RETURN_IF_ERROR(ReadOne((*list)[i], find, out));
  }
  return out;
}

}  // namespace engram::tokenize
