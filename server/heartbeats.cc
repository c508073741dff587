#include "server/heartbeats.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::server {

void Heartbeats::Watch(const std::string& part, std::function<absl::Duration()> age, Counts counts) {
  absl::MutexLock lock(&mutex_);
  parts_[part] = {std::move(age), counts};
}

void Heartbeats::WatchAsked(const std::string& part, Ask ask) {
  auto given = std::make_shared<Given>();
  absl::MutexLock lock(&mutex_);
  asked_[part] = {std::move(ask), given};
  parts_[part].age = [this, given] {
    absl::MutexLock its_lock(&given->mutex);
    return std::max(absl::ZeroDuration(), clock_.Now() - given->since);
  };
}

void Heartbeats::Beat() {
  absl::MutexLock lock(&mutex_);
  for (const auto& [part, asked] : asked_) {
    const std::shared_ptr<Given> given = asked.second;
    {
      absl::MutexLock its_lock(&given->mutex);
      if (given->since != absl::InfiniteFuture()) continue;
      given->since = clock_.Now();
    }
    asked.first([given] {
      absl::MutexLock its_lock(&given->mutex);
      given->since = absl::InfiniteFuture();
    });
  }
}

std::map<std::string, absl::Duration> Heartbeats::Ages() const {
  absl::MutexLock lock(&mutex_);
  std::map<std::string, absl::Duration> ages;
  for (const auto& [name, part] : parts_) ages[name] = part.age();
  return ages;
}

absl::Duration Heartbeats::Longest() const {
  absl::MutexLock lock(&mutex_);
  absl::Duration longest = absl::ZeroDuration();
  for (const auto& [name, part] : parts_) {
    if (part.counts == Counts::kYes) longest = std::max(longest, part.age());
  }
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
