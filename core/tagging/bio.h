#pragma once

// Tags of named entities: BIO2 ("B-person" begins an entity, "I-person" continues it, "O" is outside) as the one form
// inside Engram, and the reading of the other forms that data sets come in.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::tagging {

enum class TagPrefix : uint8_t { kOutside, kBegin, kInside };

// The tags of one tagger: tag id <-> (prefix, entity type). Immutable value, thread-safe.
class TagSet {
 public:
  static constexpr int32_t kNone = -1;

  // Tag 0 is "O", tag 1 + 2 i is "B-<types[i]>", tag 2 + 2 i is "I-<types[i]>". INVALID_ARGUMENT (field "labels") if
  // `types` is empty, has a duplicate, or has a name that ValidateTypeName refuses.
  static absl::StatusOr<TagSet> FromTypes(const std::vector<std::string>& types);
  // The tags in the order of a model's id2label. INVALID_ARGUMENT if "O" is missing, a tag is there twice, a tag is not
  // O, B-x or I-x, or an I-x has no B-x (it could never be reached). Types are numbered in the order of their B tags.
  static absl::StatusOr<TagSet> FromTags(const std::vector<std::string>& tags);

  int32_t size() const { return static_cast<int32_t>(tags_.size()); }
  const std::vector<std::string>& types() const { return types_; }
  // Name of each tag, by id.
  const std::vector<std::string>& names() const { return tags_; }

  int32_t outside() const { return outside_; }
  int32_t begin(int32_t type) const { return begin_[type]; }
  // kNone if the set has B-x alone for this type.
  int32_t inside(int32_t type) const { return inside_[type]; }
  TagPrefix prefix(int32_t tag) const { return prefix_[tag]; }
  // Index into types(); kNone for O.
  int32_t type(int32_t tag) const { return type_[tag]; }
  // kNone for a name that is not a tag of this set.
  int32_t Find(std::string_view name) const;

  // Whether `next` may follow `previous` (kNone: the beginning of the sentence): I-x only after B-x and I-x, all else
  // always.
  bool Allowed(int32_t previous, int32_t next) const;

 private:
  std::vector<std::string> types_, tags_;
  std::vector<TagPrefix> prefix_;
  std::vector<int32_t> type_, begin_, inside_;
  int32_t outside_ = 0;
};

// OK for 1 to 128 bytes of valid UTF-8 without white space and control characters.
absl::Status ValidateTypeName(std::string_view type);

// How a data set writes its tags. kBio2: every entity begins with B. kIob1: B only where an entity follows one of its
// own type. kBioes: E ends and S is an entity of one word (also read in the spelling BILOU, with L for E and U for S).
enum class TagScheme { kBio2, kIob1, kBioes };

// The scheme of a whole data set: kBioes if an E-, S-, L- or U- tag occurs; else kIob1 if some entity begins with I-
// and no B- stands where IOB1 would not write it; else kBio2. A data set of B- tags alone is kBio2.
TagScheme DetectScheme(std::span<const std::vector<std::string>> sentences);

// A tag that its sentence does not allow.
struct TagProblem {
  size_t word = 0;  // index in the sentence
  std::string message;
};

// One sentence's tags rewritten in BIO2, or the first tag that is ill-formed under `scheme`: not a tag at all; kBio2:
// I-x not after B-x or I-x; kBioes: an I or E without its B, or a B or I without its E; kIob1: a B-x that does not
// follow an entity of type x.
struct NormalisedTags {
  std::vector<std::string> tags;  // [words], BIO2; empty if there is a problem
  std::optional<TagProblem> problem;
};
NormalisedTags NormaliseTags(std::span<const std::string> tags, TagScheme scheme);

// "B-person" -> ('B', "person"); "O" -> ('O', ""). nullopt if it is no tag. The type is all that follows the first
// dash.
struct SplitTag {
  char prefix = 'O';  // one of O B I E S; L and U are given as E and S
  std::string_view type;
};
std::optional<SplitTag> ParseTag(std::string_view tag);

}  // namespace engram::tagging
