#include "core/jobs/scheduler.h"

#include <algorithm>
#include <iterator>

namespace engram::jobs {
namespace {

std::string_view KindOf(std::string_view name) { return name.substr(0, name.find(':')); }

bool Meets(const Device& device, const Resources& needs) {
  const bool named = needs.device.empty() || device.name == needs.device || KindOf(device.name) == needs.device;
  return named && (device.bytes == 0 || device.bytes >= needs.bytes);
}

}  // namespace

void Scheduler::Add(std::string_view job, int64_t priority, const Resources& needs) {
  if (!Position(job)) queue_.insert({priority, std::string(job), needs});
}

bool Scheduler::Remove(std::string_view job) {
  return std::erase_if(queue_, [job](const Entry& entry) { return entry.job == job; }) > 0;
}

std::optional<Scheduler::Places> Scheduler::Fit(const Resources& needs, const std::vector<Device>& devices,
                                                const std::set<size_t>& held) {
  for (const Device& first : devices) {  // of its kind, then
    Places places;
    for (size_t i = 0; i < devices.size() && static_cast<int64_t>(places.size()) < needs.count; ++i) {
      const bool same_kind = KindOf(devices[i].name) == KindOf(first.name);
      if (same_kind && !held.contains(i) && Meets(devices[i], needs)) places.push_back(i);
    }
    if (static_cast<int64_t>(places.size()) == needs.count) return places;
  }
  return std::nullopt;
}

std::optional<std::pair<std::set<Scheduler::Entry>::const_iterator, Scheduler::Places>> Scheduler::Pick() const {
  std::set<size_t> held;
  for (auto entry = queue_.begin(); entry != queue_.end() && held.size() < free_.size(); ++entry) {
    if (auto places = Fit(entry->needs, free_, held)) return std::pair(entry, *std::move(places));
    for (size_t i = 0; i < free_.size(); ++i) {
      if (Meets(free_[i], entry->needs)) held.insert(i);
    }
  }
  return std::nullopt;
}

std::optional<Assignment> Scheduler::Next() {
  const auto picked = Pick();
  if (!picked) return std::nullopt;
  Assignment assignment{picked->first->job, {}};
  for (const size_t place : picked->second) assignment.devices.push_back(free_[place].name);
  for (auto place = picked->second.rbegin(); place != picked->second.rend(); ++place)
    free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(*place));
  queue_.erase(picked->first);
  return assignment;
}

bool Scheduler::Claim(const std::vector<std::string>& devices) {
  std::vector<Device> left = free_;
  for (const std::string& name : devices) {
    const auto found =
        std::find_if(left.begin(), left.end(), [&](const Device& device) { return device.name == name; });
    if (found == left.end()) return false;
    left.erase(found);
  }
  free_ = std::move(left);
  return true;
}

void Scheduler::Release(const std::vector<std::string>& devices) {
  for (const std::string& name : devices) {
    const auto known =
        std::find_if(all_.begin(), all_.end(), [&](const Device& device) { return device.name == name; });
    if (known != all_.end()) free_.push_back(*known);
  }
}

std::optional<int64_t> Scheduler::Position(std::string_view job) const {
  const auto found = std::find_if(queue_.begin(), queue_.end(), [job](const Entry& entry) { return entry.job == job; });
  if (found == queue_.end()) return std::nullopt;
  return std::distance(queue_.begin(), found);
}

}  // namespace engram::jobs
