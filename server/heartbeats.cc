#include "server/heartbeats.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::server {

void Heartbeats::Watch(const std::string& part, std::function<absl::Duration()> age) {
  absl::MutexLock lock(&mutex_);
  ages_[part] = std::move(age);
}

void Heartbeats::WatchPool(const std::string& part, WorkPool& pool) {
  auto given = std::make_shared<Given>();
  absl::MutexLock lock(&mutex_);
  pools_[part] = {&pool, given};
  ages_[part] = [this, given] {
    absl::MutexLock its_lock(&given->mutex);
    return std::max(absl::ZeroDuration(), clock_.Now() - given->since);
  };
}

void Heartbeats::Beat() {
  absl::MutexLock lock(&mutex_);
  for (const auto& [part, pool] : pools_) {
    const std::shared_ptr<Given> given = pool.second;
    {
      absl::MutexLock its_lock(&given->mutex);
      if (given->since != absl::InfiniteFuture()) continue;
      given->since = clock_.Now();
    }
    pool.first->Schedule([given] {
      absl::MutexLock its_lock(&given->mutex);
      given->since = absl::InfiniteFuture();
    });
  }
}

std::map<std::string, absl::Duration> Heartbeats::Ages() const {
  absl::MutexLock lock(&mutex_);
  std::map<std::string, absl::Duration> ages;
  for (const auto& [part, age] : ages_) ages[part] = age();
  return ages;
}

absl::Duration Heartbeats::Longest() const {
  absl::Duration longest = absl::ZeroDuration();
  for (const auto& [part, age] : Ages()) longest = std::max(longest, age);
  return longest;
}

std::string Heartbeats::Exposition() const {
  constexpr const char* kName = "engram_heartbeat_age_seconds";
  std::string text =
      absl::StrCat("# HELP ", kName, " For how long a part of the server has not moved.\n# TYPE ", kName, " gauge\n");
  for (const auto& [part, age] : Ages())
    absl::StrAppend(&text, kName, "{part=\"", part, "\"} ", absl::ToDoubleSeconds(age), "\n");
  return text;
}

void Heartbeats::Start(std::function<void(absl::Duration)> told) {
  thread_ = std::thread([this, told = std::move(told)] {
    while (!closing_.WaitForNotificationWithTimeout(absl::Seconds(1))) {
      Beat();
      told(Longest());
    }
  });
}

void Heartbeats::Stop() {
  if (!closing_.HasBeenNotified()) closing_.Notify();
  if (thread_.joinable()) thread_.join();
}

}  // namespace engram::server
