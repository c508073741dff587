#include "core/corpus/row_errors.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace engram::corpus {

void RowErrors::Add(int64_t line, std::string_view what) {
  if (count_++ == 0) first_ = line;
  if (shown_.size() < kShown) shown_.push_back(absl::StrCat("line ", line, " ", AbslView(what)));
}

absl::Status RowErrors::ToStatus(std::string_view field) const {
  if (count_ == 0) return absl::OkStatus();
  const int64_t more = count_ - static_cast<int64_t>(shown_.size());
  return InvalidField(absl::StrCat(AbslView(field), " line ", first_),
                      absl::StrCat(count_ == 1 ? "one row does" : absl::StrCat(count_, " rows do"), " not parse: ",
                                   absl::StrJoin(shown_, "; "), more > 0 ? absl::StrCat("; and ", more, " more") : ""));
}

}  // namespace engram::corpus
