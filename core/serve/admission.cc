#include "core/serve/admission.h"

#include <algorithm>
#include <cmath>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "core/base/retry.h"

namespace engram::serve {
namespace {

// How long ago a batch was computed whose weight has become 1/e.
constexpr absl::Duration kSpeedMemory = absl::Milliseconds(500);
// Bytes of text after which the same holds of what their tokens say of others.
constexpr double kTextMemory = 65'536;
// Before any text was tokenized: words of English and their pieces.
constexpr double kFirstBytesPerToken = 4;
// A reckoned time is no promise: a call is taken if it would also be in time when all takes this much longer.
constexpr double kMargin = 1.25;

}  // namespace

Admission::Ticket::~Ticket() {
  absl::MutexLock lock(&admission_.mutex_);
  admission_.ChangeLocked(*this, 0, 0);
}

void Admission::Ticket::Tokenized(int64_t items, int64_t tokens, int64_t bytes) {
  absl::MutexLock lock(&admission_.mutex_);
  admission_.ChangeLocked(*this, items, tokens);
  if (bytes <= 0 || tokens <= 0) return;
  const double kept = std::exp(-static_cast<double>(bytes) / kTextMemory);
  admission_.text_tokens_ = admission_.text_tokens_ * kept + static_cast<double>(tokens);
  admission_.text_bytes_ = admission_.text_bytes_ * kept + static_cast<double>(bytes);
}

void Admission::Ticket::Add(int64_t tokens) {
  absl::MutexLock lock(&admission_.mutex_);
  admission_.ChangeLocked(*this, items_ + 1, tokens_ + tokens);
}

void Admission::Ticket::Answered(int64_t tokens) {
  absl::MutexLock lock(&admission_.mutex_);
  admission_.ChangeLocked(*this, std::max<int64_t>(0, items_ - 1), std::max<int64_t>(0, tokens_ - tokens));
}

void Admission::ChangeLocked(Ticket& ticket, int64_t items, int64_t tokens) {
  if (waiting_tokens_ == 0) since_ = clock_.Now();  // what was idle before counts for nothing
  waiting_tokens_ += tokens - ticket.tokens_;
  ticket.items_ = items;
  ticket.tokens_ = tokens;
  if (tokens > 0) {
    calls_.insert(&ticket);
  } else {
    calls_.erase(&ticket);
  }
}

int64_t Admission::EstimateLocked(int64_t bytes) const {
  const double each = text_bytes_ > 0 ? text_tokens_ / text_bytes_ : 1 / kFirstBytesPerToken;
  return std::max<int64_t>(1, std::llround(static_cast<double>(bytes) * each));
}

double Admission::AheadLocked(int64_t items) const {
  double ahead = 0;
  for (const Ticket* call : calls_) {
    const auto tokens = static_cast<double>(call->tokens_);
    ahead += call->items_ <= items ? tokens : tokens * static_cast<double>(items) / static_cast<double>(call->items_);
  }
  return ahead;
}

absl::Status Admission::CheckLocked(int64_t items, int64_t tokens, absl::Time now, absl::Time deadline) const {
  if (waiting_tokens_ == 0 || speed_seconds_ <= 0) return absl::OkStatus();
  const double speed = speed_tokens_ / speed_seconds_, ahead = AheadLocked(items);
  const absl::Duration wait = absl::Seconds(ahead / speed);
  const absl::Duration all = absl::Seconds((ahead + static_cast<double>(tokens)) / speed);
  if (wait <= queue_time_ && now + kMargin * all <= deadline) return absl::OkStatus();
  const auto seconds = [](absl::Duration time) {
    return absl::StrCat(absl::ToDoubleSeconds(absl::Ceil(time, absl::Milliseconds(10))));
  };
  const absl::Status full = StatusWithReason(
      absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
      wait > queue_time_
          ? absl::StrCat("others would be computed for about ", seconds(wait), " s before this call; the limit is ",
                         seconds(queue_time_), " s: retry later")
          : absl::StrCat("this call would be answered in about ", seconds(all),
                         " s, which is too close to its deadline or beyond it: retry later, or give it more time"));
  // Until then what is ahead has been computed, if nobody else comes.
  return RetryAfter(full, std::min(wait, queue_time_));
}

std::unique_ptr<Admission::Ticket> Admission::Join() { return absl::WrapUnique(new Ticket(*this)); }

absl::StatusOr<std::unique_ptr<Admission::Ticket>> Admission::Admit(int64_t texts, int64_t bytes, absl::Time deadline) {
  auto ticket = absl::WrapUnique(new Ticket(*this));
  absl::Status refused;
  {
    absl::MutexLock lock(&mutex_);
    const int64_t items = std::max<int64_t>(1, texts), tokens = EstimateLocked(bytes);
    refused = CheckLocked(items, tokens, clock_.Now(), deadline);
    if (refused.ok()) ChangeLocked(*ticket, items, tokens);
  }
  if (!refused.ok()) return refused;
  return ticket;
}

void Admission::Computed(int64_t tokens, int64_t budget) {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  const double seconds = absl::ToDoubleSeconds(now - since_);
  since_ = now;
  if (seconds <= 0) return;
  const auto count = static_cast<double>(tokens);
  // How fast a device is shows when it has enough to do: a batch that is not nearly full, and behind which little waits,
  // took longer for each token than it would have to. It says at least so much.
  const bool enough = 2 * tokens >= budget || waiting_tokens_ - tokens >= budget;
  if (!enough && (speed_seconds_ <= 0 || count / seconds <= speed_tokens_ / speed_seconds_)) return;
  const double kept = std::exp(-seconds / absl::ToDoubleSeconds(kSpeedMemory));
  speed_tokens_ = speed_tokens_ * kept + count;
  speed_seconds_ = speed_seconds_ * kept + seconds;
}

double Admission::tokens_per_second() const {
  absl::MutexLock lock(&mutex_);
  return speed_seconds_ > 0 ? speed_tokens_ / speed_seconds_ : 0;
}

int64_t Admission::waiting_tokens() const {
  absl::MutexLock lock(&mutex_);
  return waiting_tokens_;
}

}  // namespace engram::serve
