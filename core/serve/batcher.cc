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
  queued_items_ += static_cast<int64_t>(items.size());
  queued_tokens_ += tokens;
  std::list<Turn> turns;
  for (auto& item : items) {
    item->enqueued = now;
    if (turns.empty() || turns.back().key != item->batch_key()) turns.push_back({item->batch_key(), {}});
    turns.back().items.push_back(std::move(item));
  }
  turns_.splice(turns_.end(), turns);
  return absl::OkStatus();
}

void Batcher::LeaveLocked(int64_t items, int64_t tokens) {
  queued_items_ -= items;
  queued_tokens_ -= tokens;
}

void Batcher::SweepLocked(Items& dead) {
  const absl::Time now = clock_.Now();
  for (Turn& turn : turns_) {
    auto keep = std::stable_partition(turn.items.begin(), turn.items.end(),
                                      [&](const auto& item) { return WhyDead(*item, now).ok(); });
    for (auto it = keep; it != turn.items.end(); ++it) {
      LeaveLocked(1, (*it)->tokens());
      dead.push_back(std::move(*it));
    }
    turn.items.erase(keep, turn.items.end());
  }
  turns_.remove_if([](const Turn& turn) { return turn.items.empty(); });
}

Batcher::Items Batcher::CutLocked() {
  Items batch;
  if (turns_.empty()) return batch;
  struct Place {
    std::list<Turn>::iterator turn;
    size_t next = 0;  // those before it were taken, or do not fit any more
  };
  std::vector<Place> places;
  for (auto it = turns_.begin(); it != turns_.end(); ++it) {
    if (it->key == turns_.front().key) places.push_back({it});
  }
  const auto budget = static_cast<int64_t>(budget_);
  int64_t tokens = 0;
  for (bool taken = true; taken && tokens < budget;) {
    taken = false;
    for (Place& place : places) {
      for (Items& items = place.turn->items; place.next < items.size();) {
        std::shared_ptr<BatchItem>& item = items[place.next++];
        if (!batch.empty() && tokens + item->tokens() > budget) continue;
        tokens += item->tokens();
        batch.push_back(std::move(item));
        taken = true;
        break;
      }
    }
  }
  LeaveLocked(static_cast<int64_t>(batch.size()), tokens);
  for (const Place& place : places) {
    if (std::erase(place.turn->items, nullptr) == 0) continue;  // nothing was taken: its turn is still to come
    if (place.turn->items.empty()) {
      turns_.erase(place.turn);
    } else {
      turns_.splice(turns_.end(), turns_, place.turn);
    }
  }
  return batch;
}

void Batcher::Computed(int64_t tokens, absl::Duration time) {
  // Below this, what a batch costs by itself would outweigh what its tokens do.
  constexpr double kFewestTokens = 64;
  // How fast the budget follows a measurement, and by how much at most for each.
  constexpr double kFollows = 0.3, kMostChange = 2;
  absl::MutexLock lock(&mutex_);
  const auto count = static_cast<double>(tokens);
  // What is far from full says nothing about a full one.
  if (limits_.batch_time == absl::InfiniteDuration() || time <= absl::ZeroDuration() || count < 0.8 * budget_) return;
  const double fits = count * absl::FDivDuration(limits_.batch_time, time);
  const double bounded = std::clamp(fits, budget_ / kMostChange, budget_ * kMostChange);
  const auto most = static_cast<double>(limits_.batch_tokens);
  budget_ = std::clamp(budget_ + kFollows * (bounded - budget_), std::min(kFewestTokens, most), most);
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
  std::list<Turn> left;
  {
    absl::MutexLock lock(&mutex_);
    shut_down_ = true;
    left.swap(turns_);
    queued_items_ = queued_tokens_ = 0;
  }
  for (const Turn& turn : left) {
    for (const auto& item : turn.items)
      item->Fail(StatusWithReason(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down"));
  }
}

int64_t Batcher::queued_tokens() const {
  absl::MutexLock lock(&mutex_);
  return queued_tokens_;
}

int64_t Batcher::queued_items() const {
  absl::MutexLock lock(&mutex_);
  return queued_items_;
}

}  // namespace engram::serve
