#include "core/tagging/bio.h"

#include <algorithm>
#include <set>
#include <utility>

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

// Whether a label has a prefix of some scheme, or is "O".
bool Prefixed(std::string_view tag) {
  return tag == "O" ||
         (tag.size() > 2 && tag[1] == '-' && std::string_view("BIESLUM").find(tag[0]) != std::string_view::npos);
}

// What a label of a tagger stands for.
std::pair<TagPrefix, std::string_view> Meaning(std::string_view tag, TagReading reading) {
  if (reading == TagReading::kWords) return {TagPrefix::kSingle, tag};
  if (tag == "O") return {TagPrefix::kOutside, {}};
  if (!Prefixed(tag)) return {TagPrefix::kInside, tag};
  switch (tag[0]) {
    case 'B':
      return {TagPrefix::kBegin, tag.substr(2)};
    case 'I':
      return {TagPrefix::kInside, tag.substr(2)};
    default:
      break;
  }
  if (reading != TagReading::kBioes) return {TagPrefix::kInside, tag};  // a bare type that looks like one of BIOES
  return {tag[0] == 'M'                    ? TagPrefix::kInside
          : tag[0] == 'E' || tag[0] == 'L' ? TagPrefix::kEnd
                                           : TagPrefix::kSingle,
          tag.substr(2)};
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

absl::Status TagSet::Add(int32_t id, TagPrefix prefix, std::string_view type) {
  prefix_[static_cast<size_t>(id)] = prefix;
  if (prefix == TagPrefix::kOutside) {
    outside_ = id;
    return absl::OkStatus();
  }
  auto known = type_numbers_.find(type);
  if (known == type_numbers_.end()) {
    ENGRAM_RETURN_IF_ERROR(ValidateTypeName(type));
    known = type_numbers_.emplace(type, static_cast<int32_t>(types_.size())).first;
    types_.emplace_back(type);
    by_type_.push_back({kNone, kNone, kNone, kNone, kNone});
  }
  type_[static_cast<size_t>(id)] = known->second;
  int32_t& place = by_type_[static_cast<size_t>(known->second)][static_cast<size_t>(prefix)];
  if (place != kNone) {
    return InvalidField("labels", absl::StrCat("the tags \"", tags_[static_cast<size_t>(place)], "\" and \"",
                                               tags_[static_cast<size_t>(id)], "\" mean the same"));
  }
  place = id;
  return absl::OkStatus();
}

absl::StatusOr<TagSet> TagSet::FromTags(const std::vector<std::string>& tags, std::string_view scheme) {
  if (!scheme.empty() && scheme != kIob1Scheme && scheme != kLenientScheme)
    return InvalidField("tag_scheme", "must be iob1 or lenient, or left out");
  if (tags.size() > kMaxTags) return InvalidField("labels", absl::StrCat("more than ", kMaxTags, " tags"));
  const std::set<std::string_view> names(tags.begin(), tags.end());
  if (names.size() != tags.size()) {
    const auto twice = std::find_if(tags.begin(), tags.end(), [&](const std::string& tag) {
      return std::count(tags.begin(), tags.end(), tag) > 1;
    });
    return InvalidField("labels", absl::StrCat("the tag \"", *twice, "\" is there twice"));
  }
  const bool has_outside = names.contains("O");
  if (tags.size() == (has_outside ? 1 : 0)) return InvalidField("labels", "a tagger needs at least one entity type");
  const bool prefixed = std::all_of(tags.begin(), tags.end(), [](const std::string& tag) { return Prefixed(tag); });
  const auto any = [&](std::string_view prefixes) {
    return std::any_of(tags.begin(), tags.end(), [&](const std::string& tag) {
      return tag != "O" && prefixes.find(tag[0]) != std::string_view::npos;
    });
  };
  const bool every_inside_begins = std::all_of(tags.begin(), tags.end(), [&](const std::string& tag) {
    return !tag.starts_with("I-") || names.contains(absl::StrCat("B-", tag.substr(2)));
  });
  TagSet set;
  set.reading_ = prefixed && any("ESLUM")                         ? TagReading::kBioes
                 : prefixed && has_outside && every_inside_begins ? TagReading::kBio2
                 : has_outside || prefixed                        ? TagReading::kIob1
                                                                  : TagReading::kWords;
  const bool lenient = set.reading_ == TagReading::kBio2 && scheme == kLenientScheme;
  if (set.reading_ == TagReading::kBio2 && !scheme.empty()) set.reading_ = TagReading::kIob1;
  set.writes_inside_first_ = set.reading_ == TagReading::kIob1 && !lenient;
  if (set.reading_ == TagReading::kBioes && !has_outside) return InvalidField("labels", "the tag \"O\" is missing");
  set.tags_ = tags;
  set.prefix_.assign(tags.size(), TagPrefix::kOutside);
  set.type_.assign(tags.size(), kNone);
  // In BIO2 the B tags number the types, wherever the others stand.
  for (const bool begins : {true, false}) {
    for (size_t id = 0; id < tags.size(); ++id) {
      const auto [prefix, type] = Meaning(tags[id], set.reading_);
      const bool now = set.reading_ != TagReading::kBio2 || prefix == TagPrefix::kBegin;
      if (now == begins) ENGRAM_RETURN_IF_ERROR(set.Add(static_cast<int32_t>(id), prefix, type));
    }
  }
  for (int32_t type = 0; set.reading_ == TagReading::kBioes && type < static_cast<int32_t>(set.types_.size()); ++type) {
    const bool several = set.begin(type) != kNone && set.end(type) != kNone;
    if (!several && set.single(type) == kNone) {
      return InvalidField("labels", absl::StrCat("the type \"", set.types_[static_cast<size_t>(type)],
                                                 "\" has neither the tag S nor both B and E, so nothing could end it"));
    }
  }
  return set;
}

int32_t TagSet::Find(std::string_view name) const {
  const auto found = std::find(tags_.begin(), tags_.end(), name);
  return found == tags_.end() ? kNone : static_cast<int32_t>(found - tags_.begin());
}

bool TagSet::Allowed(int32_t previous, int32_t next) const {
  if (reading_ == TagReading::kIob1 || reading_ == TagReading::kWords) return true;
  const TagPrefix prefix = prefix_[static_cast<size_t>(next)];
  const bool continues = prefix == TagPrefix::kInside || prefix == TagPrefix::kEnd;
  if (previous == kNone) return !continues;
  const TagPrefix before = prefix_[static_cast<size_t>(previous)];
  const bool open = before == TagPrefix::kBegin || before == TagPrefix::kInside;
  if (continues) return open && type_[static_cast<size_t>(previous)] == type_[static_cast<size_t>(next)];
  return reading_ == TagReading::kBio2 || !open;
}

std::string_view TagSchemeName(TagScheme scheme) {
  return scheme == TagScheme::kBio2 ? "BIO2" : scheme == TagScheme::kIob1 ? "IOB1" : "BIOES";
}

std::vector<TagProblem> UnknownTags(std::span<const std::string> tags) {
  std::vector<TagProblem> problems;
  for (size_t i = 0; i < tags.size(); ++i) {
    const std::string& tag = tags[i];
    if (tag == kMissingTag) continue;
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
    const std::string why = tag.prefix == 'O' && written != "O" && written != kMissingTag
                                ? "has the type \"O\"; it is read as the tag O"
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
  ForEachTag(
      tags, [&](size_t, const std::string& written, const SplitTag& tag, const SplitTag& previous, const SplitTag&) {
        result.push_back(tag.prefix == 'O' ? (written == kMissingTag ? written : "O")
                                           : absl::StrCat(Begins(previous, tag) ? "B-" : "I-", AbslView(tag.type)));
      });
  return result;
}

}  // namespace engram::tagging
