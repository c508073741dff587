#pragma once

// The options of a StartTask request, each where it belongs: to the training, to the strategy, or to the task's head
// and its reports. What a name means follows from the tables; nothing here knows one strategy from another.

#include <cstdint>
#include <map>
#include <string>

#include "core/base/options.h"
#include "core/continual/strategy_info.h"
#include "engram/v1/task.pb.h"
#include "engram/worker/v1/worker.pb.h"

namespace engram::server {

// The value of the option "pooling" that stands for what the base model does.
inline constexpr const char* kModelPooling = "model";

// The strategy's option whose value "auto" asks for a search, and the option that says where it looks.
inline constexpr const char *kLambda = "lambda", *kAuto = "auto", *kLambdaGrid = "lambda_grid";

// What StartTask takes beside the options of a training and of its strategy: pooling, progress_every, lambda_grid.
const OptionTable& StartTaskOptionTable();

struct TaskOptions {
  const continual::StrategyInfo* strategy = nullptr;  // the one asked for, else the default for such a version
  OptionValues strategy_options;                      // all of them
  OptionValues task;                                  // of StartTaskOptionTable
  std::map<std::string, std::string> training;        // those that the request sets, not checked yet
  bool search = false;                                // lambda=auto: strategy_options has its default
};

// `consolidations`: how many the version has. INVALID_ARGUMENT for an unknown strategy, an option that neither the
// training nor this strategy has (the strategies that have it are named), a value that may not stand there, and a
// lambda that is given twice; FAILED_PRECONDITION if the strategy needs what the version does not have.
absl::StatusOr<TaskOptions> ReadTaskOptions(const engram::v1::StartTaskRequest& request, int64_t consolidations);

// What the API shows of a planned training's options: each with its default filled in, as somebody would write it.
absl::StatusOr<std::map<std::string, std::string>> ShowOptions(const engram::worker::v1::TrainWork& work);

// What the work's strategy costs beyond a naive run.
absl::StatusOr<continual::StrategyCost> StrategyCostOf(const engram::worker::v1::TrainWork& work,
                                                       const continual::StrategySizes& sizes);

}  // namespace engram::server
