#include "core/jobs/scheduler.h"

#include <algorithm>
#include <iterator>

namespace engram::jobs {

void Scheduler::Add(std::string_view job, int64_t priority) {
  if (!Position(job)) queue_.insert({priority, std::string(job)});
}

bool Scheduler::Remove(std::string_view job) {
  return std::erase_if(queue_, [job](const Entry& entry) { return entry.job == job; }) > 0;
}

std::optional<Assignment> Scheduler::Next() {
  if (queue_.empty() || free_.empty()) return std::nullopt;
  Assignment assignment{queue_.begin()->job, free_.front()};
  queue_.erase(queue_.begin());
  free_.erase(free_.begin());
  return assignment;
}

std::optional<int64_t> Scheduler::Position(std::string_view job) const {
  const auto found = std::find_if(queue_.begin(), queue_.end(), [job](const Entry& entry) { return entry.job == job; });
  if (found == queue_.end()) return std::nullopt;
  return std::distance(queue_.begin(), found);
}

}  // namespace engram::jobs
