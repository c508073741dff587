#include "core/serve/batcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::serve {
namespace {

// Before anything is measured: a pass of a small model on a processor for some tens of milliseconds.
constexpr double kFirstTokens = 512;
// Below this, what a batch costs by itself would outweigh what its tokens do.
constexpr double kFewestTokens = 64;
// Keys whose measurements are kept: more than versions that are in memory at once.
constexpr size_t kMostBudgets = 256;

absl::Status WhyDead(const BatchItem& item, absl::Time now) {
  if (item.cancelled()) return absl::CancelledError("the client went away");
  if (item.deadline() <= now)
    return absl::DeadlineExceededError("the deadline passed while the text waited for the device");
  return absl::OkStatus();
}

// Items that nobody waits for any more; outside of the batcher's lock.
void FailDead(const std::vector<std::shared_ptr<BatchItem>>& dead, absl::Time now) {
  for (const auto& item : dead) {
    const absl::Status why = WhyDead(*item, now);
    item->Fail(why.ok() ? absl::CancelledError("the request ended") : why);
  }
}

// Packed kernels like equal lengths together.
void LongestFirst(std::vector<std::shared_ptr<BatchItem>>& batch) {
  std::stable_sort(batch.begin(), batch.end(), [](const auto& a, const auto& b) { return a->tokens() > b->tokens(); });
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

double Batcher::BudgetLocked(const void* key) const {
  const auto most = static_cast<double>(limits_.batch_tokens);
  if (limits_.batch_time == absl::InfiniteDuration()) return most;
  const auto found = budgets_.find(key);
  return std::min(most, found == budgets_.end() ? kFirstTokens : found->second);
}

int64_t Batcher::budget(const void* key) const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(BudgetLocked(key));
}

std::optional<const void*> Batcher::NextKeyLocked(bool fitting) const {
  for (const Turn& turn : turns_) {
    const auto budget = static_cast<int64_t>(BudgetLocked(turn.key));
    const auto fits = [&](const auto& item) { return !fitting || item->tokens() <= budget; };
    if (std::any_of(turn.items.begin(), turn.items.end(), fits)) return turn.key;
  }
  return std::nullopt;
}

Batcher::Items Batcher::CutLocked(bool fitting) {
  Items batch;
  const std::optional<const void*> key = NextKeyLocked(fitting);
  if (!key) return batch;
  struct Place {
    std::list<Turn>::iterator turn;
    size_t next = 0;  // those before it were taken, or do not fit any more
  };
  std::vector<Place> places;
  for (auto it = turns_.begin(); it != turns_.end(); ++it) {
    if (it->key == *key) places.push_back({it});
  }
  const auto budget = static_cast<int64_t>(BudgetLocked(*key));
  int64_t tokens = 0;
  for (bool taken = true; taken && tokens < budget;) {
    taken = false;
    for (Place& place : places) {
      for (Items& items = place.turn->items; place.next < items.size();) {
        std::shared_ptr<BatchItem>& item = items[place.next++];
        if ((fitting || !batch.empty()) && tokens + item->tokens() > budget) continue;
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

void Batcher::Computed(const void* key, int64_t tokens, absl::Duration time) {
  // A budget that is too large is lowered at once, for every batch of it keeps the others waiting; one that is too small
  // costs little and at most doubles for each batch that was faster.
  constexpr double kMostGrowth = 2;
  absl::MutexLock lock(&mutex_);
  const auto count = static_cast<double>(tokens);
  const double budget = BudgetLocked(key);
  // What is far from full says nothing about a full one.
  if (limits_.batch_time == absl::InfiniteDuration() || time <= absl::ZeroDuration() || count < 0.8 * budget) return;
  const double fits = count * absl::FDivDuration(limits_.batch_time, time);
  const auto most = static_cast<double>(limits_.batch_tokens);
  if (budgets_.size() >= kMostBudgets && !budgets_.contains(key)) budgets_.erase(budgets_.begin());
  budgets_[key] = std::clamp(std::min(fits, kMostGrowth * budget), std::min(kFewestTokens, most), most);
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
      if (!shut_down) batch = CutLocked(/*fitting=*/false);
    }
    FailDead(dead, clock_.Now());
    if (shut_down) return {};
    if (batch.empty()) continue;
    LongestFirst(batch);
    return batch;
  }
}

Batcher::Items Batcher::NextFitting() {
  Items dead, batch;
  {
    absl::MutexLock lock(&mutex_);
    if (shut_down_) return {};
    SweepLocked(dead);
    batch = CutLocked(/*fitting=*/true);
  }
  FailDead(dead, clock_.Now());
  LongestFirst(batch);
  return batch;
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
