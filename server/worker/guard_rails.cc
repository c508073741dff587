#include "server/worker/guard_rails.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/continual/strategy_info.h"

namespace engram::worker {
namespace {

constexpr int64_t kFewestTexts = 20;

double Percent(int64_t count, int64_t of) { return 100.0 * static_cast<double>(count) / static_cast<double>(of); }

// What is said of a classifier; nullopt if it has learned something.
std::optional<std::string> NoBetterThanMajority(const engram::v1::Confusion& confusion) {
  const int labels = confusion.labels_size();
  if (labels == 0 || confusion.counts_size() != labels * labels) return std::nullopt;
  int64_t texts = 0, right = 0, most = 0;
  for (int row = 0; row < labels; ++row) {
    int64_t of_label = 0;
    for (int column = 0; column < labels; ++column) of_label += confusion.counts(row * labels + column);
    texts += of_label;
    most = std::max(most, of_label);
    right += confusion.counts(row * labels + row);
  }
  if (texts < kFewestTexts || most == texts || right > most) return std::nullopt;
  return absl::StrFormat(
      "%s ends at an accuracy of %.1f %%, no better than always answering its most frequent label "
      "(%.1f %%)",
      confusion.task(), Percent(right, texts), Percent(most, texts));
}

// How a run that learned nothing could learn something.
std::string Remedy(const std::string& strategy, const std::map<std::string, std::string>& options) {
  std::vector<std::string> strengths;
  const auto info = continual::Strategies().find(strategy);
  if (info != continual::Strategies().end()) {
    for (const std::string& name : info->second.strength) {
      const auto value = options.find(name);
      double strength = 0;
      if (value == options.end() || !absl::SimpleAtod(value->second, &strength) || strength == 0) continue;
      strengths.push_back(absl::StrFormat("%s=%g", name, strength));
    }
  }
  if (strengths.empty()) return "train for more epochs, raise lr, or look at the data's labels";
  return absl::StrCat("strategy ", strategy, " with ", absl::StrJoin(strengths, " and "),
                      " may hold the model too fast: lower it");
}

}  // namespace

std::optional<std::string> PointlessImportance(const std::string& task, const continual::Importance& importance) {
  if (importance.trace == 0) {
    return absl::StrCat("DEAD_PENALTY: the importance of \"", task,
                        "\" is 0 for every weight, so that a penalty protects nothing: the model is too sure of these "
                        "texts for this kind of importance; take --fisher reversed");
  }
  if (importance.units < kFewestTexts || importance.most_frequent == importance.units ||
      importance.right > importance.most_frequent)
    return std::nullopt;
  return absl::StrFormat(
      "UNTRAINED_TASK: this version answers %.1f %% of the texts or words of \"%s\" rightly on which the importance "
      "was "
      "taken, no better than always answering the most frequent label (%.1f %%), so that it says little of what the "
      "task "
      "needs; train the task first, or look whether the data set's labels are those that it was trained with",
      Percent(importance.right, importance.units), task, Percent(importance.most_frequent, importance.units));
}

std::optional<std::string> NothingLearned(const engram::v1::JobResult& result, const std::string& strategy,
                                          const std::map<std::string, std::string>& options) {
  std::optional<std::string> found;
  for (const engram::v1::Confusion& confusion : result.confusions()) found = NoBetterThanMajority(confusion);
  for (const engram::v1::Metric& metric : result.metrics()) {
    if (metric.metric() == "entity_f1" && metric.value() == 0 && metric.count() >= kFewestTexts) {
      found = absl::StrCat(metric.task(), " ends without finding a single entity");
    }
  }
  if (!found) return std::nullopt;
  return absl::StrCat("NOTHING_LEARNED: ", *found, "; ", Remedy(strategy, options));
}

}  // namespace engram::worker
