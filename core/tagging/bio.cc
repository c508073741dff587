#include "core/tagging/bio.h"

#include <algorithm>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/tagging/words.h"

namespace engram::tagging {
namespace {

constexpr size_t kMaxTypeBytes = 128;
constexpr size_t kMaxTags = 20'001;

TagProblem Problem(size_t word, std::string_view tag, std::string_view why) {
  return {word, absl::StrCat("tag \"", AbslView(CutUtf8(tag, kMaxTypeBytes)), "\" ", AbslView(why))};
}

// Whether the word before `i` belongs to an entity of `type`.
bool Continues(std::span<const std::string> tags, size_t i, std::string_view type) {
  if (i == 0) return false;
  const auto previous = ParseTag(tags[i - 1]);
  return previous.has_value() && previous->prefix != 'O' && previous->type == type;
}

NormalisedTags NormaliseBio2(std::span<const std::string> tags) {
  for (size_t i = 0; i < tags.size(); ++i) {
    const auto tag = ParseTag(tags[i]);
    if (tag->prefix == 'I' && !Continues(tags, i, tag->type)) {
      return {{},
              Problem(i, tags[i],
                      absl::StrCat("does not continue an entity: B-", AbslView(tag->type), " or I-",
                                   AbslView(tag->type), " must stand before it"))};
    }
  }
  return {{tags.begin(), tags.end()}, std::nullopt};
}

NormalisedTags NormaliseIob1(std::span<const std::string> tags) {
  std::vector<std::string> result;
  result.reserve(tags.size());
  for (size_t i = 0; i < tags.size(); ++i) {
    const auto tag = ParseTag(tags[i]);
    const bool continues = tag->prefix != 'O' && Continues(tags, i, tag->type);
    if (tag->prefix == 'B' && !continues) {
      return {{},
              Problem(i, tags[i],
                      absl::StrCat("does not follow an entity of its type, and IOB1 writes I-", AbslView(tag->type),
                                   " there"))};
    }
    result.push_back(tag->prefix == 'I' && !continues ? absl::StrCat("B-", AbslView(tag->type)) : tags[i]);
  }
  return {std::move(result), std::nullopt};
}

NormalisedTags NormaliseBioes(std::span<const std::string> tags) {
  std::vector<std::string> result;
  result.reserve(tags.size());
  bool open = false;  // inside an entity that still needs its end
  std::string_view type;
  for (size_t i = 0; i < tags.size(); ++i) {
    const auto tag = ParseTag(tags[i]);
    const bool continuing = tag->prefix == 'I' || tag->prefix == 'E';
    if (open && (!continuing || tag->type != type)) {
      return {{},
              Problem(i, tags[i],
                      absl::StrCat("comes before the entity of type ", AbslView(type), " has ended (E-", AbslView(type),
                                   " is missing)"))};
    }
    if (!open && continuing) {
      return {{},
              Problem(i, tags[i],
                      absl::StrCat("does not continue an entity: B-", AbslView(tag->type), " must stand before it"))};
    }
    open = tag->prefix == 'B' || tag->prefix == 'I';
    type = tag->type;
    if (tag->prefix == 'O') {
      result.emplace_back("O");
    } else {
      result.push_back(absl::StrCat(continuing ? "I-" : "B-", AbslView(tag->type)));
    }
  }
  if (open) {
    return {
        {},
        Problem(tags.size() - 1, tags.back(),
                absl::StrCat("leaves its entity open: E-", AbslView(type), " or S-", AbslView(type), " is missing"))};
  }
  return {std::move(result), std::nullopt};
}

}  // namespace

absl::Status ValidateTypeName(std::string_view type) {
  if (type.empty()) return InvalidField("labels", "an entity type must not be empty");
  if (type.size() > kMaxTypeBytes) {
    return InvalidField("labels", absl::StrCat("the entity type \"", AbslView(CutUtf8(type, 32)),
                                               "...\" is longer than ", kMaxTypeBytes, " bytes"));
  }
  const auto words = SplitWords(type);
  if (!words.ok()) return InvalidField("labels", "an entity type is not valid UTF-8");
  // Space and control characters belong to no word: a type without them is covered by its words.
  int64_t covered = 0;
  for (const Word& word : *words) covered += word.end_byte - word.start_byte;
  if (covered != static_cast<int64_t>(type.size())) {
    return InvalidField("labels",
                        absl::StrCat("the entity type \"", AbslView(type), "\" has white space or control characters"));
  }
  return absl::OkStatus();
}

std::optional<SplitTag> ParseTag(std::string_view tag) {
  if (tag == "O") return SplitTag{};
  if (tag.size() < 3 || tag[1] != '-') return std::nullopt;
  SplitTag result{tag[0], tag.substr(2)};
  if (result.prefix == 'L') result.prefix = 'E';
  if (result.prefix == 'U') result.prefix = 'S';
  if (std::string_view("BIES").find(result.prefix) == std::string_view::npos) return std::nullopt;
  return result;
}

absl::StatusOr<TagSet> TagSet::FromTypes(const std::vector<std::string>& types) {
  if (types.empty()) return InvalidField("labels", "a tagger needs at least one entity type");
  std::vector<std::string> tags = {"O"};
  for (const std::string& type : types) {
    tags.push_back(absl::StrCat("B-", AbslView(type)));
    tags.push_back(absl::StrCat("I-", AbslView(type)));
  }
  return FromTags(tags);
}

absl::StatusOr<TagSet> TagSet::FromTags(const std::vector<std::string>& tags) {
  if (tags.size() > kMaxTags) return InvalidField("labels", absl::StrCat("more than ", kMaxTags, " tags"));
  TagSet set;
  set.tags_ = tags;
  std::unordered_map<std::string_view, int32_t> types, ids;
  for (const std::string& name : tags) {
    const auto tag = ParseTag(name);
    if (!tag.has_value() || tag->prefix == 'E' || tag->prefix == 'S') {
      return InvalidField("labels",
                          absl::StrCat("\"", AbslView(name), "\" is not a BIO tag; tags are O, B-<type> and I-<type>"));
    }
    if (!ids.emplace(name, static_cast<int32_t>(ids.size())).second) {
      return InvalidField("labels", absl::StrCat("the tag \"", AbslView(name), "\" is there twice"));
    }
    if (tag->prefix != 'B') continue;
    ENGRAM_RETURN_IF_ERROR(ValidateTypeName(tag->type));
    types.emplace(tag->type, static_cast<int32_t>(set.types_.size()));
    set.types_.emplace_back(tag->type);
  }
  const auto outside = ids.find("O");
  if (outside == ids.end()) return InvalidField("labels", "the tag \"O\" is missing");
  if (set.types_.empty()) return InvalidField("labels", "a tagger needs at least one entity type");
  set.outside_ = outside->second;
  set.begin_.assign(set.types_.size(), kNone);
  set.inside_.assign(set.types_.size(), kNone);
  for (size_t id = 0; id < tags.size(); ++id) {
    const SplitTag tag = *ParseTag(tags[id]);
    const auto type = types.find(tag.type);
    if (tag.prefix != 'O' && type == types.end()) {
      return InvalidField("labels", absl::StrCat("the tag \"", tags[id], "\" has no \"B-", AbslView(tag.type),
                                                 "\", so nothing could begin such an entity"));
    }
    set.prefix_.push_back(tag.prefix == 'O'   ? TagPrefix::kOutside
                          : tag.prefix == 'B' ? TagPrefix::kBegin
                                              : TagPrefix::kInside);
    set.type_.push_back(tag.prefix == 'O' ? kNone : type->second);
    if (tag.prefix == 'B') set.begin_[type->second] = static_cast<int32_t>(id);
    if (tag.prefix == 'I') set.inside_[type->second] = static_cast<int32_t>(id);
  }
  return set;
}

int32_t TagSet::Find(std::string_view name) const {
  const auto found = std::find(tags_.begin(), tags_.end(), name);
  return found == tags_.end() ? kNone : static_cast<int32_t>(found - tags_.begin());
}

bool TagSet::Allowed(int32_t previous, int32_t next) const {
  if (prefix_[next] != TagPrefix::kInside) return true;
  return previous != kNone && type_[previous] == type_[next];
}

TagScheme DetectScheme(std::span<const std::vector<std::string>> sentences) {
  bool begins_with_inside = false, begin_elsewhere = false;
  for (const auto& tags : sentences) {
    for (size_t i = 0; i < tags.size(); ++i) {
      const auto tag = ParseTag(tags[i]);
      if (!tag.has_value() || tag->prefix == 'O') continue;
      if (tag->prefix == 'E' || tag->prefix == 'S') return TagScheme::kBioes;
      const bool continues = Continues(tags, i, tag->type);
      if (tag->prefix == 'I' && !continues) begins_with_inside = true;
      if (tag->prefix == 'B' && !continues) begin_elsewhere = true;
    }
  }
  return begins_with_inside && !begin_elsewhere ? TagScheme::kIob1 : TagScheme::kBio2;
}

NormalisedTags NormaliseTags(std::span<const std::string> tags, TagScheme scheme) {
  for (size_t i = 0; i < tags.size(); ++i) {
    const auto tag = ParseTag(tags[i]);
    const bool known = tag.has_value() && (scheme == TagScheme::kBioes || (tag->prefix != 'E' && tag->prefix != 'S'));
    if (!known)
      return {
          {},
          Problem(i, tags[i], "is not known; tags are O, B-<type> and I-<type> (BIOES: also E-<type> and S-<type>)")};
    if (tag->prefix != 'O' && !ValidateTypeName(tag->type).ok()) {
      return {
          {},
          Problem(i, "", "has an entity type with white space, control characters, bad UTF-8 or more than 128 bytes")};
    }
  }
  switch (scheme) {
    case TagScheme::kBio2:
      return NormaliseBio2(tags);
    case TagScheme::kIob1:
      return NormaliseIob1(tags);
    case TagScheme::kBioes:
      return NormaliseBioes(tags);
  }
  return {};
}

}  // namespace engram::tagging
