#pragma once

// Tags of named entities: BIO2 ("B-person" begins an entity, "I-person" continues it, "O" is outside) as the one form
// inside Engram, and the reading of the other forms that data sets come in.

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::tagging {

enum class TagPrefix : uint8_t { kOutside, kBegin, kInside, kEnd, kSingle };

// How a tagger's tags make entities, which follows from their names:
// kBio2: B-x begins an entity, I-x continues it. Engram's own taggers.
// kIob1: I-x begins an entity, too, where none of its type is open, and B-x need not exist: IOB1, IO, and bare types
//   beside "O". Each word keeps its most probable tag, as in transformers' TokenClassificationPipeline. This reads the
//   tags of BIO2 as well; what kBio2 adds is that only its legal sequences are found.
// kBioes: B-x I-x E-x, or S-x for an entity of one word (also BILOU and BMES).
// kWords: no "O" and no prefixes (parts of speech): each word has a tag and is an entity by itself.
enum class TagReading : uint8_t { kBio2, kIob1, kBioes, kWords };

// What is known of a tagger whose labels are O, and B-x for each I-x, which BIO2 and IOB1 have alike. Empty: BIO2.
// kIob1Scheme: it reads as kIob1, and a B-x is written only where an entity follows one of its own type.
// kLenientScheme: not known: it reads as kIob1, which finds the entities of either scheme, and every entity begins with
// B-x where its tags are written.
inline constexpr std::string_view kIob1Scheme = "iob1", kLenientScheme = "lenient";

// The tags of one tagger: tag id <-> (prefix, entity type). Immutable value, thread-safe.
class TagSet {
 public:
  static constexpr int32_t kNone = -1;

  // Tag 0 is "O", tag 1 + 2 i is "B-<types[i]>", tag 2 + 2 i is "I-<types[i]>". INVALID_ARGUMENT (field "labels") if
  // `types` is empty, has a duplicate, or has a name that ValidateTypeName refuses.
  static absl::StatusOr<TagSet> FromTypes(const std::vector<std::string>& types);
  // The tags in the order of a model's id2label. kBio2 if they are O, B-x and I-x and each I-x has its B-x; else kBioes if
  // there are E, S, L, U or M beside a prefix for all others; else kIob1 if there is an "O", or prefixes alone; else
  // kWords. INVALID_ARGUMENT if a tag is there twice (under two spellings, too), a type is none (ValidateTypeName), or
  // BIOES lacks the O or a type's end. Types are numbered in the order in which they occur, in kBio2 in that of their B
  // tags. `scheme`: one of those above, which counts where the reading would be kBio2; INVALID_ARGUMENT for another.
  static absl::StatusOr<TagSet> FromTags(const std::vector<std::string>& tags, std::string_view scheme = {});

  int32_t size() const { return static_cast<int32_t>(tags_.size()); }
  const std::vector<std::string>& types() const { return types_; }
  // Name of each tag, by id.
  const std::vector<std::string>& names() const { return tags_; }

  TagReading reading() const { return reading_; }
  // kIob1: whether entities that follow none of their own type are written with I-x in their first word, too.
  bool writes_inside_first() const { return writes_inside_first_; }
  // kNone if the set has no "O".
  int32_t outside() const { return outside_; }
  // The tag of a type with this prefix; kNone if the set lacks it. kBio2 has all begins.
  int32_t begin(int32_t type) const { return With(TagPrefix::kBegin, type); }
  int32_t inside(int32_t type) const { return With(TagPrefix::kInside, type); }
  int32_t end(int32_t type) const { return With(TagPrefix::kEnd, type); }
  int32_t single(int32_t type) const { return With(TagPrefix::kSingle, type); }
  TagPrefix prefix(int32_t tag) const { return prefix_[tag]; }
  // Index into types(); kNone for O.
  int32_t type(int32_t tag) const { return type_[tag]; }
  // kNone for a name that is not a tag of this set.
  int32_t Find(std::string_view name) const;
  // kNone for a name that is not a type of this set.
  int32_t FindType(std::string_view type) const {
    const auto found = type_numbers_.find(type);
    return found == type_numbers_.end() ? kNone : found->second;
  }

  // Whether `next` may follow `previous` (kNone: the beginning of the sentence). kBio2: I-x only after B-x and I-x, all
  // else always. kBioes: I-x and E-x only after B-x and I-x, all else never after those. Else always.
  bool Allowed(int32_t previous, int32_t next) const;

 private:
  int32_t With(TagPrefix prefix, int32_t type) const {
    return by_type_[static_cast<size_t>(type)][static_cast<size_t>(prefix)];
  }
  absl::Status Add(int32_t id, TagPrefix prefix, std::string_view type);

  TagReading reading_ = TagReading::kBio2;
  bool writes_inside_first_ = false;
  std::vector<std::string> types_, tags_;
  std::vector<TagPrefix> prefix_;
  std::vector<int32_t> type_;
  std::vector<std::array<int32_t, 5>> by_type_;  // by prefix
  std::map<std::string, int32_t, std::less<>> type_numbers_;
  int32_t outside_ = kNone;
};

// OK for 1 to 128 bytes of valid UTF-8 without white space and control characters.
absl::Status ValidateTypeName(std::string_view type);

// In place of a tag: nothing is known of the word, as spaCy writes it in BILUO ("missing value"). It ends an entity as O
// does, and is not of any tag set.
inline constexpr std::string_view kMissingTag = "-";

// How a data set writes its tags. kBio2: every entity begins with B. kIob1: B only where an entity follows one of its
// own type. kBioes: E ends and S is an entity of one word (also in the spellings BILOU, with L for E and U for S, and
// BMES, with M for I).
enum class TagScheme { kBio2, kIob1, kBioes };
// "BIO2", "IOB1", "BIOES".
std::string_view TagSchemeName(TagScheme scheme);

// A tag of a sentence that is wrong, or not where its scheme has it.
struct TagProblem {
  size_t word = 0;      // index in the sentence
  std::string message;  // begins with the tag
};

// The tags that are none under any scheme: neither kMissingTag nor O, nor B-, I-, E-, S-, L-, U-, M- and a type that
// ValidateTypeName takes.
std::vector<TagProblem> UnknownTags(std::span<const std::string> tags);

// The tags of a sentence that `scheme` does not have where they stand. kBio2: an I that begins an entity, an E, an S.
// kIob1: a B that follows no entity of its type, an E, an S. kBioes: a B or I without its E, an I or E without its B.
// Under every scheme a tag whose type is "O" ("I-O"). `tags` must have no unknown tag.
std::vector<TagProblem> Deviations(std::span<const std::string> tags, TagScheme scheme);

// Which scheme a data set has, from all its sentences.
class SchemeDetector {
 public:
  // One sentence, without unknown tags.
  void Add(std::span<const std::string> tags);
  // The scheme with the fewest deviations. Between BIO2 and IOB1 with equally many the first entity decides: BIO2 if a
  // B begins it. BIOES only if it has fewer than both.
  TagScheme scheme() const;

 private:
  std::array<int64_t, 3> deviations_ = {};  // by scheme
  char first_ = 'O';                        // prefix of the first entity
};

// One sentence's tags in BIO2, read as conlleval and seqeval's default mode read any mix of schemes: B and S begin an
// entity; so do I and E after O, E, S or another type; all other I and E continue one. "I-O" and its like are O,
// kMissingTag stays. Equal to the scheme's own reading where there is no deviation. `tags` must have no unknown tag.
std::vector<std::string> ToBio2(std::span<const std::string> tags);

// "B-person" -> ('B', "person"); "O" -> ('O', ""). nullopt if it is no tag. The type is all that follows the first
// dash.
struct SplitTag {
  char prefix = 'O';  // one of O B I E S; L and U are given as E and S
  std::string_view type;
};
std::optional<SplitTag> ParseTag(std::string_view tag);

}  // namespace engram::tagging
