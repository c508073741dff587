#pragma once

// What a run's figures say that its user should hear: warnings of its result.

#include <map>
#include <optional>
#include <string>

#include "engram/v1/job.pb.h"

namespace engram::worker {

// A task that ends no better than if nothing had been learned: a classifier whose accuracy is that of always answering
// the label that is most frequent among the texts measured, a tagger that finds no entity. Names the strategy's strength,
// which may hold the weights too fast. `result` has the task's own figures alone; fewer than 20 texts say nothing.
std::optional<std::string> NothingLearned(const engram::v1::JobResult& result, const std::string& strategy,
                                          const std::map<std::string, std::string>& options);

}  // namespace engram::worker
