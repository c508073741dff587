#include "server/jobs/task_options.h"

#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/strict_json.h"
#include "core/train/train_options.h"

namespace engram::server {
namespace {

using engram::v1::StartTaskRequest;
using engram::worker::v1::TrainWork;

// "ewc, l2sp have it": the strategies with that option; empty if none has it.
std::string OwnersOf(const std::string& option) {
  std::vector<std::string> owners;
  for (const auto& [name, info] : continual::Strategies()) {
    if (info.options.Find(option) != nullptr) owners.push_back(name);
  }
  if (owners.empty()) return "";
  return absl::StrCat(absl::StrJoin(owners, ", "), owners.size() == 1 ? " has it" : " have it");
}

// The error for an option that a training with this strategy does not take.
absl::Status NotTaken(const std::string& name, const continual::StrategyInfo& strategy) {
  if (const std::string owners = OwnersOf(name); !owners.empty())
    return InvalidField(name, absl::StrCat("is no option of ", strategy.name, "; ", owners));
  std::vector<Option> taken = strategy.options.options();
  for (const OptionTable* table : {&train::TrainOptionTable(), &StartTaskOptionTable()})
    taken.insert(taken.end(), table->options().begin(), table->options().end());
  std::set<std::string> own, known;
  for (const Option& option : taken) own.insert(option.name);
  known = own;
  for (const auto& [other, info] : continual::Strategies()) {
    for (const Option& option : info.options.options()) known.insert(option.name);
  }
  if (const std::string nearest = NearestName(name, known); !nearest.empty() && !own.contains(nearest)) {
    return InvalidField(name, absl::StrCat("is no option of a training with ", strategy.name, "; did you mean ",
                                           nearest, "? ", OwnersOf(nearest)));
  }
  return OptionTable(absl::StrCat("option of a training with ", strategy.name), std::move(taken)).Unknown(name);
}

absl::StatusOr<OptionValues> StrategyOptionsOf(const TrainWork& work, const continual::StrategyInfo& strategy) {
  return strategy.options.Parse({work.strategy_options().begin(), work.strategy_options().end()});
}

}  // namespace

const OptionTable& StartTaskOptionTable() {
  static const OptionTable table(
      "option of a task",
      {Option::Choice("pooling", kModelPooling, {kModelPooling, "standard", "mean"},
                      "what a new classification head reads: the family's own vector, the mean over all tokens, or as "
                      "the base model pools"),
       Option::Whole("progress_every", 1, Closed(1, 1e9), "optimizer steps between two progress messages"),
       Option::Flag("measure_earlier", true,
                    "after the training, measure the version's other tasks, too, on the test parts of their data sets"),
       Option::List(kLambdaGrid, {"0", "0.03", "0.1", "0.3", "1", "3"},
                    "strengths that lambda=auto tries, as multiples of the strategy's default")});
  return table;
}

absl::StatusOr<TaskOptions> ReadTaskOptions(const StartTaskRequest& request, int64_t consolidations) {
  TaskOptions options;
  options.strategy = &continual::DefaultStrategy(consolidations > 0);
  if (!request.strategy().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(options.strategy, continual::FindStrategy(request.strategy()));
  }
  std::map<std::string, std::string> strategy, task;
  for (const auto& [name, value] : request.options()) {
    if (options.strategy->options.Find(name) != nullptr) {
      options.search = options.search || (name == kLambda && value == kAuto);
      if (name != kLambda || value != kAuto) strategy[name] = value;
    } else if (StartTaskOptionTable().Find(name) != nullptr) {
      task[name] = value;
    } else if (train::TrainOptionTable().Find(name) != nullptr) {
      options.training[name] = value;
    } else {
      return NotTaken(name, *options.strategy);
    }
  }
  if (request.has_lambda()) {
    if (options.strategy->options.Find(kLambda) == nullptr) return NotTaken(kLambda, *options.strategy);
    if (options.search || !strategy.emplace(kLambda, absl::StrFormat("%.17g", request.lambda())).second)
      return InvalidField(kLambda, "is given twice: in its field and among the options");
  }
  ENGRAM_ASSIGN_OR_RETURN(options.strategy_options, options.strategy->options.Parse(strategy));
  ENGRAM_ASSIGN_OR_RETURN(options.task, StartTaskOptionTable().Parse(task));
  if (task.contains(kLambdaGrid) && !options.search)
    return InvalidField(kLambdaGrid, "says what lambda=auto tries: set that, too, or leave it out");
  ENGRAM_RETURN_IF_ERROR(continual::CheckNeeds(*options.strategy, consolidations));
  return options;
}

absl::StatusOr<std::map<std::string, std::string>> ShowOptions(const TrainWork& work) {
  ENGRAM_ASSIGN_OR_RETURN(const continual::StrategyInfo* const strategy, continual::FindStrategy(work.strategy()));
  ENGRAM_ASSIGN_OR_RETURN(const OptionValues own, StrategyOptionsOf(work, *strategy));
  ENGRAM_ASSIGN_OR_RETURN(const train::TrainOptions training,
                          train::ParseTrainOptions({work.options().begin(), work.options().end()}));
  std::map<std::string, std::string> shown = train::ShowTrainOptions(training);
  shown.merge(own.Show());
  shown["strategy"] = work.strategy();
  if (!work.has_search()) return shown;
  const double unit = std::get<double>(strategy->options.Find(work.search().option())->default_value);
  std::vector<std::string> grid;
  for (const double value : work.search().values()) grid.push_back(absl::StrFormat("%g", value / unit));
  shown[work.search().option()] = kAuto;
  shown[kLambdaGrid] = absl::StrJoin(grid, ",");
  return shown;
}

absl::StatusOr<continual::StrategyCost> StrategyCostOf(const TrainWork& work, const continual::StrategySizes& sizes) {
  ENGRAM_ASSIGN_OR_RETURN(const continual::StrategyInfo* const strategy, continual::FindStrategy(work.strategy()));
  ENGRAM_ASSIGN_OR_RETURN(const OptionValues own, StrategyOptionsOf(work, *strategy));
  return continual::CostOf(*strategy, own, sizes);
}

}  // namespace engram::server
