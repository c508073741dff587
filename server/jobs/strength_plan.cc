#include "server/jobs/strength_plan.h"

#include <set>
#include <string>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/checkpoint/task_kind.h"

namespace engram::server {
namespace {

using checkpoint::TaskKind;

constexpr size_t kFewest = 2, kMost = 20;

// Ascending, each once.
absl::StatusOr<std::set<double>> Strengths(const TaskOptions& asked) {
  const Option& lambda = *asked.strategy->options.Find(kLambda);
  const double unit = std::get<double>(lambda.default_value);
  std::set<double> strengths;
  for (const std::string& text : asked.task.List(kLambdaGrid)) {
    double factor = 0;
    if (!absl::SimpleAtod(text, &factor))
      return InvalidField(kLambdaGrid, absl::StrCat("holds \"", text, "\", which is no number"));
    if (!lambda.Check(factor * unit).ok()) {
      return InvalidField(kLambdaGrid, absl::StrCat("holds ", text, ", which makes lambda ", factor * unit, "; ",
                                                    asked.strategy->name, " takes ", lambda.Allowed()));
    }
    strengths.insert(factor * unit);
  }
  if (strengths.size() < kFewest || strengths.size() > kMost)
    return InvalidField(kLambdaGrid,
                        absl::StrCat("has ", strengths.size(), " strengths; give ", kFewest, " to ", kMost));
  return strengths;
}

}  // namespace

absl::Status FillSearch(const PlanContext& context, const BaseVersion& base, const TaskOptions& asked,
                        engram::worker::v1::TrainWork& work) {
  const auto masked = checkpoint::TaskKindName(TaskKind::kMaskedLanguageModel);
  if (work.kind() == masked) {
    return InvalidField(kLambda,
                        "is auto, which weighs accuracies, and a masked language model has none; name a number");
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::set<double> strengths, Strengths(asked));
  engram::worker::v1::StrengthSearch& search = *work.mutable_search();
  search.set_option(kLambda);
  for (const double strength : strengths) search.add_values(strength);
  for (const checkpoint::ManifestTask& task : base.manifest.tasks) {
    if (task.name == work.task() || task.kind == TaskKind::kMaskedLanguageModel) continue;
    const absl::StatusOr<jobs::DatasetRecord> dataset = TrainedDataset(context, task);
    if (absl::IsFailedPrecondition(dataset.status())) continue;
    ENGRAM_RETURN_IF_ERROR(dataset.status());
    auto& item = *search.add_earlier();
    item.set_task(task.name);
    SetDataset(*dataset, item.mutable_dataset());
  }
  if (search.earlier_size() > 0) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kFailedPrecondition, "NOTHING_TO_WEIGH",
      "lambda=auto weighs the new task against earlier ones, and no earlier classifier or tagger of "
      "this version has the data set that it was trained on on this server: upload one of them again, "
      "or name a number");
}

void AddSearch(const engram::worker::v1::TrainWork& work, engram::v1::JobEstimate& estimate) {
  const int64_t trainings = 1 + work.search().values_size();
  estimate.set_total_tokens(estimate.total_tokens() * trainings);
  estimate.set_steps(estimate.steps() * trainings);
}

}  // namespace engram::server
