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

// A tag as data sets write it: BMES's M is an I, and a type "O" is a slip for the tag O.
SplitTag Read(std::string_view tag) {
  SplitTag result;
  if (tag.starts_with("M-")) {
    result = {'I', tag.substr(2)};
  } else if (const auto known = ParseTag(tag)) {
    result = *known;
  }
  return result.type == "O" ? SplitTag{} : result;
}

// Whether an entity begins at a word with this tag: seqeval's start_of_chunk.
bool Begins(const SplitTag& previous, const SplitTag& tag) {
  if (tag.prefix == 'O') return false;
  if (tag.prefix == 'B' || tag.prefix == 'S') return true;
  return previous.prefix == 'O' || previous.prefix == 'E' || previous.prefix == 'S' || previous.type != tag.type;
}

bool EndsOrIsSingle(const SplitTag& tag) { return tag.prefix == 'E' || tag.prefix == 'S'; }

// Why `scheme` does not have `tag` between its neighbours; empty if it has.
std::string Deviation(const SplitTag& previous, const SplitTag& tag, const SplitTag& next, TagScheme scheme) {
  const absl::string_view type = AbslView(tag.type);
  if (tag.prefix == 'O') return "";
  if (scheme == TagScheme::kBioes) {
    if (!EndsOrIsSingle(tag) && (next.prefix == 'O' || Begins(tag, next)))
      return absl::StrCat("has no E-", type, " behind it, where BIOES ends an entity of several words");
    if (tag.prefix != 'B' && tag.prefix != 'S' && Begins(previous, tag))
      return absl::StrCat("begins an entity, where BIOES writes B-", type, " or S-", type);
    return "";
  }
  if (EndsOrIsSingle(tag))
    return absl::StrCat("is of the scheme BIOES, where the file has ", AbslView(TagSchemeName(scheme)));
  if (scheme == TagScheme::kBio2)
    return tag.prefix == 'I' && Begins(previous, tag) ? absl::StrCat("begins an entity, where BIO2 writes B-", type)
                                                      : "";
  return tag.prefix == 'B' && (previous.prefix == 'O' || previous.type != tag.type)
             ? absl::StrCat("follows no entity of its type, where IOB1 writes I-", type)
             : "";
}

// visit(index, tag as written, its reading, the readings before and behind it) for each word.
template <typename Visit>
void ForEachTag(std::span<const std::string> tags, const Visit& visit) {
  SplitTag previous, current = tags.empty() ? SplitTag{} : Read(tags[0]);
  for (size_t i = 0; i < tags.size(); ++i) {
    const SplitTag next = i + 1 < tags.size() ? Read(tags[i + 1]) : SplitTag{};
    visit(i, tags[i], current, previous, next);
    previous = current;
    current = next;
  }
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

std::string_view TagSchemeName(TagScheme scheme) {
  return scheme == TagScheme::kBio2 ? "BIO2" : scheme == TagScheme::kIob1 ? "IOB1" : "BIOES";
}

std::vector<TagProblem> UnknownTags(std::span<const std::string> tags) {
  std::vector<TagProblem> problems;
  for (size_t i = 0; i < tags.size(); ++i) {
    const std::string& tag = tags[i];
    const bool middle = tag.starts_with("M-") && tag.size() > 2;
    const auto split = middle ? SplitTag{'I', std::string_view(tag).substr(2)} : ParseTag(tag);
    if (!split) {
      problems.push_back(
          Problem(i, tag, "is not known; tags are O, B-<type> and I-<type> (BIOES: also E-<type> and S-<type>)"));
    } else if (split->prefix != 'O' && !ValidateTypeName(split->type).ok()) {
      problems.push_back(
          Problem(i, "", "has an entity type with white space, control characters, bad UTF-8 or more than 128 bytes"));
    }
  }
  return problems;
}

std::vector<TagProblem> Deviations(std::span<const std::string> tags, TagScheme scheme) {
  std::vector<TagProblem> problems;
  ForEachTag(tags, [&](size_t i, const std::string& written, const SplitTag& tag, const SplitTag& previous,
                       const SplitTag& next) {
    const std::string why = tag.prefix == 'O' && written != "O" ? "has the type \"O\"; it is read as the tag O"
                                                                : Deviation(previous, tag, next, scheme);
    if (!why.empty()) problems.push_back(Problem(i, written, why));
  });
  return problems;
}

void SchemeDetector::Add(std::span<const std::string> tags) {
  ForEachTag(tags,
             [&](size_t, const std::string&, const SplitTag& tag, const SplitTag& previous, const SplitTag& next) {
               if (first_ == 'O') first_ = tag.prefix;
               for (const TagScheme scheme : {TagScheme::kBio2, TagScheme::kIob1, TagScheme::kBioes}) {
                 if (!Deviation(previous, tag, next, scheme).empty()) ++deviations_[static_cast<size_t>(scheme)];
               }
             });
}

TagScheme SchemeDetector::scheme() const {
  const auto [bio2, iob1, bioes] = deviations_;
  if (bioes < std::min(bio2, iob1)) return TagScheme::kBioes;
  return iob1 < bio2 || (iob1 == bio2 && first_ == 'I') ? TagScheme::kIob1 : TagScheme::kBio2;
}

std::vector<std::string> ToBio2(std::span<const std::string> tags) {
  std::vector<std::string> result;
  result.reserve(tags.size());
  ForEachTag(tags, [&](size_t, const std::string&, const SplitTag& tag, const SplitTag& previous, const SplitTag&) {
    result.push_back(tag.prefix == 'O' ? "O" : absl::StrCat(Begins(previous, tag) ? "B-" : "I-", AbslView(tag.type)));
  });
  return result;
}

}  // namespace engram::tagging
