#pragma once

// What a run's figures say that its user should hear: warnings of its result.

#include <map>
#include <optional>
#include <string>

#include "core/continual/importance.h"
#include "engram/v1/job.pb.h"

namespace engram::worker {

// A task that ends no better than if nothing had been learned: a classifier whose accuracy is that of always answering
// the label that is most frequent among the texts measured, a tagger that finds no entity. Names the strategy's strength,
// which may hold the weights too fast. `result` has the task's own figures alone; fewer than 20 texts say nothing.
std::optional<std::string> NothingLearned(const engram::v1::JobResult& result, const std::string& strategy,
                                          const std::map<std::string, std::string>& options);

// Importance that protects nothing: 0 everywhere, or taken where the model answers the task's own texts no better than
// with their most frequent label, because the task was not learned or because the data set's labels are not those that
// its head was trained with. Fewer than 20 labelled units say nothing of the latter.
std::optional<std::string> PointlessImportance(const std::string& task, const continual::Importance& importance);

}  // namespace engram::worker
