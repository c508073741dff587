#pragma once

// Which queued job runs next, and where. Pure logic: no clock, no thread, no I/O; the caller serialises access and
// tells what happened. Order: higher priority first, then the older job. A device runs one job at a time.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace engram::jobs {

struct Assignment {
  std::string job;
  std::string device;
};

class Scheduler {
 public:
  // One entry a slot: {"cpu"}, {"cuda:0", "cuda:1"}.
  explicit Scheduler(std::vector<std::string> devices) : free_(std::move(devices)) {}

  // Ids sort by age. A job that is there already is left where it is.
  void Add(std::string_view job, int64_t priority);
  // False if it was not queued.
  bool Remove(std::string_view job);
  // The next job for a free device, taken from the queue; nullopt if there is no job or no device.
  std::optional<Assignment> Next();
  // The device of a run that has ended.
  void Release(std::string_view device) { free_.emplace_back(device); }
  // Jobs that go before it; nullopt if it is not queued.
  std::optional<int64_t> Position(std::string_view job) const;

  int64_t queued() const { return static_cast<int64_t>(queue_.size()); }
  int64_t free_devices() const { return static_cast<int64_t>(free_.size()); }

 private:
  struct Entry {
    int64_t priority;
    std::string job;
    bool operator<(const Entry& other) const {
      return priority != other.priority ? priority > other.priority : job < other.job;
    }
  };
  std::set<Entry> queue_;
  std::vector<std::string> free_;
};

}  // namespace engram::jobs
