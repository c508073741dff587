#include "core/checkpoint/families/family.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::checkpoint {
namespace {

// Filled before main, read only from then on.
std::map<std::string, FamilySpec, std::less<>>& Families() {
  static std::map<std::string, FamilySpec, std::less<>> families;
  return families;
}

constexpr std::pair<TaskKind, const char*> kClassEnds[] = {
    {TaskKind::kSequenceClassification, "ForSequenceClassification"},
    {TaskKind::kTokenClassification, "ForTokenClassification"},
    {TaskKind::kMaskedLanguageModel, "ForMaskedLM"}};

}  // namespace

const HeadSpec& FamilySpec::Head(TaskKind kind, Pooling pooling) const {
  static constexpr HeadSpec kMeanHead{.before_output = DropoutSource::kClassifier, .output = "classifier"};
  switch (kind) {
    case TaskKind::kSequenceClassification:
      return pooling == Pooling::kMean ? kMeanHead : sequence;
    case TaskKind::kTokenClassification:
      return token;
    case TaskKind::kMaskedLanguageModel:
      break;
  }
  return masked_lm;
}

std::string FamilySpec::ClassName(std::optional<TaskKind> kind) const {
  const char* end = "Model";
  for (const auto& [known, class_end] : kClassEnds) {
    if (kind == known) end = class_end;
  }
  return absl::StrCat(class_stems.front(), end);
}

bool FamilySpec::OwnsClass(std::string_view name) const {
  return std::any_of(class_stems.begin(), class_stems.end(),
                     [name](const char* stem) { return name.starts_with(stem); });
}

std::optional<TaskKind> KindOfClass(std::string_view class_name) {
  for (const auto& [kind, end] : kClassEnds) {
    if (class_name.ends_with(end)) return kind;
  }
  return std::nullopt;
}

const FamilySpec* FindFamily(std::string_view model_type) {
  const auto found = Families().find(model_type);
  return found == Families().end() ? nullptr : &found->second;
}

std::vector<std::string> KnownModelTypes() {
  std::vector<std::string> types;
  for (const auto& [type, spec] : Families()) types.push_back(type);
  return types;
}

bool IsHeadTensor(std::string_view canonical_name) {
  return std::any_of(Families().begin(), Families().end(), [&](const auto& family) {
    const std::vector<const char*>& prefixes = family.second.head_prefixes;
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](const char* prefix) { return canonical_name.starts_with(prefix); });
  });
}

FamilyRegistration::FamilyRegistration(FamilySpec spec) {
  std::string type = spec.model_type;
  Families().emplace(std::move(type), std::move(spec));
}

}  // namespace engram::checkpoint
