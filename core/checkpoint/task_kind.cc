#include "core/checkpoint/task_kind.h"

#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/checkpoint/blocks.h"
#include "core/checkpoint/expansion.h"

namespace engram::checkpoint {
namespace {

template <typename Enum>
using NameTable = std::pair<Enum, std::string_view>;

constexpr NameTable<TaskKind> kTaskKinds[] = {{TaskKind::kSequenceClassification, "sequence_classification"},
                                              {TaskKind::kTokenClassification, "token_classification"},
                                              {TaskKind::kMaskedLanguageModel, "masked_language_model"}};
constexpr NameTable<Pooling> kPoolings[] = {{Pooling::kStandard, "standard"}, {Pooling::kMean, "mean"}};
constexpr NameTable<ExpansionKind> kExpansions[] = {{ExpansionKind::kNone, "none"},
                                                    {ExpansionKind::kUnit, "unit"},
                                                    {ExpansionKind::kRelu, "relu"},
                                                    {ExpansionKind::kRff, "rff"},
                                                    {ExpansionKind::kKwta, "kwta"}};
constexpr NameTable<BlocksKind> kBlocksKinds[] = {{BlocksKind::kNone, "none"},
                                                  {BlocksKind::kAdapter, "adapter"},
                                                  {BlocksKind::kLowRank, "low_rank"},
                                                  {BlocksKind::kProgressive, "progressive"},
                                                  {BlocksKind::kMasked, "masked"}};
constexpr NameTable<BlocksPlaces> kBlocksPlaces[] = {{BlocksPlaces::kFeedForward, "feed_forward"},
                                                     {BlocksPlaces::kSublayers, "sublayers"},
                                                     {BlocksPlaces::kQueryValue, "query_value"},
                                                     {BlocksPlaces::kAttention, "attention"},
                                                     {BlocksPlaces::kAll, "all"}};

template <typename Enum, size_t kSize>
std::string_view NameOf(const NameTable<Enum> (&table)[kSize], Enum value) {
  for (const auto& [known, name] : table) {
    if (known == value) return name;
  }
  return "";
}

template <typename Enum, size_t kSize>
absl::StatusOr<Enum> Parse(const NameTable<Enum> (&table)[kSize], std::string_view text, std::string_view field) {
  std::set<std::string> names;
  for (const auto& [value, name] : table) {
    if (name == text) return value;
    names.emplace(name);
  }
  const std::string nearest = NearestName(text, names);
  return InvalidField(
      field,
      absl::StrCat("is ", Quoted(text), nearest.empty() ? ", which is not known" : "; did you mean " + nearest + "?"));
}

}  // namespace

std::string_view TaskKindName(TaskKind kind) { return NameOf(kTaskKinds, kind); }
std::string_view PoolingName(Pooling pooling) { return NameOf(kPoolings, pooling); }
std::string_view ExpansionKindName(ExpansionKind kind) { return NameOf(kExpansions, kind); }
std::string_view BlocksKindName(BlocksKind kind) { return NameOf(kBlocksKinds, kind); }
std::string_view BlocksPlacesName(BlocksPlaces places) { return NameOf(kBlocksPlaces, places); }

absl::StatusOr<TaskKind> ParseTaskKind(std::string_view name, std::string_view field) {
  return Parse(kTaskKinds, name, field);
}
absl::StatusOr<Pooling> ParsePooling(std::string_view name, std::string_view field) {
  return Parse(kPoolings, name, field);
}
absl::StatusOr<ExpansionKind> ParseExpansionKind(std::string_view name, std::string_view field) {
  return Parse(kExpansions, name, field);
}
absl::StatusOr<BlocksKind> ParseBlocksKind(std::string_view name, std::string_view field) {
  return Parse(kBlocksKinds, name, field);
}
absl::StatusOr<BlocksPlaces> ParseBlocksPlaces(std::string_view name, std::string_view field) {
  return Parse(kBlocksPlaces, name, field);
}

}  // namespace engram::checkpoint
