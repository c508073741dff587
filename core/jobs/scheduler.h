#pragma once

// Which queued job runs next, and where. Pure logic: no clock, no thread, no I/O; the caller serialises access and
// tells what happened. Order: higher priority first, then the older job. A device runs one job at a time, and a job
// gets all that it needs or waits.
//
// A job that waits for devices holds those that it could use: later jobs do not overtake it there for ever, one device
// at a time. Jobs for other devices go past it.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace engram::jobs {

// A place to run on: one entry per job that may run there at a time.
struct Device {
  std::string name;   // "cpu", "cuda:0": a kind, and a number where there are several
  int64_t bytes = 0;  // its memory; 0: not known, taken to suffice
};

// What a run needs.
struct Resources {
  std::string device;  // "cuda:1": this one; "cuda": any of that kind; empty: any
  int64_t count = 1;   // how many, all of one kind
  int64_t bytes = 0;   // of memory on each of them
};

struct Assignment {
  std::string job;
  std::vector<std::string> devices;
};

class Scheduler {
 public:
  explicit Scheduler(std::vector<Device> devices) : all_(devices), free_(std::move(devices)) {}

  // Whether it could run if every device were free. A job that could not is never to be added: it would wait for ever.
  bool CanRun(const Resources& needs) const { return Fit(needs, all_, {}).has_value(); }
  // Ids sort by age. A job that is there already is left where it is.
  void Add(std::string_view job, int64_t priority, const Resources& needs = {});
  // False if it was not queued.
  bool Remove(std::string_view job);
  // The next job that can have what it needs, taken from the queue; nullopt if there is none.
  std::optional<Assignment> Next();
  // Whether Next would give one.
  bool HasNext() const { return Pick().has_value(); }
  // Takes these devices for a run that is under way already; false, and nothing taken, if one of them is not free.
  bool Claim(const std::vector<std::string>& devices);
  // The devices of a run that has ended.
  void Release(const std::vector<std::string>& devices);
  // Jobs that go before it; nullopt if it is not queued.
  std::optional<int64_t> Position(std::string_view job) const;

 private:
  struct Entry {
    int64_t priority;
    std::string job;
    Resources needs;
    bool operator<(const Entry& other) const {
      return priority != other.priority ? priority > other.priority : job < other.job;
    }
  };
  using Places = std::vector<size_t>;  // indices into a list of devices, ascending
  // Those of `devices` that meet the needs, without the ones that are `held`.
  static std::optional<Places> Fit(const Resources& needs, const std::vector<Device>& devices,
                                   const std::set<size_t>& held);
  std::optional<std::pair<std::set<Entry>::const_iterator, Places>> Pick() const;

  const std::vector<Device> all_;
  std::set<Entry> queue_;
  std::vector<Device> free_;
};

}  // namespace engram::jobs
