#include "core/corpus/notes.h"

#include "absl/strings/str_cat.h"
#include "core/base/status.h"

namespace engram::corpus {
namespace {

constexpr size_t kShown = 5;

}  // namespace

void LineList::Add(int64_t line, std::string_view what) {
  ++count_;
  if (shown_.size() < kShown) shown_.push_back({line, std::string(what)});
}

std::string LineList::Text() const {
  std::string text;
  bool described = false;
  for (const Line& line : shown_) described = described || !line.what.empty();
  for (size_t i = 0; i < shown_.size(); ++i) {
    const char* lead = described ? (i == 0 ? "line " : "; line ") : (i > 0 ? ", " : count_ > 1 ? "lines " : "line ");
    absl::StrAppend(&text, lead, shown_[i].number, shown_[i].what.empty() ? "" : " ", shown_[i].what);
  }
  const int64_t more = count_ - static_cast<int64_t>(shown_.size());
  if (more > 0) absl::StrAppend(&text, described ? "; and " : " and ", more, " more");
  return text;
}

void LineList::AddTo(std::vector<Note>& notes, std::string_view reason, std::string_view before,
                     std::string_view behind) const {
  if (count_ == 0) return;
  notes.push_back(
      {std::string(reason), absl::StrCat(count_, " ", AbslView(before), " (", Text(), ")", AbslView(behind)), count_});
}

}  // namespace engram::corpus
