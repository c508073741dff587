#include "core/serve/batcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::serve {
namespace {

absl::Status WhyDead(const BatchItem& item, absl::Time now) {
  if (item.cancelled()) return absl::CancelledError("the client went away");
  if (item.deadline() <= now)
    return absl::DeadlineExceededError("the deadline passed while the text waited for the device");
  return absl::OkStatus();
}

}  // namespace

absl::Status Batcher::Submit(Items items) {
  int64_t tokens = 0;
  for (const auto& item : items) tokens += item->tokens();
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  if (shut_down_) return StatusWithReason(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down");
  // A request larger than the whole queue may enter an empty one: the caps on texts and bytes bound it.
  if (queued_tokens_ > 0 && queued_tokens_ + tokens > limits_.queued_tokens) {
    return StatusWithReason(
        absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
        absl::StrCat("the inference queue holds ", queued_tokens_, " tokens and this request adds ", tokens,
                     "; the limit is ", limits_.queued_tokens, ": retry later or send fewer texts"));
  }
  for (auto& item : items) {
    item->enqueued = now;
    queue_.push_back(std::move(item));
  }
  queued_tokens_ += tokens;
  return absl::OkStatus();
}

void Batcher::SweepLocked(Items& dead) {
  const absl::Time now = clock_.Now();
  auto keep =
      std::stable_partition(queue_.begin(), queue_.end(), [&](const auto& item) { return WhyDead(*item, now).ok(); });
  for (auto it = keep; it != queue_.end(); ++it) {
    queued_tokens_ -= (*it)->tokens();
    dead.push_back(std::move(*it));
  }
  queue_.erase(keep, queue_.end());
}

Batcher::Items Batcher::CutLocked() {
  Items batch;
  if (queue_.empty()) return batch;
  const void* key = queue_.front()->batch_key();
  int64_t tokens = 0;
  std::deque<std::shared_ptr<BatchItem>> rest;
  for (auto& item : queue_) {
    const bool fits = batch.empty() || tokens + item->tokens() <= limits_.batch_tokens;
    if (item->batch_key() == key && fits) {
      tokens += item->tokens();
      batch.push_back(std::move(item));
    } else {
      rest.push_back(std::move(item));
    }
  }
  queue_ = std::move(rest);
  queued_tokens_ -= tokens;
  return batch;
}

Batcher::Items Batcher::NextBatch() {
  while (true) {
    Items dead, batch;
    bool shut_down = false;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Batcher::ReadyLocked));
      SweepLocked(dead);
      shut_down = shut_down_;
      if (!shut_down) batch = CutLocked();
    }
    const absl::Time now = clock_.Now();
    for (const auto& item : dead) {
      const absl::Status why = WhyDead(*item, now);
      item->Fail(why.ok() ? absl::CancelledError("the request ended") : why);
    }
    if (shut_down) return {};
    if (batch.empty()) continue;
    std::stable_sort(batch.begin(), batch.end(),
                     [](const auto& a, const auto& b) { return a->tokens() > b->tokens(); });
    return batch;
  }
}

void Batcher::ShutDown() {
  std::deque<std::shared_ptr<BatchItem>> left;
  {
    absl::MutexLock lock(&mutex_);
    shut_down_ = true;
    left.swap(queue_);
    queued_tokens_ = 0;
  }
  for (const auto& item : left)
    item->Fail(StatusWithReason(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down"));
}

int64_t Batcher::queued_tokens() const {
  absl::MutexLock lock(&mutex_);
  return queued_tokens_;
}

int64_t Batcher::queued_items() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(queue_.size());
}

}  // namespace engram::serve
