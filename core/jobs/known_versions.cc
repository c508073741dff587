#include "core/jobs/known_versions.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"

namespace engram::jobs {

absl::Status ModelNotFound(std::string_view name) {
  return StatusWithReason(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
                          absl::StrCat("there is no model \"", AbslView(name), "\"; `engram models import` makes one"));
}

absl::Status VersionNotFound(std::string_view model, int64_t number) {
  return StatusWithReason(absl::StatusCode::kNotFound, "VERSION_NOT_FOUND",
                          absl::StrCat("model \"", AbslView(model), "\" has no version ", number,
                                       "; `engram models show` lists those there are"));
}

void KnownVersions::Set(std::string_view name, Model model) {
  auto known = std::make_shared<const Model>(std::move(model));
  absl::MutexLock lock(&mutex_);
  if (known->versions.empty()) {
    if (const auto found = models_.find(name); found != models_.end()) models_.erase(found);
  } else {
    models_.insert_or_assign(std::string(name), std::move(known));
  }
}

void KnownVersions::SetUnknown(std::string_view name) {
  absl::MutexLock lock(&mutex_);
  models_.insert_or_assign(std::string(name), nullptr);
}

absl::StatusOr<int64_t> KnownVersions::Resolve(std::string_view name, std::string_view text) const {
  std::shared_ptr<const Model> model;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = models_.find(name);
    if (found == models_.end()) return ModelNotFound(name);
    model = found->second;
  }
  if (model == nullptr) return absl::UnavailableError("the model's versions could not be read: try again");
  if (text.empty()) {
    const auto stable = model->labels.find("stable");
    return stable == model->labels.end() ? *model->versions.rbegin() : stable->second;
  }
  int64_t number = 0;
  if (absl::SimpleAtoi(AbslView(text), &number)) {
    if (model->versions.contains(number)) return number;
    return VersionNotFound(name, number);
  }
  const auto label = model->labels.find(text);
  if (label != model->labels.end()) return label->second;
  return StatusWithReason(absl::StatusCode::kNotFound, "VERSION_NOT_FOUND",
                          absl::StrCat("model \"", AbslView(name), "\" has no label \"", AbslView(CutUtf8(text, 64)),
                                       "\"; `engram models show` lists its versions and labels"));
}

}  // namespace engram::jobs
